// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/probe/internal/kern"
	"github.com/busbar/busbar/services/probe/internal/sel"
)

func TestAgentPublishesEveryExchangeOnce(t *testing.T) {
	t.Parallel()
	r := build(t, new(sel.Selector))
	self, other := uint32(os.Getpid()), child(t)
	r.kernel.give(func(s kern.Sink) {
		for i := range 2500 {
			serve(s, self, 8080, "GET /"+strconv.Itoa(i)+"?token=secret HTTP/1.1\r\nHost: u:secret@shop\r\n\r\n")
		}
		serve(s, other, 81, "GET /other HTTP/1.1\r\n\r\n")
		serve(s, 1<<30, 9600, "GET /self HTTP/1.1\r\n\r\n")
		serve(s, self, 8080, "\x16\x03\x01")
	})
	batches, events, raw := r.read(t)
	paths := map[string]int{}
	for i, b := range batches {
		if b.GetOrigin().GetSequence() != uint64(i+1) || b.GetOrigin().GetNode() != "node.1" || b.GetOrigin().GetRun() != "run" {
			t.Errorf("batch %d has origin %v", i, b.GetOrigin())
		}
		for _, x := range b.GetExchanges() {
			paths[x.GetHttp().GetPath()]++
			p := b.GetProcesses()[x.GetProcess()]
			if want := map[bool]uint32{true: self, false: other}[x.GetLocalPort() == 8080]; p.GetPid() != want {
				t.Fatalf("%s is of process %v, want %d", x.GetHttp().GetPath(), p, want)
			}
			if got := b.GetAddresses()[x.GetLocalAddress()]; !bytes.Equal(got, []byte{127, 0, 0, 1}) {
				t.Fatalf("local address %v", got)
			}
		}
	}
	want := map[string]int{"/other": 1}
	for i := range 2500 {
		want["/"+strconv.Itoa(i)] = 1
	}
	if d := cmp.Diff(want, paths); d != "" {
		t.Errorf("paths (-want +got):\n%s", d)
	}
	for _, data := range raw {
		if bytes.Contains(data, []byte("secret")) {
			t.Fatal("a query or user information left the node")
		}
	}
	if d := cmp.Diff([]eventv1.ProcessEvent_Kind{eventv1.ProcessEvent_KIND_INSTRUMENTED}, eventsOf(events, self)); d != "" {
		t.Errorf("process events (-want +got):\n%s", d)
	}
	status := r.Status()
	if d := cmp.Diff(map[string]uint64{"unparsed": 1}, status.Dropped); d != "" || status.Exchanges != 2501 || status.Observed != 2 {
		t.Errorf("status %+v, dropped (-want +got):\n%s", status, d)
	}
	if v, ok := r.kernel.verdict(other); !ok || v != (kern.Verdict{Observe: true, Threads: true}) {
		t.Errorf("verdict on a C program: %v, %t", v, ok)
	}
	if v, ok := r.kernel.verdict(self); !ok || !v.Observe || v.Threads || v.Goroutines.ID == 0 || v.Goroutines.Counter == 0 {
		t.Errorf("verdict on a Go program: %v, %t", v, ok)
	}
}

// TestAgentOutlivesAnOutage takes the bus away: what fits into window and spool arrives later, what does not is counted and
// leaves a gap in the numbers.
func TestAgentOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	r := &rig{kernel: newFakeKernel(), server: bustest.Start(t)}
	cfg := r.server.Config("test")
	cfg.WindowMessages = 2
	b, err := bus.Connect(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	r.run(t, b, new(sel.Selector))
	batch := func(n int) {
		r.kernel.give(func(s kern.Sink) {
			for i := range 2000 {
				serve(s, uint32(os.Getpid()), 80, fmt.Sprintf("GET /%d/%d-%x HTTP/1.1\r\n\r\n", n, i, rand.Uint64()))
			}
			r.flush()
		})
	}
	batch(0)
	bustest.Eventually(t, "the first batches are stored", func() bool { return r.spool.empty() })
	r.server.Stop()
	for n := 1; r.losses.snapshot()["spool"] == 0; n++ {
		batch(n)
	}
	r.server.Start()
	bustest.Eventually(t, "the spool is empty again", func() bool { return r.spool.empty() })
	r.kernel.give(func(kern.Sink) { r.tick(r.ticked) })
	batch(1 << 20)
	batches, _, _ := r.read(t)
	var stored, missing, last uint64
	for _, m := range batches {
		sequence := m.GetOrigin().GetSequence()
		missing += sequence - last - 1
		last = sequence
		stored += uint64(len(m.GetExchanges()))
	}
	dropped := batches[len(batches)-1].GetOrigin().GetDropped()
	if missing == 0 || dropped["spool"] == 0 || stored+dropped["spool"] != r.Status().Exchanges {
		t.Errorf("%d batches are missing, %d exchanges stored, %v dropped, of %d", missing, stored, dropped, r.Status().Exchanges)
	}
}

func TestAgentReadsLossesOfTheKernel(t *testing.T) {
	t.Parallel()
	r := build(t, new(sel.Selector))
	self := uint32(os.Getpid())
	r.kernel.mu.Lock()
	r.kernel.drops = map[string]uint64{"ring_full": 7, "gap": 0}
	r.kernel.mu.Unlock()
	r.kernel.give(func(s kern.Sink) { r.tick(r.ticked) })
	r.kernel.give(func(s kern.Sink) { r.tick(r.ticked); serve(s, self, 80, "GET / HTTP/1.1\r\n\r\n") })
	batches, _, _ := r.read(t)
	if d := cmp.Diff(map[string]uint64{"ring_full": 7}, batches[0].GetOrigin().GetDropped()); d != "" {
		t.Errorf("dropped (-want +got):\n%s", d)
	}
}

func TestAgentReportsThatTheRingIsGone(t *testing.T) {
	t.Parallel()
	kernel := newFakeKernel()
	close(kernel.feed)
	a, err := New(testConfig(), kernel, new(discard), new(sel.Selector))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); err == nil {
		t.Error("Run ended without an error")
	}
}
