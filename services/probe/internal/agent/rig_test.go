// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/services/probe/internal/kern"
	"github.com/busbar/busbar/services/probe/internal/proc"
	"github.com/busbar/busbar/services/probe/internal/sel"
)

func TestMain(m *testing.M) {
	for role, play := range map[string]func(string) error{busRole: serveBus, httpRole: serveHTTP, dialRole: keepDialled} {
		if arg := os.Getenv(role); arg != "" {
			if err := play(arg); err != nil {
				panic(err)
			}
			return
		}
	}
	goleak.VerifyTestMain(m)
}

// fakeKernel reads what a test feeds it, on the goroutine that calls Read.
type fakeKernel struct {
	feed chan func(kern.Sink)

	mu       sync.Mutex
	verdicts map[uint32]kern.Verdict
	drops    map[string]uint64
}

func newFakeKernel() *fakeKernel {
	return &fakeKernel{feed: make(chan func(kern.Sink)), verdicts: map[uint32]kern.Verdict{}}
}

func (f *fakeKernel) Read(ctx context.Context, sink kern.Sink) error {
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-poll.C:
			sink.Idle()
		case give, ok := <-f.feed:
			if !ok {
				return errors.New("ring is gone")
			}
			give(sink)
		}
	}
}

// give has the reader call back, and returns when it has.
func (f *fakeKernel) give(records func(kern.Sink)) {
	done := make(chan struct{})
	f.feed <- func(s kern.Sink) {
		records(s)
		s.Idle()
		close(done)
	}
	<-done
}

func (f *fakeKernel) Decide(tgid uint32, v kern.Verdict) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.verdicts[tgid] = v
	return nil
}

func (f *fakeKernel) Forget(tgid uint32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.verdicts, tgid)
	return nil
}

func (f *fakeKernel) Drops() map[string]uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.drops)
}

func (f *fakeKernel) Blemishes() map[string]uint64 { return map[string]uint64{"gap": 1} }

func (f *fakeKernel) verdict(pid uint32) (kern.Verdict, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, ok := f.verdicts[pid]
	return v, ok
}

// serve hands an exchange of a server process to the sink.
func serve(sink kern.Sink, pid uint32, port uint16, request string) {
	e := &kern.Exchange{
		Role: kern.Server, Flags: kern.Keyed, RequestStart: 1, RequestEnd: 2, ResponseStart: 3, ResponseEnd: 4, Status: 200,
		TGID: pid, TID: pid, TraceID: [16]byte{1}, SpanID: [8]byte{2},
	}
	e.SetAddrs(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port), netip.MustParseAddrPort("127.0.0.1:40000"))
	sink.Exchange(e, []byte(request), nil)
}

// rig is an agent between a fake kernel and a real bus.
type rig struct {
	*Agent
	kernel *fakeKernel
	bus    *bus.Bus
	server *bustest.Server
	stop   func() error // ends the agent
}

// testConfig is of an agent whose own process is some other one, so that a test can play a process of the node.
func testConfig() Config {
	return Config{
		Node: "node.1", Run: "run", Root: subject.DefaultRoot, Self: 1 << 30, SpoolBytes: 1 << 20, Proc: proc.Default("node.1"),
		Log: slog.New(slog.DiscardHandler),
	}
}

// build starts an agent.
func build(t *testing.T, selector *sel.Selector) *rig {
	t.Helper()
	r := &rig{kernel: newFakeKernel(), server: bustest.Start(t)}
	r.run(t, r.server.Connect(t, "test"), selector)
	return r
}

// run starts the agent.
func (r *rig) run(t *testing.T, b *bus.Bus, selector *sel.Selector) {
	t.Helper()
	r.bus = b
	if err := r.bus.Provision(t.Context(), bus.StreamSpec(subject.DefaultRoot.RawStream())); err != nil {
		t.Fatal(err)
	}
	a, err := New(testConfig(), r.kernel, r.bus, selector)
	if err != nil {
		t.Fatal(err)
	}
	r.Agent = a
	r.start(t)
}

// start has the agent run until the test ends, or stop is called.
func (r *rig) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = r.stop() })
}

// read ends the agent and returns what is stored, decompressed and decoded.
func (r *rig) read(t *testing.T) (exchanges []*eventv1.ExchangeBatch, events []*eventv1.ProcessEvent, raw [][]byte) {
	t.Helper()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for _, d := range bustest.ReadAll(t, r.bus, subject.DefaultRoot.RawStream().Name, "") {
		data, err := d.Data()
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, data)
		switch d.Subject {
		case "busbar.raw.exchange.node_1":
			m := new(eventv1.ExchangeBatch)
			if err := proto.Unmarshal(data, m); err != nil {
				t.Fatal(err)
			}
			if d.Header(bus.HeaderSchema) != subject.SchemaExchanges || d.Items() != len(m.GetExchanges()) {
				t.Errorf("schema %q, items %d of %d", d.Header(bus.HeaderSchema), d.Items(), len(m.GetExchanges()))
			}
			if want := fmt.Sprintf("node.1/run/%d", m.GetOrigin().GetSequence()); d.Header(bus.HeaderID) != want {
				t.Errorf("message id %q, want %q", d.Header(bus.HeaderID), want)
			}
			exchanges = append(exchanges, m)
		case "busbar.raw.process.node_1":
			m := new(eventv1.ProcessBatch)
			if err := proto.Unmarshal(data, m); err != nil {
				t.Fatal(err)
			}
			events = append(events, m.GetEvents()...)
		default:
			t.Errorf("unexpected subject %s", d.Subject)
		}
	}
	return exchanges, events, raw
}

// eventsOf returns what was published about one process, in order.
func eventsOf(events []*eventv1.ProcessEvent, pid uint32) (kinds []eventv1.ProcessEvent_Kind) {
	for _, e := range events {
		if e.GetProcess().GetPid() == pid {
			kinds = append(kinds, e.GetKind())
		}
	}
	return kinds
}

// child starts a process that waits until the test ends, and returns its id.
func child(t *testing.T) uint32 {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "3600")
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return uint32(cmd.Process.Pid)
}

func selector(t testing.TB, spec string) *sel.Selector {
	t.Helper()
	text := "apiVersion: busbar.dev/v1\nkind: Instrumentation\nmetadata: {name: x}\nspec: " + spec
	set, err := config.Parse(configv1.Kinds(), config.Source{Name: "x.yaml", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	s, faults := sel.Compile(set)
	if faults != nil {
		t.Fatal(faults)
	}
	return s
}
