// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/probe/internal/container"
	"github.com/busbar/busbar/services/probe/internal/proc"
	"github.com/busbar/busbar/services/probe/internal/sel"
)

const containerID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// procfs returns a folder that looks like /proc with one process, of a container.
func procfs(t *testing.T, pid int) (root string) {
	t.Helper()
	root = t.TempDir()
	dir := filepath.Join(root, fmt.Sprint(pid))
	if err := os.MkdirAll(filepath.Join(root, "self"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		filepath.Join(root, "stat"):  "btime 1700000000\n",
		filepath.Join(dir, "stat"):   fmt.Sprintf("%d (shop) S 1%s 500 0\n", pid, strings.Repeat(" 0", 17)),
		filepath.Join(dir, "cgroup"): "0::/docker/" + containerID + "\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/srv/shop", filepath.Join(dir, "exe")); err != nil {
		t.Fatal(err)
	}
	return root
}

// The first exchange of a container comes before the runtime has told its name: the batch waits for the answer, and has it.
func TestContainersHaveNamesFromTheFirstBatchOn(t *testing.T) {
	t.Parallel()
	const pid = 4711
	release := make(chan struct{})
	socket := filepath.Join(t.TempDir(), "docker.sock")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	docker := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		_, _ = w.Write([]byte(`{"Name":"/shop-cart-1","Config":{"Image":"shop/cart:1.4"}}`))
	})}
	go func() { _ = docker.Serve(l) }()
	t.Cleanup(func() { _ = docker.Close() })
	finder := container.New([]string{socket}, nil, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- finder.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})

	cfg := testConfig()
	cfg.Proc, cfg.Containers = proc.Default("node.1"), finder
	cfg.Proc.Root = procfs(t, pid)
	cfg.Host = &eventv1.Host{Id: "3d1219c7c4c5404aaa1f6d2a48adfda4"}
	r := &rig{kernel: newFakeKernel(), server: bustest.Start(t)}
	r.bus = r.server.Connect(t, "test")
	if err := r.bus.Provision(t.Context(), bus.StreamSpec(subject.DefaultRoot.RawStream())); err != nil {
		t.Fatal(err)
	}
	if r.Agent, err = New(cfg, r.kernel, r.bus, new(sel.Selector)); err != nil {
		t.Fatal(err)
	}
	serve(r.Agent, pid, 8080, "GET / HTTP/1.1\r\n\r\n")
	if r.due(r.opened.Add(flushAfter)) || !r.due(r.opened.Add(flushNameless)) {
		t.Error("the batch does not wait, or for too long")
	}
	close(release)
	bustest.Eventually(t, "the runtime has answered", func() bool { return !finder.Waiting() })
	if !r.due(r.opened.Add(flushAfter)) {
		t.Error("the batch waits for nothing")
	}
	r.start(t)

	exchanges, events, _ := r.read(t)
	if len(exchanges) != 1 {
		t.Fatalf("%d batches", len(exchanges))
	}
	b := exchanges[0]
	if p := b.GetProcesses()[0]; p.GetContainer().GetName() != "shop-cart-1" || p.GetContainer().GetImage() != "shop/cart:1.4" || p.GetContainerId() != containerID {
		t.Errorf("process %v", p)
	}
	if b.GetOrigin().GetHost().GetId() != cfg.Host.GetId() {
		t.Errorf("origin %v", b.GetOrigin())
	}
	last := events[len(events)-1].GetProcess()
	if last.GetPid() != pid || last.GetContainer().GetName() != "shop-cart-1" {
		t.Errorf("last event %v", events[len(events)-1])
	}
}
