// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/goleak"

	fleetv1 "github.com/busbar/busbar/contract/fleet/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/router"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const root = subject.DefaultRoot

const destinations = `
apiVersion: busbar.dev/v1
kind: Destination
metadata: {name: page}
spec: {prometheus: {endpoint: "127.0.0.1:9464"}}
---
apiVersion: busbar.dev/v1
kind: Destination
metadata: {name: tempo}
spec: {otlphttp: {endpoint: "http://127.0.0.1:4318"}}
---
apiVersion: busbar.dev/v1
kind: Destination
metadata: {name: archive}
spec: {otlphttp: {endpoint: "http://127.0.0.1:4319"}}
`

func pipelineNamed(name, spec string) string {
	return "---\napiVersion: busbar.dev/v1\nkind: Pipeline\nmetadata: {name: " + name + "}\nspec: {" + spec + "}\n"
}

// fixture is a router at work on a bus of its own.
type fixture struct {
	*bus.Bus
	server *bustest.Server
	admin  *admin.Admin
	file   string
	stop   func()
}

func start(t testing.TB, resources string, change ...func(*router.Config)) *fixture {
	t.Helper()
	f := &fixture{server: bustest.Start(t), admin: admin.New(), file: filepath.Join(t.TempDir(), "busbar.yaml")}
	f.Bus = f.server.Connect(t, "test")
	f.declare(t, resources)
	f.run(t, change...)
	if err := f.Provision(t.Context(), bus.StreamSpec(root.OTLPStream()), bus.StreamSpec(root.DeadStream())); err != nil {
		t.Fatal(err)
	}
	return f
}

// run starts a router, which ends with the test or at stop.
func (f *fixture) run(t testing.TB, change ...func(*router.Config)) {
	t.Helper()
	cfg := router.Default()
	cfg.Bus = f.server.Config("busbar-router")
	cfg.Paths = []string{f.file}
	cfg.Admin = f.admin
	cfg.Log = slog.New(slog.DiscardHandler)
	for _, c := range change {
		c(&cfg)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- router.Run(ctx, cfg) }()
	f.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		ended <- nil
	}
	t.Cleanup(f.stop)
}

// declare replaces the resources.
func (f *fixture) declare(t testing.TB, resources string) {
	t.Helper()
	if err := os.WriteFile(f.file, []byte(resources), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) publish(t testing.TB, msgs ...bus.Msg) {
	t.Helper()
	if err := f.Publish(t.Context(), msgs...); err != nil {
		t.Fatal(err)
	}
}

// settle waits until the router is done with everything published.
func (f *fixture) settle(t testing.TB) {
	t.Helper()
	bustest.Eventually(t, "consumer exists", func() bool { return f.counter("busbar_bus_consumed_messages_total") > 0 })
	bustest.Eventually(t, "everything is routed", func() bool {
		return f.server.Pending(t, root.OTLPStream().Name, router.Service) == 0
	})
}

func (f *fixture) out(t testing.TB, destination string) []*bus.Delivery {
	t.Helper()
	return bustest.ReadAll(t, f.Bus, root.OutStream(destination).Name, "")
}

// counter adds up the metrics of a family whose labels have the given pairs.
func (f *fixture) counter(family string, pairs ...string) (sum float64) {
	families, err := f.admin.Gatherer().Gather()
	if err != nil {
		panic(err)
	}
	for _, fam := range families {
		for _, m := range fam.GetMetric() {
			labels := prometheus.Labels{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			matches := fam.GetName() == family
			for pair := range slices.Chunk(pairs, 2) {
				matches = matches && labels[pair[0]] == pair[1]
			}
			if matches {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// spans is a message with that many spans of a service; every fifth is named GET /healthz.
func spans(t testing.TB, service string, n int) bus.Msg {
	t.Helper()
	traces := ptrace.NewTraces()
	rs := traces.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", service)
	ss := rs.ScopeSpans().AppendEmpty()
	for i := range n {
		s := ss.Spans().AppendEmpty()
		s.SetTraceID(pcommon.TraceID{1, 9: byte(i * 256 / n)})
		s.SetName("GET /cart")
		if i%5 == 0 {
			s.SetName("GET /healthz")
		}
		s.Attributes().PutStr("note", "card 4111 1111 1111 1111")
	}
	var m ptrace.ProtoMarshaler
	b, err := m.MarshalTraces(traces)
	if err != nil {
		t.Fatal(err)
	}
	return bus.Msg{
		Subject: root.OTLP(subject.Traces, subject.DefaultTenant, "eu", service),
		Header:  map[string]string{bus.HeaderSchema: subject.SchemaTraces, bus.HeaderSource: "enricher", "Own-Header": "kept"},
		Items:   n, Data: b,
	}
}

func decode(t testing.TB, d *bus.Delivery) ptrace.Traces {
	t.Helper()
	b, err := d.Data()
	if err != nil {
		t.Fatal(err)
	}
	var u ptrace.ProtoUnmarshaler
	traces, err := u.UnmarshalTraces(b)
	if err != nil {
		t.Fatal(err)
	}
	return traces
}

func TestBytesPassUntouched(t *testing.T) {
	t.Parallel()
	f := start(t, destinations)
	compressed := spans(t, "shop", 100)
	foreign := bus.Msg{
		Subject: root.OTLP(subject.Logs, "a", "b", "c"), Data: []byte("not even OTLP"), Encoding: "zstd", Items: 3,
		Header: map[string]string{"Content-Type": "x"},
	}
	f.publish(t, compressed, foreign)
	f.settle(t)
	in := bustest.ReadAll(t, f.Bus, root.OTLPStream().Name, "")
	for _, destination := range []string{"tempo", "archive"} {
		out := f.out(t, destination)
		if len(out) != len(in) {
			t.Fatalf("%d messages for %s, want %d", len(out), destination, len(in))
		}
		slices.SortFunc(out, func(a, b *bus.Delivery) int { return strings.Compare(b.Subject, a.Subject) }) // traces, logs
		for i := range in {
			if diff := cmp.Diff(in[i].Raw(), out[i].Raw()); diff != "" {
				t.Error(diff)
			}
			if in[i].Encoding() != out[i].Encoding() {
				t.Errorf("encoding %s became %s", in[i].Encoding(), out[i].Encoding())
			}
			if diff := cmp.Diff(in[i].Headers(), out[i].Headers()); diff != "" {
				t.Error(diff)
			}
		}
		want := root.Out(destination, subject.Traces, subject.Shard(subject.DefaultTenant, "eu", "shop"))
		if out[0].Subject != want {
			t.Errorf("subject %s, want %s", out[0].Subject, want)
		}
	}
	if page := f.out(t, "page"); len(page) != 0 {
		t.Errorf("%d messages for the page, which takes metrics only", len(page))
	}
}

// A message that was a dead letter of one pipeline goes through that one alone when it comes again.
func TestOnlyThePipelineThatFailed(t *testing.T) {
	t.Parallel()
	f := start(t, destinations+pipelineNamed("pass", `to: [archive]`)+
		pipelineNamed("look", `to: [tempo], steps: [{filter: 'span.name == "GET /healthz"'}], signals: [traces]`))
	bad := spans(t, "shop", 1)
	bad.Data = []byte("no spans")
	f.publish(t, bad)
	f.settle(t)
	dead := bustest.ReadAll(t, f.Bus, root.DeadStream().Name, "")
	if len(dead) != 1 || dead[0].Header(bus.HeaderDeadPart) != "look" {
		t.Fatalf("%d dead letters: %v", len(dead), dead)
	}
	again := spans(t, "shop", 5)
	again.Header[bus.HeaderPart] = dead[0].Header(bus.HeaderDeadPart)
	f.publish(t, again)
	f.settle(t)
	tempo, archive := f.out(t, "tempo"), f.out(t, "archive")
	if len(tempo) != 1 || tempo[0].Items() != 4 || tempo[0].Header(bus.HeaderPart) != "" {
		t.Errorf("tempo has %d messages", len(tempo))
	}
	if len(archive) != 1 || string(archive[0].Raw()) != "no spans" {
		t.Errorf("archive has %d messages", len(archive))
	}
}

func TestStepsEndToEnd(t *testing.T) {
	t.Parallel()
	f := start(t, destinations+pipelineNamed("shop", `
  signals: [traces], services: ["shop*"], match: 'resource.attributes["service.name"] == "shop"', to: [tempo],
  steps: [{filter: 'span.name == "GET /healthz"'}, {redact: {creditCards: true}}, {sample: {ratio: 0.5}}, {transform: 'set(span.attributes["team"], "checkout")'}]`)+
		pipelineNamed("everything", `to: [archive]`))
	f.publish(t, spans(t, "shop", 100), spans(t, "stock", 10))
	f.settle(t)

	out := f.out(t, "tempo")
	if len(out) != 1 {
		t.Fatalf("%d messages for tempo", len(out))
	}
	traces := decode(t, out[0])
	for _, s := range traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
		want := map[string]any{"note": "card ****", "team": "checkout"}
		if diff := cmp.Diff(want, s.Attributes().AsRaw()); diff != "" {
			t.Fatal(diff)
		}
		if s.Name() != "GET /cart" || s.TraceState().AsRaw() != "ot=th:8" {
			t.Fatalf("%s with tracestate %q", s.Name(), s.TraceState().AsRaw())
		}
	}
	if traces.SpanCount() != 40 || out[0].Items() != 40 {
		t.Errorf("%d spans, header says %d, want 40", traces.SpanCount(), out[0].Items())
	}
	if got := out[0].Header("Own-Header") + " " + out[0].Header(bus.HeaderSource); got != "kept router" {
		t.Error(got)
	}
	archived := 0
	for _, d := range f.out(t, "archive") {
		archived += decode(t, d).SpanCount()
	}
	if archived != 110 {
		t.Errorf("%d spans in the archive", archived)
	}
	for _, want := range []struct {
		family string
		pairs  []string
		count  float64
	}{
		{"busbar_router_in_records_total", []string{"pipeline", "shop"}, 100},
		{"busbar_router_out_records_total", []string{"pipeline", "shop"}, 40},
		{"busbar_router_dropped_records_total", []string{"pipeline", "shop", "reason", "filter"}, 20},
		{"busbar_router_dropped_records_total", []string{"pipeline", "shop", "reason", "sample"}, 40},
		{"busbar_dropped_records_total", []string{"stage", "router", "reason", "filter"}, 20},
		{"busbar_router_in_records_total", []string{"pipeline", "everything"}, 110},
		{"busbar_router_out_records_total", []string{"pipeline", "everything"}, 110},
	} {
		if got := f.counter(want.family, want.pairs...); got != want.count {
			t.Errorf("%s%v is %v, want %v", want.family, want.pairs, got, want.count)
		}
	}
}

func TestImplicitDestinations(t *testing.T) {
	t.Parallel()
	f := start(t, pipelineNamed("only-stock", `to: [otlp], services: [stock]`), func(c *router.Config) {
		c.Implicit = []router.Route{{Destination: "page", Signals: []subject.Signal{subject.Metrics}}, {Destination: "otlp"}}
	})
	f.publish(t, spans(t, "shop", 1), spans(t, "stock", 2))
	f.settle(t)
	if n := len(f.out(t, "otlp")); n != 2 {
		t.Errorf("%d messages, want each of two once", n)
	}
}

func TestUnroutedIsCounted(t *testing.T) {
	t.Parallel()
	f := start(t, destinations+pipelineNamed("a", `to: [tempo], signals: [traces], services: [stock]`))
	metrics := bus.Msg{Subject: root.OTLP(subject.Metrics, "a", "b", "c"), Items: 4, Data: []byte("x")}
	f.publish(t, spans(t, "shop", 3), metrics)
	f.settle(t)
	for reason, want := range map[string]float64{"unrouted": 3, "ignored": 4} {
		if got := f.counter("busbar_dropped_records_total", "stage", "router", "reason", reason); got != want {
			t.Errorf("%s: %v, want %v", reason, got, want)
		}
	}
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	f := start(t, destinations+
		pipelineNamed("looks", `to: [tempo], steps: [{redact: {creditCards: true}}]`)+
		pipelineNamed("passes", `to: [archive]`))
	garbage := bus.Msg{Subject: root.OTLP(subject.Logs, "a", "b", "c"), Data: []byte("not protobuf"), Encoding: "s2"}
	f.publish(t, garbage, bus.Msg{Subject: "busbar.otlp.x", Data: []byte("x")}, bus.Msg{Subject: "busbar.otlp.profiles.a.b.c", Data: []byte("x")})
	bustest.Eventually(t, "dead letters", func() bool { return len(bustest.ReadAll(t, f.Bus, root.DeadStream().Name, "")) == 3 })
	f.settle(t)
	reasons := map[string]int{}
	for _, d := range bustest.ReadAll(t, f.Bus, root.DeadStream().Name, "") {
		reasons[d.Subject+" "+d.Header(bus.HeaderDeadReason)]++
	}
	want := map[string]int{"busbar.dead.router.undecodable undecodable": 1, "busbar.dead.router.subject subject": 2}
	if diff := cmp.Diff(want, reasons); diff != "" {
		t.Error(diff)
	}
	if n := len(f.out(t, "archive")); n != 1 {
		t.Errorf("%d messages for the pipeline that does not look, want 1", n)
	}
	if n := len(f.out(t, "tempo")); n != 0 {
		t.Errorf("%d messages for the pipeline that does", n)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	f := start(t, destinations+pipelineNamed("a", `to: [tempo], signals: [traces]`))
	f.publish(t, spans(t, "shop", 1))
	f.settle(t)
	applied := func(result string, n float64) func() bool {
		return func() bool { return f.counter("busbar_config_reloads_total", "result", result) == n }
	}

	f.declare(t, destinations+pipelineNamed("a", `to: [nowhere], signals: [traces]`))
	bustest.Eventually(t, "bad change is refused", applied("refused", 1))
	f.publish(t, spans(t, "shop", 1))
	f.settle(t)
	if n := len(f.out(t, "tempo")); n != 2 {
		t.Errorf("%d messages, want 2 by the last good pipeline", n)
	}

	f.declare(t, destinations+pipelineNamed("a", `to: [archive], signals: [traces]`))
	bustest.Eventually(t, "good change is applied", applied("applied", 1))
	f.publish(t, spans(t, "shop", 1))
	f.settle(t)
	if tempo, archive := len(f.out(t, "tempo")), len(f.out(t, "archive")); tempo != 2 || archive != 1 {
		t.Errorf("%d messages for tempo, %d for archive", tempo, archive)
	}
}

// A destination whose stream cannot be made comes into force when it can, and until then stops no other.
func TestDestinationWithoutStreamWaits(t *testing.T) {
	t.Parallel()
	f := start(t, destinations+pipelineNamed("a", `to: [tempo]`))
	f.publish(t, spans(t, "shop", 1))
	f.settle(t)
	stream := root.OutStream("archive")
	if err := f.Provision(t.Context(), bus.StreamSpec{Name: "TAKEN", Subjects: stream.Subjects}); err != nil {
		t.Fatal(err)
	}
	f.declare(t, destinations+pipelineNamed("a", `to: [tempo, archive]`))
	bustest.Eventually(t, "change is noticed", func() bool { return f.counter("busbar_config_reloads_total", "result", "applied") == 1 })
	f.publish(t, spans(t, "shop", 1))
	f.settle(t)
	if tempo, taken := len(f.out(t, "tempo")), len(bustest.ReadAll(t, f.Bus, "TAKEN", "")); tempo != 2 || taken != 0 {
		t.Errorf("%d messages for tempo, %d astray", tempo, taken)
	}

	f.server.DeleteStream(t, "TAKEN")
	bustest.Eventually(t, "archive gets its share", func() bool {
		f.publish(t, spans(t, "shop", 1))
		f.settle(t)
		_, err := f.Position(t.Context(), stream.Name, "none")
		return !strings.Contains(err.Error(), "stream not found") && len(f.out(t, "archive")) > 0
	})
}

// A stream that is lost and cannot be made anew holds the others up for a while only. What its destination misses is counted.
func TestStreamThatTakesNothing(t *testing.T) {
	t.Parallel()
	f := start(t, destinations+pipelineNamed("a", `to: [tempo, archive]`), func(c *router.Config) { c.Heartbeat = 50 * time.Millisecond })
	f.publish(t, spans(t, "shop", 1))
	f.settle(t)
	stream := root.OutStream("archive").Name
	if err := f.Seal(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		f.publish(t, spans(t, "shop", 3))
	}
	f.settle(t)
	if tempo, archive := len(f.out(t, "tempo")), len(f.out(t, "archive")); tempo != 11 || archive != 1 {
		t.Errorf("%d messages for tempo, %d for archive", tempo, archive)
	}
	if n := f.counter("busbar_router_unstored_records_total", "destination", "archive"); n != 30 || f.counter("busbar_dropped_records_total", "reason", "unstored") != 30 {
		t.Errorf("%v records are counted, want 30", n)
	}
	f.server.DeleteStream(t, stream)
	bustest.Eventually(t, "archive gets its share again", func() bool {
		f.publish(t, spans(t, "shop", 1))
		f.settle(t)
		_, err := f.Stream(t.Context(), stream)
		return err == nil && len(f.out(t, "archive")) > 0
	})
}

func TestStreamThatVanishesIsMadeAnew(t *testing.T) {
	t.Parallel()
	f := start(t, destinations+pipelineNamed("a", `to: [tempo]`))
	f.publish(t, spans(t, "shop", 1))
	f.settle(t)
	f.server.DeleteStream(t, root.OutStream("tempo").Name)
	f.publish(t, spans(t, "shop", 2))
	f.settle(t)
	if out := f.out(t, "tempo"); len(out) != 1 || out[0].Items() != 2 {
		t.Errorf("%d messages", len(out))
	}
}

// What the stream drops while no router reads is counted.
func TestExpiredIsCounted(t *testing.T) {
	t.Parallel()
	f := start(t, destinations+pipelineNamed("a", `to: [tempo]`))
	f.publish(t, spans(t, "shop", 1))
	f.settle(t)
	f.stop()
	stream := root.OTLPStream()
	for range 20 {
		f.publish(t, spans(t, "shop", 1))
	}
	stream.MaxBytes, stream.Given = 1000, true
	if err := f.Provision(t.Context(), bus.StreamSpec(stream)); err != nil {
		t.Fatal(err)
	}
	left := len(bustest.ReadAll(t, f.Bus, stream.Name, ""))
	if left == 0 || left >= 20 {
		t.Fatalf("%d messages are left", left)
	}
	f.run(t)
	bustest.Eventually(t, "the others are counted", func() bool {
		return f.counter("busbar_dropped_records_total", "reason", "expired") == float64(20-left)
	})
}

// The server restarts while messages flow: each is stored once at the end.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	f := start(t, destinations+
		pipelineNamed("pass", `to: [archive]`)+
		pipelineNamed("change", `to: [tempo], steps: [{transform: 'set(span.attributes["a"], "b")'}]`))
	const n = 60
	for i := range n {
		f.publish(t, spans(t, fmt.Sprintf("shop-%d", i), 2))
		switch i {
		case 0:
			f.settle(t)
		case n / 2:
			f.server.Restart()
		}
	}
	f.settle(t)
	for _, destination := range []string{"archive", "tempo"} {
		seen := map[string]int{}
		for _, d := range f.out(t, destination) {
			service, _ := decode(t, d).ResourceSpans().At(0).Resource().Attributes().Get("service.name")
			seen[service.Str()]++
		}
		if len(seen) != n || slices.Max(slices.Collect(maps.Values(seen))) != 1 {
			t.Errorf("%s: %d of %d services, %v", destination, len(seen), n, seen)
		}
	}
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	b := server.Connect(t, "test")
	beats := make(chan *bus.Delivery, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cfg := router.Default()
	cfg.Bus, cfg.Log, cfg.Instance, cfg.Node = server.Config("busbar-router"), slog.New(slog.DiscardHandler), "one", "here"
	cfg.Implicit = []router.Route{{Destination: "otlp"}}
	var group sync.WaitGroup
	group.Go(func() {
		err := b.Subscribe(ctx, root.Beat(router.Service, cfg.Instance), func(d *bus.Delivery) {
			select {
			case beats <- d:
			default:
			}
		})
		if err != nil {
			t.Error(err)
		}
	})
	group.Go(func() {
		if err := router.Run(ctx, cfg); err != nil {
			t.Error(err)
		}
	})
	var h fleetv1.Heartbeat
	if err := h.UnmarshalVT((<-beats).Raw()); err != nil {
		t.Fatal(err)
	}
	if h.GetService() != "router" || h.GetNode() != "here" || h.GetTimeUnixNano() < h.GetStartedUnixNano() || len(h.GetDegraded()) > 0 {
		t.Errorf("%v", &h)
	}
	cancel()
	group.Wait()
}

func TestBadResourcesAtTheStart(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	file := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(file, []byte(destinations+pipelineNamed("a", `to: [tempoo]`)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := router.Default()
	cfg.Bus, cfg.Paths, cfg.Log = server.Config("busbar-router"), []string{file}, slog.New(slog.DiscardHandler)
	err := router.Run(t.Context(), cfg)
	want := file + `:20:13: spec.to[0]: unknown destination "tempoo" (did you mean "tempo"? known: archive, page, tempo)`
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestNoBus(t *testing.T) {
	t.Parallel()
	cfg := router.Default()
	cfg.Bus.URL, cfg.Log = "nats://127.0.0.1:1", slog.New(slog.DiscardHandler)
	if err := router.Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), cfg.Bus.URL) {
		t.Error(err)
	}
}

// The way of a message that passes: consumed, published to one destination, acknowledged.
func BenchmarkPassThrough(b *testing.B) {
	f := start(b, destinations+pipelineNamed("a", `to: [tempo]`))
	msg := spans(b, "shop", 1000)
	f.publish(b, msg)
	f.settle(b)
	b.SetBytes(int64(len(msg.Data)))
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= 100 {
		f.publish(b, slices.Repeat([]bus.Msg{msg}, min(left, 100))...)
	}
	bustest.Eventually(b, "everything is routed", func() bool {
		return f.counter("busbar_router_out_records_total") == float64(1000*(b.N+1))
	})
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/span")
}
