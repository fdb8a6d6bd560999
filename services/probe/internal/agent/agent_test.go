// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
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

func TestAgentObservesWhatIsSelected(t *testing.T) {
	t.Parallel()
	self, other := uint32(os.Getpid()), child(t)
	r := build(t, selector(t, "{select: [{pids: ["+strconv.Itoa(int(self))+"]}]}"))
	r.kernel.give(func(s kern.Sink) {
		serve(s, self, 80, "GET /a HTTP/1.1\r\n\r\n")
		serve(s, other, 80, "GET /hidden HTTP/1.1\r\n\r\n")
	})
	if v, _ := r.kernel.verdict(other); v.Observe {
		t.Error("the kernel observes a process that is not selected")
	}
	r.Select(selector(t, "{select: [{exe: '*/sleep'}]}"))
	r.kernel.give(func(kern.Sink) {}) // Idle puts it in force
	r.kernel.give(func(s kern.Sink) {
		serve(s, self, 80, "GET /hidden HTTP/1.1\r\n\r\n")
		serve(s, other, 80, "GET /b HTTP/1.1\r\n\r\n")
	})
	for pid, observe := range map[uint32]bool{self: false, other: true} {
		if v, ok := r.kernel.verdict(pid); !ok || v.Observe != observe {
			t.Errorf("verdict on %d is %v, %t, want observe %t", pid, v, ok, observe)
		}
	}
	batches, events, _ := r.read(t)
	var paths []string
	for _, b := range batches {
		for _, x := range b.GetExchanges() {
			paths = append(paths, x.GetHttp().GetPath())
		}
	}
	if d := cmp.Diff([]string{"/a", "/b"}, paths); d != "" {
		t.Errorf("paths (-want +got):\n%s", d)
	}
	const found, instrumented, gone = eventv1.ProcessEvent_KIND_FOUND, eventv1.ProcessEvent_KIND_INSTRUMENTED, eventv1.ProcessEvent_KIND_GONE
	if d := cmp.Diff([]eventv1.ProcessEvent_Kind{instrumented, gone}, eventsOf(events, self)); d != "" {
		t.Errorf("events of the first process (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]eventv1.ProcessEvent_Kind{found, instrumented}, eventsOf(events, other)); d != "" {
		t.Errorf("events of the second process (-want +got):\n%s", d)
	}
	if d := r.Status().Dropped; len(d) > 0 {
		t.Errorf("what is not selected was counted as lost: %v", d)
	}
}

// post hands a client's exchange to the sink, which was answered with a status.
func post(sink kern.Sink, pid uint32, path string, status uint16) {
	e := &kern.Exchange{
		Role: kern.Client, RequestStart: 1, RequestEnd: 2, ResponseStart: 3, ResponseEnd: 4, Status: status, TGID: pid, TID: pid,
		TraceID: [16]byte{1}, SpanID: [8]byte{2},
	}
	e.SetAddrs(netip.MustParseAddrPort("127.0.0.1:40000"), netip.MustParseAddrPort("127.0.0.1:4318"))
	sink.Exchange(e, []byte("POST "+path+" HTTP/1.1\r\nHost: c:4318\r\n\r\n"), nil)
}

// TestAgentNoticesSDKs: a process is recognised by an export that got through, and the setting says what is left to it.
func TestAgentNoticesSDKs(t *testing.T) {
	t.Parallel()
	self, other := uint32(os.Getpid()), child(t)
	spec := func(sdk string) *sel.Selector {
		return selector(t, fmt.Sprintf("{select: [{pids: [%d, %d]}], sdk: %s}", self, other, sdk))
	}
	r := build(t, selector(t, fmt.Sprintf("{select: [{pids: [%d, %d]}]}", self, other)))
	step := func(path string) {
		r.kernel.give(func(s kern.Sink) { serve(s, self, 80, "GET "+path+" HTTP/1.1\r\n\r\n") })
	}
	r.kernel.give(func(s kern.Sink) {
		serve(s, self, 80, "GET /1 HTTP/1.1\r\n\r\n")
		post(s, self, "/v1/traces", 503)
		serve(s, self, 80, "GET /2 HTTP/1.1\r\n\r\n")
		post(s, self, "/v1/metrics", 200)
		serve(s, self, 80, "GET /3 HTTP/1.1\r\n\r\n")
		post(s, self, "/v1/traces", 200)
		serve(s, self, 80, "GET /4 HTTP/1.1\r\n\r\n")
		serve(s, other, 80, "GET /other HTTP/1.1\r\n\r\n")
		s.Process(&kern.Process{Event: kern.Fork, TGID: 1 << 28, Parent: self, Started: 7e9}, nil, nil, nil)
	})
	for path, setting := range map[string]string{"/off": "off", "/all": "all", "/spans": "spans"} {
		r.Select(spec(setting))
		r.kernel.give(func(kern.Sink) {}) // Idle puts it in force
		step(path)
	}
	r.Select(new(sel.Selector))
	r.kernel.give(func(kern.Sink) {})
	r.kernel.give(func(s kern.Sink) { serve(s, 1<<28, 80, "GET /child HTTP/1.1\r\n\r\n") })
	batches, events, _ := r.read(t)
	got := map[string]string{}
	for _, b := range batches {
		for _, x := range b.GetExchanges() {
			p := b.GetProcesses()[x.GetProcess()]
			got[x.GetHttp().GetPath()] = fmt.Sprint(p.GetExportsTraces(), p.GetExportsMetrics(), p.GetYield())
		}
	}
	const nothing, spans = "false false YIELD_UNSPECIFIED", "true true YIELD_SPANS"
	want := map[string]string{
		"/1": nothing, "/2": nothing, "/3": "false true YIELD_UNSPECIFIED", "/4": spans, "/other": nothing, "/child": nothing,
		"/off": "true true YIELD_UNSPECIFIED", "/all": "true true YIELD_ALL", "/spans": spans,
		"/v1/metrics": nothing, "/v1/traces": "false true YIELD_UNSPECIFIED",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("what is known of the process of each exchange (-want +got):\n%s", d)
	}
	told := map[eventv1.Yield]bool{}
	for _, e := range events {
		if e.GetProcess().GetPid() == self && e.GetProcess().GetExportsTraces() {
			told[e.GetProcess().GetYield()] = true
			if e.GetKind() != eventv1.ProcessEvent_KIND_INSTRUMENTED {
				t.Errorf("event %v", e)
			}
		}
	}
	if len(told) != 3 || r.Status().Exporting != 1 {
		t.Errorf("events told %v, %d processes export", told, r.Status().Exporting)
	}
}

// dialRole makes the test binary a process that keeps a connection to an address.
const dialRole = "AGENT_TEST_DIAL"

func keepDialled(address string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.Copy(io.Discard, conn)
	return err
}

// TestAgentNoticesExportsByGRPC: of those nothing is seen but a connection to where the environment says.
func TestAgentNoticesExportsByGRPC(t *testing.T) {
	t.Parallel()
	collector, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer collector.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	address := collector.Addr().String()
	cmd.Env = append(os.Environ(), dialRole+"="+address, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+address, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := collector.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { conn.Close(); _ = cmd.Wait() }()
	pid, other := uint32(cmd.Process.Pid), child(t)
	r := build(t, selector(t, fmt.Sprintf("{select: [{pids: [%d, %d]}]}", pid, other)))
	now := time.Now()
	r.kernel.give(func(s kern.Sink) {
		serve(s, pid, 80, "GET /before HTTP/1.1\r\n\r\n")
		serve(s, other, 80, "GET /other HTTP/1.1\r\n\r\n")
		r.lookAtDials(now)
	})
	bustest.Eventually(t, "the process is recognised", func() bool {
		r.kernel.give(func(kern.Sink) { r.publishStatus() })
		return r.Status().Exporting == 1
	})
	r.kernel.give(func(s kern.Sink) {
		serve(s, pid, 80, "GET /after HTTP/1.1\r\n\r\n")
		serve(s, other, 80, "GET /other HTTP/1.1\r\n\r\n")
		if r.lookAtDials(now.Add(time.Hour)); r.looking {
			t.Error("who was recognised is looked at again")
		}
	})
	batches, _, _ := r.read(t)
	got := map[string]eventv1.Yield{}
	for _, b := range batches {
		for _, x := range b.GetExchanges() {
			got[x.GetHttp().GetPath()] = b.GetProcesses()[x.GetProcess()].GetYield()
		}
	}
	if d := cmp.Diff(map[string]eventv1.Yield{"/before": 0, "/after": eventv1.Yield_YIELD_SPANS, "/other": 0}, got); d != "" {
		t.Errorf("what is left to the SDK (-want +got):\n%s", d)
	}
}

// TestAgentFindsListeners uses this process as one that begins to listen while it runs.
func TestAgentFindsListeners(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().(*net.TCPAddr)
	ln.Close()
	self := uint32(os.Getpid())
	r := build(t, selector(t, "{select: [{openPorts: "+strconv.Itoa(addr.Port)+"}]}"))
	r.kernel.give(func(s kern.Sink) { serve(s, self, 1, "GET /before HTTP/1.1\r\n\r\n") })
	if v, ok := r.kernel.verdict(self); !ok || v.Observe {
		t.Errorf("verdict before it listens: %v, %t", v, ok)
	}
	if ln, err = net.ListenTCP("tcp", addr); err != nil {
		t.Skip(err)
	}
	defer ln.Close()
	r.kernel.give(func(kern.Sink) { r.tick(r.ticked) })
	if v, _ := r.kernel.verdict(self); !v.Observe {
		t.Error("a process that listens now is not observed")
	}
	r.kernel.give(func(s kern.Sink) { serve(s, self, uint16(addr.Port), "GET /after HTTP/1.1\r\n\r\n") })
	// A server that is gone before anybody could look is known by the port it answered on.
	r.kernel.give(func(s kern.Sink) { serve(s, 1<<29, uint16(addr.Port), "GET /gone HTTP/1.1\r\n\r\n") })
	batches, _, _ := r.read(t)
	var paths []string
	for _, b := range batches {
		for _, x := range b.GetExchanges() {
			paths = append(paths, x.GetHttp().GetPath())
		}
	}
	if d := cmp.Diff([]string{"/after", "/gone"}, paths); d != "" {
		t.Errorf("paths (-want +got):\n%s", d)
	}
}

func TestAgentFollowsProcesses(t *testing.T) {
	t.Parallel()
	alive := child(t)
	r := build(t, new(sel.Selector))
	if _, ok := r.kernel.verdict(alive); !ok {
		t.Error("the kernel was told nothing about a process that runs")
	}
	pid := uint32(1 << 28) // no such process: the records are all there is
	r.kernel.give(func(s kern.Sink) {
		s.Process(&kern.Process{Event: kern.Exit, TGID: alive}, nil, nil, nil)
		s.Process(&kern.Process{Event: kern.Exec, TGID: pid, Parent: 1, Started: 5e9, Time: 6e9}, []byte("/opt/job"), nil, []byte("OTEL_SERVICE_NAME=job\x00"))
		s.Process(&kern.Process{Event: kern.Fork, TGID: pid + 1, Parent: pid, Started: 7e9}, nil, nil, nil)
		serve(s, pid, 80, "GET /parent HTTP/1.1\r\n\r\n")
		s.Process(&kern.Process{Event: kern.Exit, TGID: pid}, nil, nil, nil)
		serve(s, pid, 80, "GET /late HTTP/1.1\r\n\r\n")
		serve(s, pid+1, 80, "GET /child HTTP/1.1\r\n\r\n")
	})
	for _, ended := range []uint32{alive, pid} {
		if v, ok := r.kernel.verdict(ended); ok {
			t.Errorf("the kernel still has verdict %v on process %d, which has ended", v, ended)
		}
	}
	batches, events, _ := r.read(t)
	got := map[string]string{}
	for _, x := range batches[0].GetExchanges() {
		p := batches[0].GetProcesses()[x.GetProcess()]
		got[x.GetHttp().GetPath()] = fmt.Sprint(p.GetPid()-pid, p.GetExecutable(), p.GetOtelServiceName())
	}
	want := map[string]string{"/parent": "0/opt/jobjob", "/late": "0/opt/jobjob", "/child": "1/opt/jobjob"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("processes (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]eventv1.ProcessEvent_Kind{eventv1.ProcessEvent_KIND_INSTRUMENTED, eventv1.ProcessEvent_KIND_GONE}, eventsOf(events, pid)); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}

// TestAgentDoubtsProcesses: when the kernel says that it lost records of processes, one that runs another program than was known is
// found out.
func TestAgentDoubtsProcesses(t *testing.T) {
	t.Parallel()
	pid := child(t)
	r := build(t, new(sel.Selector))
	r.kernel.give(func(s kern.Sink) {
		r.table.Get(pid).Info = &eventv1.Process{Pid: pid, Executable: "/before/exec", StartUnixNano: 1}
		serve(s, pid, 80, "GET /before HTTP/1.1\r\n\r\n")
		r.sweep()
		serve(s, pid, 80, "GET /undoubted HTTP/1.1\r\n\r\n")
	})
	r.kernel.mu.Lock()
	r.kernel.drops = map[string]uint64{kern.LostProcessRecord: 1}
	r.kernel.mu.Unlock()
	r.kernel.give(func(s kern.Sink) {
		r.tick(r.ticked)
		r.sweep()
		serve(s, pid, 80, "GET /after HTTP/1.1\r\n\r\n")
	})
	batches, _, _ := r.read(t)
	got := map[string]bool{}
	for _, b := range batches {
		for _, x := range b.GetExchanges() {
			got[x.GetHttp().GetPath()] = b.GetProcesses()[x.GetProcess()].GetExecutable() == "/before/exec"
		}
	}
	if d := cmp.Diff(map[string]bool{"/before": true, "/undoubted": true, "/after": false}, got); d != "" {
		t.Errorf("taken for what it was (-want +got):\n%s", d)
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

// discard confirms everything at once.
type discard struct{ bytes int }

func (d *discard) PublishAsync(m bus.Msg, done func(error)) error {
	d.bytes += len(m.Data)
	done(nil)
	return nil
}

// BenchmarkAgent is the way of an exchange from its record to a compressed message.
func BenchmarkAgent(b *testing.B) {
	var out discard
	a, err := New(testConfig(), newFakeKernel(), &out, new(sel.Selector))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { defer close(done); a.spool.run(ctx) }()
	e := &kern.Exchange{
		Role: kern.Server, Flags: kern.Keyed, RequestStart: 1, RequestEnd: 2, ResponseStart: 3, ResponseEnd: 4, Status: 200,
		TGID: uint32(os.Getpid()), TID: 7,
	}
	e.SetAddrs(netip.MustParseAddrPort("127.0.0.1:8080"), netip.MustParseAddrPort("127.0.0.1:40000"))
	request := []byte("GET /api/v1/users/12345/orders?token=secret HTTP/1.1\r\nHost: shop.example:8080\r\nAccept: */*\r\n" +
		"Accept-Encoding: gzip, deflate\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nConnection: keep-alive\r\n\r\n")
	n := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		n++
		e.RequestStart, e.RequestEnd, e.ResponseStart, e.ResponseEnd = n*9973, n*9973+71, n*9973+5003, n*9973+6007
		for i := range 8 { // ids look random
			e.TraceID[i], e.SpanID[i] = byte(n*0x9e3779b97f4a7c15>>(8*i)), byte(n*0xbf58476d1ce4e5b9>>(8*i))
		}
		a.Exchange(e, request, nil)
	}
	a.flush()
	cancel()
	<-done
	b.ReportMetric(float64(out.bytes)/float64(n), "wire-B/op")
}
