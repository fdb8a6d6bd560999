// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// bin is the folder of the programs under test, built once.
var bin string

// programs maps the name of each program that the tests run to its package.
var programs = map[string]string{
	"busbar":             "github.com/busbar/busbar/cmd/busbar",
	"busbar-probe":       "github.com/busbar/busbar/services/probe/cmd/busbar-probe",
	"busbar-enricher":    "github.com/busbar/busbar/services/enricher/cmd/busbar-enricher",
	"busbar-ingest-otlp": "github.com/busbar/busbar/services/ingest-otlp/cmd/busbar-ingest-otlp",
	"busbar-router":      "github.com/busbar/busbar/services/router/cmd/busbar-router",
	"busbar-exporter":    "github.com/busbar/busbar/services/exporter/cmd/busbar-exporter",
	"goserver":           "github.com/busbar/busbar/test/e2e/goserver",
	"goclient":           "github.com/busbar/busbar/test/e2e/goclient",
	"nats-server":        "github.com/nats-io/nats-server/v2",
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "busbar-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	code := 1
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func build() error {
	for name, pkg := range programs {
		out, err := exec.CommandContext(context.Background(), "go", "build", "-o", filepath.Join(bin, name), pkg).CombinedOutput()
		if err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return nil
}

// needRoot skips a test that attaches a probe when the process may not; in CI that is a failure.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("REQUIRE_BPF") != "" {
		t.Fatal("not root, and REQUIRE_BPF is set")
	}
	t.Skip("a probe needs root")
}

// process is a program that the test started.
type process struct {
	*exec.Cmd
	name string
	log  *lockedBuffer
	done chan struct{} // closed when it ended
}

// lockedBuffer is a buffer that a process writes and a test reads.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// start runs a program of this tree, or of the system, until the test ends. What it printed is shown when the test fails.
func start(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	path := name
	if _, ok := programs[name]; ok {
		path = filepath.Join(bin, name)
	}
	p := &process{Cmd: exec.Command(path, args...), name: name, log: new(lockedBuffer), done: make(chan struct{})} //nolint:noctx // Ended below, by pid.
	p.Env = append(os.Environ(), env...)
	p.Stdout, p.Stderr = p.log, p.log
	if err := p.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.Wait()
	}()
	t.Cleanup(func() {
		p.end(t, syscall.SIGTERM)
		if t.Failed() {
			t.Logf("%s %s printed:\n%s", name, strings.Join(args, " "), p.log)
		}
	})
	return p
}

// end sends a signal and waits; what does not end within 20 s is killed and fails the test.
func (p *process) end(t *testing.T, sig syscall.Signal) {
	t.Helper()
	_ = p.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.Process.Kill()
		<-p.done
		t.Errorf("%s did not end within 20 s of %v", p.name, sig)
	}
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// system is a running Busbar, whichever way it was started.
type system struct {
	nats  string // URL
	page  string // URL of the Prometheus page
	admin string // URL of an admin port that is ready when all is
	parts map[string]*process
	// again starts a part anew, after it was killed.
	again func(t *testing.T, name string)
}

// allInOne starts `busbar up`.
func allInOne(t *testing.T, args ...string) *system {
	t.Helper()
	nats, page, admin := freeAddress(t), freeAddress(t), freeAddress(t)
	all := append([]string{"up", "--data-dir", t.TempDir(), "--nats-listen", nats, "--prometheus", page, "--admin", admin}, args...)
	s := &system{nats: "nats://" + nats, page: "http://" + page + "/metrics", admin: "http://" + admin, parts: map[string]*process{}}
	s.parts["up"] = start(t, nil, "busbar", all...)
	waitReady(t, s.parts["up"], s.admin)
	return s
}

// separate starts a nats-server and every service as a process of its own; the exporter's destinations are resources.
func separate(t *testing.T, resources string) *system {
	t.Helper()
	nats := freeAddress(t)
	host, port, _ := net.SplitHostPort(nats)
	s := &system{nats: "nats://" + nats, parts: map[string]*process{}}
	s.parts["nats-server"] = start(t, nil, "nats-server", "-a", host, "-p", port, "-js", "-sd", t.TempDir())
	wait(t, 20*time.Second, "nats-server to listen", func() bool { return dials(nats) })
	config := filepath.Join(t.TempDir(), "resources.yaml")
	write(t, config, resources)
	admins := map[string]string{}
	s.again = func(t *testing.T, name string) {
		t.Helper()
		admins[name] = freeAddress(t)
		s.parts[name] = start(t, nil, name, "--nats-url", s.nats, "--config", config, "--admin", admins[name])
	}
	services := []string{"busbar-enricher", "busbar-router", "busbar-exporter", "busbar-probe"}
	for _, name := range services {
		s.again(t, name)
	}
	for _, name := range services {
		waitReady(t, s.parts[name], "http://"+admins[name])
	}
	return s
}

func waitReady(t *testing.T, p *process, admin string) {
	t.Helper()
	wait(t, 60*time.Second, p.name+" to be ready", func() bool {
		if p.ended() {
			t.Fatalf("%s ended:\n%s", p.name, p.log)
		}
		code, _ := get(t, admin+"/readyz")
		return code == http.StatusOK
	})
}

// wait polls until ok holds; a test never relies on how long something takes, only on that it comes.
func wait(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", limit, what)
		}
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // The pause between two polls.
	}
}

func dials(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second) //nolint:noctx // Bounded by its time-out.
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// get returns the status and body of a URL; status 0 says that nothing answered.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, ""
	}
	return res.StatusCode, string(body)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
