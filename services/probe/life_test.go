// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/probe"
)

// relay is a process with a connection that it accepted and one that it opened, both kept.
type relay struct {
	pid     uint32
	address string
	client  http.Client
}

func startRelay(t *testing.T) *relay {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(upstream.Close)
	r := new(relay)
	r.pid, r.address, _ = actor(t, "relay", upstream.URL)
	t.Cleanup(r.client.CloseIdleConnections)
	return r
}

// call sends a request through the relay.
func (r *relay) call(t *testing.T, path string) {
	t.Helper()
	resp, err := r.client.Get("http://" + r.address + path) //nolint:noctx // of a test
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
}

// seen returns what the bus has of a process, role and path, and how often.
func (r *running) seen(t *testing.T, pid uint32) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for _, b := range r.stored(t) {
		for _, x := range b.GetExchanges() {
			if b.GetProcesses()[x.GetProcess()].GetPid() == pid {
				seen[strings.ToLower(strings.TrimPrefix(x.GetRole().String(), "ROLE_"))+" "+x.GetHttp().GetPath()]++
			}
		}
	}
	return seen
}

// events returns the kinds of events that the bus has of a process.
func (r *running) events(t *testing.T, pid uint32) (kinds []eventv1.ProcessEvent_Kind) {
	t.Helper()
	for _, data := range r.raw(t, subject.DefaultRoot.RawProcess("here")) {
		m := new(eventv1.ProcessBatch)
		if err := proto.Unmarshal(data, m); err != nil {
			t.Fatal(err)
		}
		for _, e := range m.GetEvents() {
			if e.GetProcess().GetPid() == pid {
				kinds = append(kinds, e.GetKind())
			}
		}
	}
	return kinds
}

// TestProbeFollowsResourcesOnOpenConnections changes its mind about a process while its connections stay open.
func TestProbeFollowsResourcesOnOpenConnections(t *testing.T) {
	needKernel(t)
	for _, tier := range []string{probe.TierBTF, probe.TierSyscall} {
		t.Run(tier, func(t *testing.T) {
			relay := startRelay(t)
			path := filepath.Join(t.TempDir(), "select.yaml")
			write := func(spec string) {
				t.Helper()
				text := "apiVersion: busbar.dev/v1\nkind: Instrumentation\nmetadata: {name: one}\nspec: " + spec + "\n"
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			selected := fmt.Sprintf("{select: [{pids: [%d]}]}", relay.pid)
			excluded := fmt.Sprintf("{exclude: [{pids: [%d]}]}", relay.pid)
			write(excluded)
			relay.call(t, "/opening")
			r := start(t, tier, path)
			relay.call(t, "/a")
			write(selected)
			bustest.Eventually(t, "the process is observed", func() bool {
				relay.call(t, "/turning")
				return r.seen(t, relay.pid)["client /turning"] > 0
			})
			for range 10 {
				relay.call(t, "/b")
			}
			bustest.Eventually(t, "both sides are seen", func() bool {
				seen := r.seen(t, relay.pid)
				return seen["server /b"] == 10 && seen["client /b"] == 10
			})
			write(excluded)
			bustest.Eventually(t, "the process is let go", func() bool {
				return slices.Contains(r.events(t, relay.pid), eventv1.ProcessEvent_KIND_GONE)
			})
			relay.call(t, "/c")
			write(selected)
			bustest.Eventually(t, "the process is observed again", func() bool {
				relay.call(t, "/turning/again")
				return r.seen(t, relay.pid)["client /turning/again"] > 0
			})
			relay.call(t, "/d")
			r.end(t)
			seen := r.seen(t, relay.pid)
			for name := range seen {
				if strings.Contains(name, "/turning") { // as many as the change took
					delete(seen, name)
				}
			}
			if d := cmp.Diff(map[string]int{"server /b": 10, "client /b": 10, "server /d": 1, "client /d": 1}, seen); d != "" {
				t.Errorf("seen (-want +got):\n%s", d)
			}
		})
	}
}

// TestProbeComesBack kills a probe, and another one takes up the connections that stay open meanwhile.
func TestProbeComesBack(t *testing.T) {
	needKernel(t)
	server := bustest.Listen(t)
	relay := startRelay(t)
	relay.call(t, "/opening")
	pid, tier, wait := actor(t, "probe", server.URL())
	if tier == "" {
		t.Fatal("the probe ended")
	}
	r := &running{bus: server.Connect(t, "test")}
	relay.call(t, "/first")
	both := func(path string) func() bool {
		return func() bool {
			seen := r.seen(t, relay.pid)
			return seen["server "+path] == 1 && seen["client "+path] == 1
		}
	}
	bustest.Eventually(t, "the first probe sees both sides", both("/first"))
	if err := syscall.Kill(int(pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = wait()
	relay.call(t, "/meanwhile")
	if _, tier, _ = actor(t, "probe", server.URL()); tier == "" {
		t.Fatal("the second probe ended")
	}
	relay.call(t, "/second")
	bustest.Eventually(t, "the second probe sees both sides", both("/second"))
	if seen := r.seen(t, relay.pid); seen["server /meanwhile"]+seen["client /meanwhile"] != 0 {
		t.Errorf("what nobody looked at was seen: %v", seen)
	}
}

// TestProbeLooksIntoContainers observes a process that has a pid, mounts, a network and a host name of its own.
func TestProbeLooksIntoContainers(t *testing.T) {
	needKernel(t)
	r := start(t, probe.TierAuto)
	pid, inside, _ := actorIn(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS}, "island")
	if inside != "1" {
		t.Fatalf("the process has id %q in its namespace", inside)
	}
	r.await(t, "/island", 2)
	r.end(t)
	if d := cmp.Diff(map[string]int{"server /island": 1, "client /island": 1}, r.seen(t, pid)); d != "" {
		t.Errorf("seen (-want +got):\n%s", d)
	}
	for _, b := range r.stored(t) {
		for _, p := range b.GetProcesses() {
			if p.GetPid() == pid && p.GetHostName() != "island" {
				t.Errorf("process %v", p)
			}
		}
	}
}

// TestProbeHoldsThousandsOfProcesses has 2,000 processes run at once, half of them older than the probe.
func TestProbeHoldsThousandsOfProcesses(t *testing.T) {
	needKernel(t)
	const half = 1000
	crowd(t, half)
	r := start(t, probe.TierAuto)
	end := crowd(t, half)
	_, address, _ := actor(t, "server")
	if err := get(address, "/amid/200"); err != nil {
		t.Fatal(err)
	}
	r.await(t, "/amid/", 1)
	bustest.Eventually(t, "all of them are known", func() bool { return r.metric(t, "busbar_probe_processes") >= 2*half })
	if lost := r.metric(t, "busbar_dropped_records_total"); lost > 0 {
		t.Errorf("%v records were lost", lost)
	}
	end()
	if err := get(address, "/amid/201"); err != nil {
		t.Fatal(err)
	}
	r.await(t, "/amid/", 2)
	r.end(t)
}

// crowd starts n processes that wait until the test or the function returned ends them.
func crowd(t *testing.T, n int) (end func()) {
	t.Helper()
	pid, started, wait := actor(t, "crowd", strconv.Itoa(n))
	if started != strconv.Itoa(n) {
		t.Fatalf("%q of %d processes started", started, n)
	}
	return func() {
		_ = syscall.Kill(int(pid), syscall.SIGTERM)
		_ = wait()
	}
}

// metric returns the sum of a metric of the probe.
func (r *running) metric(t *testing.T, name string) (sum float64) {
	t.Helper()
	families, err := r.cfg.Admin.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
