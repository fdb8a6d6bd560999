// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	fleetv1 "github.com/busbar/busbar/contract/fleet/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/probe"
)

// TestMain lets the test binary play the processes that are observed: a probe never observes itself.
func TestMain(m *testing.M) {
	if role := os.Getenv("PROBE_TEST_ROLE"); role != "" {
		if err := play(role, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// needKernel skips a test that loads programs into the kernel where it may not.
func needKernel(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 && os.Getenv("REQUIRE_BPF") != "1" {
		t.Skip("loading programs into the kernel needs root")
	}
}

// actor starts this binary in a role and returns the first line it prints.
func actor(t testing.TB, role string, args ...string) (pid uint32, line string, wait func() error) {
	t.Helper()
	return actorIn(t, nil, role, args...)
}

// actorIn starts an actor in a setting of its own.
func actorIn(t testing.TB, attr *syscall.SysProcAttr, role string, args ...string) (pid uint32, line string, wait func() error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "PROBE_TEST_ROLE="+role, "OTEL_SERVICE_NAME=test-"+role)
	cmd.Stderr, cmd.SysProcAttr = os.Stderr, attr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wait = sync.OnceValue(cmd.Wait)
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = wait()
	})
	var first bytes.Buffer
	for b := make([]byte, 1); ; {
		if _, err := io.ReadFull(out, b); err != nil || b[0] == '\n' {
			return uint32(cmd.Process.Pid), first.String(), wait
		}
		first.WriteByte(b[0])
	}
}

// running is a probe on a bus of its own.
type running struct {
	cfg  probe.Config
	bus  *bus.Bus
	stop func() error // ends the probe
}

func start(t testing.TB, tier string, paths ...string) *running {
	t.Helper()
	server := bustest.Start(t)
	r := &running{cfg: probe.Default(), bus: server.Connect(t, "test")}
	r.cfg.Bus, r.cfg.Tier, r.cfg.Paths, r.cfg.Node = server.Config("probe"), tier, paths, "here"
	r.cfg.Admin, r.cfg.Log = admin.New(), slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- probe.Run(ctx, r.cfg) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = r.stop() })
	for r.cfg.Admin.Ready() != nil || !attached(r.cfg.Admin) {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the probe ended: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return r
}

// attached tells whether the probe has begun to count, which is after it has attached.
func attached(a *admin.Admin) bool {
	families, err := a.Gatherer().Gather()
	if err != nil {
		return false
	}
	for _, f := range families {
		if f.GetName() == "busbar_probe_processes" {
			return true
		}
	}
	return false
}

// stored returns the batches that the bus has.
func (r *running) stored(t testing.TB) (batches []*eventv1.ExchangeBatch) {
	t.Helper()
	for _, data := range r.raw(t, subject.DefaultRoot.RawExchange("here")) {
		m := new(eventv1.ExchangeBatch)
		if err := proto.Unmarshal(data, m); err != nil {
			t.Fatal(err)
		}
		batches = append(batches, m)
	}
	return batches
}

// raw returns what the bus has on a subject, decompressed.
func (r *running) raw(t testing.TB, filter string) (raw [][]byte) {
	t.Helper()
	for _, d := range bustest.ReadAll(t, r.bus, subject.DefaultRoot.RawStream().Name, filter) {
		data, err := d.Data()
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, data)
	}
	return raw
}

// end ends the probe, so that everything it has is on the bus.
func (r *running) end(t testing.TB) {
	t.Helper()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
}

// half is one side of an exchange as a test compares it.
type half struct {
	Role   eventv1.Role
	Method string
	Status uint32
}

// TestProbeSeesEveryExchange runs a server and a client that know nothing of the probe.
func TestProbeSeesEveryExchange(t *testing.T) {
	needKernel(t)
	const requests = 600
	for _, tier := range []string{probe.TierBTF, probe.TierSyscall} {
		t.Run(tier, func(t *testing.T) {
			old, address, _ := actor(t, "server") // older than the probe
			r := start(t, tier)
			young, address2, _ := actor(t, "server")
			want := map[half]int{}
			for _, a := range []string{address, address2} {
				_, _, wait := actor(t, "client", "http://"+a+"/items", strconv.Itoa(requests))
				if err := wait(); err != nil {
					t.Fatal(err)
				}
				for i := range requests {
					method, status := request(i)
					want[half{eventv1.Role_ROLE_SERVER, method, uint32(status)}]++
					want[half{eventv1.Role_ROLE_CLIENT, method, uint32(status)}]++
				}
			}
			r.await(t, "/items/", 4*requests)
			r.end(t)
			got := map[half]int{}
			servers := map[uint32]int{}
			keys := map[string][]*eventv1.Exchange{}
			for i, b := range r.stored(t) {
				if b.GetOrigin().GetSequence() != uint64(i+1) {
					t.Errorf("batch %d has the number %d", i+1, b.GetOrigin().GetSequence())
				}
				if d := b.GetOrigin().GetDropped(); d["ring_full"]+d["spool"] > 0 {
					t.Errorf("dropped %v", d)
				}
				for _, x := range b.GetExchanges() {
					if !strings.HasPrefix(x.GetHttp().GetPath(), "/items/") {
						continue // of somebody else on this machine
					}
					p := b.GetProcesses()[x.GetProcess()]
					got[half{x.GetRole(), x.GetHttp().GetMethod(), x.GetHttp().GetStatus()}]++
					keys[x.GetWireKey().String()] = append(keys[x.GetWireKey().String()], x)
					name := "test-client"
					if x.GetRole() == eventv1.Role_ROLE_SERVER {
						servers[p.GetPid()]++
						name = "test-server"
					}
					if p.GetLanguage() != eventv1.Language_LANGUAGE_GO || p.GetOtelServiceName() != name || p.GetExecutable() != executable(t) {
						t.Fatalf("process %v, want %s", p, name)
					}
					if x.GetOutcome() != eventv1.Outcome_OUTCOME_COMPLETE || x.GetHttp().GetUserAgent() != "test/1" {
						t.Fatalf("exchange %v", x)
					}
					if at := time.Unix(0, int64(x.GetStartUnixNano())); time.Since(at) > time.Hour || time.Until(at) > time.Second {
						t.Fatalf("exchange began at %v", at)
					}
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("exchanges (-want +got):\n%s", d)
			}
			if d := cmp.Diff(map[uint32]int{old: requests, young: requests}, servers); d != "" {
				t.Errorf("exchanges by server (-want +got):\n%s", d)
			}
			for key, halves := range keys {
				if len(halves) != 2 || halves[0].GetRole() == halves[1].GetRole() {
					t.Fatalf("wire key %s names %d halves", key, len(halves))
				}
				client, server := halves[0], halves[1]
				if client.GetRole() == eventv1.Role_ROLE_SERVER {
					client, server = server, client
				}
				if !bytes.Equal(client.GetTraceId(), server.GetTraceId()) || !bytes.Equal(client.GetSpanId(), server.GetParentSpanId()) {
					t.Fatalf("the halves are not one trace:\n%v\n%v", client, server)
				}
			}
			for _, data := range r.raw(t, "") {
				if bytes.Contains(data, []byte("secret")) {
					t.Fatal("a query left the node")
				}
			}
		})
	}
}

func executable(t testing.TB) string {
	t.Helper()
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// await waits until the bus has n exchanges whose path begins with prefix.
func (r *running) await(t testing.TB, prefix string, n int) {
	t.Helper()
	bustest.Eventually(t, fmt.Sprintf("%d exchanges of %s", n, prefix), func() bool { return r.count(t, prefix) >= n })
}

// count returns how many exchanges the bus has whose path begins with prefix.
func (r *running) count(t testing.TB, prefix string) int {
	t.Helper()
	n := 0
	for _, b := range r.stored(t) {
		for _, x := range b.GetExchanges() {
			if strings.HasPrefix(x.GetHttp().GetPath(), prefix) {
				n++
			}
		}
	}
	return n
}

// TestProbeFollowsResources selects one of two servers, and then the other one.
func TestProbeFollowsResources(t *testing.T) {
	needKernel(t)
	_, first, _ := actor(t, "server")
	_, second, _ := actor(t, "server")
	path := filepath.Join(t.TempDir(), "select.yaml")
	selectPort := func(address string) {
		t.Helper()
		_, port, _ := strings.Cut(address, ":")
		text := "apiVersion: busbar.dev/v1\nkind: Instrumentation\nmetadata: {name: one}\nspec: {select: [{openPorts: " + port + "}]}\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	selectPort(first)
	r := start(t, probe.TierAuto, path)
	call := func(address, path string) {
		t.Helper()
		if err := get(address, path); err != nil {
			t.Fatal(err)
		}
	}
	call(first, "/one/a")
	call(second, "/two/a")
	r.await(t, "/one/a", 1)
	selectPort(second)
	bustest.Eventually(t, "the other server is observed", func() bool {
		call(first, "/one/b")
		call(second, "/two/b")
		return r.count(t, "/two/b") > 0
	})
	call(first, "/one/c")
	call(second, "/two/c")
	r.await(t, "/two/c", 1)
	r.end(t)
	paths := map[string]int{}
	for _, b := range r.stored(t) {
		for _, x := range b.GetExchanges() {
			paths[x.GetHttp().GetPath()]++
		}
	}
	delete(paths, "/one/b") // as many as the change took
	delete(paths, "/two/b")
	if d := cmp.Diff(map[string]int{"/one/a": 1, "/two/c": 1}, paths); d != "" {
		t.Errorf("paths (-want +got):\n%s", d)
	}
}

// TestProbeNoticesSDKs runs a process that exports traces.
func TestProbeNoticesSDKs(t *testing.T) {
	needKernel(t)
	r := start(t, probe.TierAuto)
	_, address, _ := actor(t, "server")
	_, _, wait := actor(t, "exporter", "http://"+address)
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	r.await(t, "/app/after", 2)
	r.end(t)
	got := map[string]eventv1.Yield{}
	for _, b := range r.stored(t) {
		for _, x := range b.GetExchanges() {
			if path := x.GetHttp().GetPath(); strings.HasPrefix(path, "/app/") {
				got[x.GetRole().String()+path] = b.GetProcesses()[x.GetProcess()].GetYield()
			}
		}
	}
	want := map[string]eventv1.Yield{
		"ROLE_CLIENT/app/before": 0, "ROLE_CLIENT/app/after": eventv1.Yield_YIELD_SPANS,
		"ROLE_SERVER/app/before": 0, "ROLE_SERVER/app/after": 0,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("what is left to the SDK (-want +got):\n%s", d)
	}
}

// get makes one request on a connection of its own.
func get(address, path string) error {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get("http://" + address + path) //nolint:noctx // of a test
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

func TestProbeBeats(t *testing.T) {
	needKernel(t)
	server := bustest.Start(t)
	b := server.Connect(t, "test")
	beats := make(chan *fleetv1.Heartbeat, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	ready := make(chan struct{})
	go func() {
		close(ready)
		done <- b.Subscribe(ctx, subject.DefaultRoot.Beat(probe.Service, "here"), func(d *bus.Delivery) {
			h := new(fleetv1.Heartbeat)
			if h.UnmarshalVT(d.Raw()) == nil {
				select {
				case beats <- h:
				default:
				}
			}
		})
	}()
	<-ready
	cfg := probe.Default()
	cfg.Bus, cfg.Node, cfg.Log = server.Config("probe"), "here", slog.New(slog.DiscardHandler)
	go func() { done <- probe.Run(ctx, cfg) }()
	var h *fleetv1.Heartbeat
	select {
	case h = <-beats:
	case err := <-done:
		t.Fatalf("the probe ended: %v", err)
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if h.GetService() != probe.Service || h.GetNode() != "here" || h.GetFacts()["tier"] == "" || h.GetFacts()["processes"] == "0" {
		t.Errorf("heartbeat %v", h)
	}
}

func TestProbeRefusesBadResources(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "bad.yaml")
	text := "apiVersion: busbar.dev/v1\nkind: Instrumentation\nmetadata: {name: bad}\nspec: {select: [{exe: '[a'}, {openPorts: x}]}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := probe.Default()
	cfg.Paths = []string{path}
	err := probe.Run(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), ":4:23: spec.select[0].exe: ") || !strings.Contains(err.Error(), "spec.select[1].openPorts") {
		t.Errorf("Run = %v, want both faults with their places", err)
	}
}

func TestProbeRefusesBadSettings(t *testing.T) {
	t.Parallel()
	cfg := probe.Default()
	cfg.Node, cfg.SpoolBytes = "a b\n", 5
	err := probe.Run(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), `node name "a b\n"`) || !strings.Contains(err.Error(), "spool of 5 bytes") {
		t.Errorf("Run = %v, want both faults", err)
	}
}

// TestProbeNamesMissingPrivileges runs as nobody.
func TestProbeNamesMissingPrivileges(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becoming somebody else needs root")
	}
	server := bustest.Listen(t)
	dir := t.TempDir() // its parents may be closed to nobody, so the program is handed over as an open file
	binary := filepath.Join(dir, "test")
	data, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, data, 0o755); err != nil { //nolint:gosec // for nobody to run
		t.Fatal(err)
	}
	f, err := os.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.CommandContext(t.Context(), "/proc/self/fd/3", server.URL())
	cmd.ExtraFiles = []*os.File{f}
	cmd.Dir = "/"
	cmd.Env = []string{"PROBE_TEST_ROLE=probe"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "CAP_BPF") || !strings.Contains(string(out), "CAP_PERFMON") {
		t.Errorf("the probe ended with %v and said:\n%s", err, out)
	}
}

func TestReport(t *testing.T) {
	needKernel(t)
	report := probe.Doctor(probe.Default())
	var b strings.Builder
	if err := report.Write(&b); err != nil {
		t.Fatal(err)
	}
	if report.Tier != probe.TierBTF && report.Tier != probe.TierSyscall || !report.Host.BTF || len(report.Tiers) < 2 || report.Host.Kernel == "" {
		t.Errorf("report %+v", report)
	}
	for _, c := range report.Host.Capabilities {
		if !strings.Contains(b.String(), c.Name) {
			t.Errorf("the text lacks %s:\n%s", c.Name, b.String())
		}
	}
	t.Log("\n" + b.String())
}
