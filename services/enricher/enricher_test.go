// SPDX-License-Identifier: Apache-2.0

package enricher_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.uber.org/goleak"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/services/enricher"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const root = subject.DefaultRoot

// installation is a bus with its streams, and enrichers on it.
type installation struct {
	*bustest.Server
	bus *bus.Bus
}

func install(t *testing.T) *installation {
	t.Helper()
	in := &installation{Server: bustest.Start(t)}
	in.bus = in.Connect(t, "test")
	for _, s := range []subject.Stream{root.RawStream(), root.OTLPStream(), root.DeadStream()} {
		if err := in.bus.Provision(t.Context(), bus.StreamSpec(s)); err != nil {
			t.Fatal(err)
		}
	}
	return in
}

// enrich runs an enricher until the function returned is called.
func (in *installation) enrich(t *testing.T, change func(*enricher.Config)) (adm *admin.Admin, stop func()) {
	t.Helper()
	cfg := enricher.Default()
	cfg.Bus.InProcess, cfg.Admin, cfg.Log = in.Server, admin.New(), slog.New(slog.DiscardHandler)
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- enricher.Run(ctx, cfg) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("enricher ended with %v", err)
		}
	}
	t.Cleanup(stop)
	return cfg.Admin, stop
}

func (in *installation) publish(t *testing.T, id string, data []byte) {
	t.Helper()
	if err := in.bus.Publish(t.Context(), bus.Msg{Subject: root.RawExchange("node-1"), ID: id, Data: data}); err != nil {
		t.Fatal(err)
	}
}

// batch returns batch number i: two exchanges of one service and one of another.
func batch(t *testing.T, i int) []byte {
	t.Helper()
	b := &eventv1.ExchangeBatch{
		Origin: &eventv1.Origin{Node: "node-1", Run: "r", Sequence: uint64(i), Dropped: map[string]uint64{"ring": 3}},
		Processes: []*eventv1.Process{
			{Pid: 100, OtelServiceName: "shop", OtelResourceAttributes: "service.namespace=eu.1"},
			{Pid: 200, Executable: "/usr/bin/node"},
		},
		Addresses: [][]byte{{10, 0, 0, 1}, {10, 0, 0, 2}},
	}
	for n := range 3 {
		b.Exchanges = append(b.Exchanges, &eventv1.Exchange{
			Process: uint32(n / 2), Role: eventv1.Role_ROLE_SERVER, StartUnixNano: 1_700_000_000_000_000_000, EndNano: 1000,
			PeerAddress: 1, TraceId: fmt.Appendf(nil, "%08d%08d", i, n), SpanId: fmt.Appendf(nil, "%05d%03d", i, n),
			Protocol: &eventv1.Exchange_Http{Http: &eventv1.Http{Method: "GET", Path: "/users/17", Status: 200}},
		})
	}
	data, err := b.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// stored is what the OTLP stream holds: how often each span, and how many exchanges the durations count, per subject.
func (in *installation) stored(t *testing.T) (spans map[string]int, counted map[string]uint64) {
	t.Helper()
	spans, counted = map[string]int{}, map[string]uint64{}
	for _, d := range bustest.ReadAll(t, in.bus, root.OTLPStream().Name, "") {
		data, err := d.Data()
		if err != nil {
			t.Fatal(err)
		}
		switch d.Header(subject.HeaderSchema) {
		case subject.SchemaTraces:
			request := ptraceotlp.NewExportRequest()
			if err := request.UnmarshalProto(data); err != nil {
				t.Fatal(err)
			}
			for _, rs := range request.Traces().ResourceSpans().All() {
				for _, s := range rs.ScopeSpans().At(0).Spans().All() {
					spans[fmt.Sprint(d.Subject, " ", s.Name(), " ", s.SpanID())]++
				}
			}
		case subject.SchemaMetrics:
			request := pmetricotlp.NewExportRequest()
			if err := request.UnmarshalProto(data); err != nil {
				t.Fatal(err)
			}
			for _, rm := range request.Metrics().ResourceMetrics().All() {
				for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
					for _, p := range m.Histogram().DataPoints().All() {
						if m.Name() == "http.server.request.duration" {
							counted[d.Subject] += p.Count()
						}
					}
				}
			}
		}
	}
	return spans, counted
}

func total[K comparable, V int | uint64](m map[K]V) (sum V) {
	for _, v := range m {
		sum += v
	}
	return sum
}

func TestEnrich(t *testing.T) {
	t.Parallel()
	in := install(t)
	const batches = 50
	for i := range batches {
		in.publish(t, fmt.Sprint(i), batch(t, i+1))
	}
	adm, stop := in.enrich(t, nil)
	bustest.Eventually(t, "all batches are enriched", func() bool {
		_, counted := in.stored(t)
		return total(counted) == 3*batches
	})
	stop()
	spans, counted := in.stored(t)
	if len(spans) != 3*batches || total(spans) != 3*batches {
		t.Errorf("%d spans, %d of them different", total(spans), len(spans))
	}
	want := map[string]uint64{
		"busbar.otlp.metrics.default.eu_1.shop": 2 * batches,
		"busbar.otlp.metrics.default._.node":    batches,
	}
	if d := cmp.Diff(want, counted); d != "" {
		t.Errorf("counted (-want +got):\n%s", d)
	}
	if spans["busbar.otlp.traces.default.eu_1.shop GET /users/* 3030303031303030"] != 1 {
		t.Errorf("spans: %v", spans)
	}
	for name, want := range map[string]float64{
		"busbar_enricher_exchanges_total": 3 * batches, "busbar_enricher_spans_total": 3 * batches,
		"busbar_probe_dropped_records": 3, "busbar_gap_batches_total": 0,
	} {
		if got := value(t, adm.Gatherer(), name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// value returns the sum of a metric over its labels.
func value(t *testing.T, from prometheus.Gatherer, name string) (sum float64) {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// An enricher that is killed between publishing and acknowledging leaves its batches to the next one, whose output has the
// same ids.
func TestRedeliveryIsStoredOnce(t *testing.T) {
	t.Parallel()
	in := install(t)
	const batches = 40
	for i := range batches {
		in.publish(t, fmt.Sprint(i), batch(t, i+1))
	}
	stages, end := context.WithCancel(t.Context())
	spec := bus.ConsumerSpec{
		Stream: root.RawStream().Name, Durable: enricher.Service, Filters: []string{"busbar.raw.exchange.>"}, Workers: 4,
	}
	// The handler of the enricher, and then an error in place of the acknowledgement: each batch is published twice at least.
	handle := enricher.Handler(in.bus)
	tries := make(chan struct{}, 10*batches)
	ended := make(chan error, 1)
	go func() {
		ended <- in.bus.Consume(stages, spec, func(ctx context.Context, d *bus.Delivery) error {
			if err := handle(ctx, d); err != nil {
				t.Error(err)
			}
			tries <- struct{}{}
			return fmt.Errorf("killed")
		})
	}()
	for range batches {
		<-tries
	}
	end()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	first, _ := in.stored(t)

	adm, stop := in.enrich(t, nil)
	bustest.Eventually(t, "all batches are enriched again", func() bool {
		return value(t, adm.Gatherer(), "busbar_enricher_exchanges_total") >= 3*batches
	})
	stop()
	spans, counted := in.stored(t)
	if total(first) != 3*batches || total(spans) != 3*batches || len(spans) != 3*batches || total(counted) != 3*batches {
		t.Errorf("%d spans, then %d (%d different), %d counted", total(first), total(spans), len(spans), total(counted))
	}
}

func TestReplicasShareTheWork(t *testing.T) {
	t.Parallel()
	in := install(t)
	const batches = 200
	_, stopA := in.enrich(t, func(c *enricher.Config) { c.Instance = "a" })
	_, stopB := in.enrich(t, func(c *enricher.Config) { c.Instance = "b" })
	for i := range batches {
		in.publish(t, fmt.Sprint(i), batch(t, i+1))
	}
	bustest.Eventually(t, "all batches are enriched", func() bool {
		_, counted := in.stored(t)
		return total(counted) >= 3*batches
	})
	stopA()
	stopB()
	if spans, counted := in.stored(t); total(spans) != 3*batches || total(counted) != 3*batches {
		t.Errorf("%d spans, %d counted", total(spans), total(counted))
	}
}

func TestGarbageBecomesDeadLetters(t *testing.T) {
	t.Parallel()
	in := install(t)
	large := (&eventv1.ExchangeBatch{Addresses: [][]byte{make([]byte, bus.MaxData+1)}})
	tooLarge, err := large.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	subjectOf := root.RawExchange("node-1")
	for _, m := range []bus.Msg{
		{ID: "1", Data: []byte("not protobuf")},
		{ID: "2", Data: []byte("not s2"), Encoding: "s2"},
		{ID: "3", Data: batch(t, 1), Header: map[string]string{subject.HeaderSchema: subject.SchemaProcesses}},
		{ID: "4", Data: tooLarge, Encoding: "identity"},
		{ID: "5", Data: nil},
		{ID: "6", Data: batch(t, 2)},
	} {
		m.Subject = subjectOf
		if err := in.bus.Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	_, stop := in.enrich(t, nil)
	bustest.Eventually(t, "the good batch is enriched and four are dead", func() bool {
		_, counted := in.stored(t)
		return total(counted) == 3 && len(bustest.ReadAll(t, in.bus, root.DeadStream().Name, "")) == 4
	})
	stop()
	got := map[string]int{}
	for _, d := range bustest.ReadAll(t, in.bus, root.DeadStream().Name, "") {
		got[d.Subject]++
	}
	want := map[string]int{
		"busbar.dead.enricher.undecodable": 2, "busbar.dead.enricher.schema": 1, "busbar.dead.enricher.too_large": 1,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("dead letters (-want +got):\n%s", d)
	}
}

func TestMissingBatchesAreCounted(t *testing.T) {
	t.Parallel()
	in := install(t)
	const batches = 300
	for i := 1; i <= batches; i++ {
		if i != 20 && i != 30 {
			in.publish(t, fmt.Sprint(i), batch(t, i))
		}
	}
	adm, stop := in.enrich(t, func(c *enricher.Config) { c.Workers = 1 })
	bustest.Eventually(t, "all batches are enriched", func() bool {
		return value(t, adm.Gatherer(), "busbar_enricher_exchanges_total") == 3*(batches-2)
	})
	stop()
	if got := value(t, adm.Gatherer(), "busbar_gap_batches_total"); got != 2 {
		t.Errorf("%v batches missing, want 2", got)
	}
}

func TestRouteRulesAreFollowedWhileTheyChange(t *testing.T) {
	t.Parallel()
	in := install(t)
	file := filepath.Join(t.TempDir(), "routes.yaml")
	declare := func(spec string) {
		t.Helper()
		text := "apiVersion: busbar.dev/v1\nkind: RouteRules\nmetadata: {name: shop}\nspec: " + spec + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	names := func() string {
		spans, _ := in.stored(t)
		var all strings.Builder
		for s := range spans {
			all.WriteString(s + "\n")
		}
		return all.String()
	}
	declare(`{patterns: ["/users/{id}"]}`)
	adm, _ := in.enrich(t, func(c *enricher.Config) { c.Paths = []string{file} })
	in.publish(t, "1", batch(t, 1))
	bustest.Eventually(t, "spans follow the pattern", func() bool { return strings.Contains(names(), "GET /users/{id}") })

	declare(`{patterns: ["no path"]}`)
	bustest.Eventually(t, "bad rules are refused", func() bool { return value(t, adm.Gatherer(), "busbar_config_refused") == 1 })
	declare(`{ignore: ["/users/*"]}`)
	bustest.Eventually(t, "rules are applied", func() bool { return value(t, adm.Gatherer(), "busbar_config_refused") == 0 })
	in.publish(t, "2", batch(t, 2))
	bustest.Eventually(t, "exchanges are ignored", func() bool { return value(t, adm.Gatherer(), "busbar_dropped_records_total") == 3 })
}

func TestCheck(t *testing.T) {
	t.Parallel()
	set, err := config.Parse(configv1.Kinds(), config.Source{Name: "routes.yaml", Data: []byte(`apiVersion: busbar.dev/v1
kind: RouteRules
metadata: {name: shop}
spec:
  patterns: ["/users/{id}", "users"]
  ignore: ["/x?y"]
  services: ["[a"]
`)})
	if err != nil {
		t.Fatal(err)
	}
	want := `routes.yaml:5:29: spec.patterns[1]: want a path pattern that begins with "/"
routes.yaml:6:12: spec.ignore[0]: a path has no query and no fragment: remove what begins with ? or #
routes.yaml:7:14: spec.services[0]: malformed glob: a bracket without its end, or nothing after a backslash`
	if d := cmp.Diff(want, enricher.Check(set).Error()); d != "" {
		t.Errorf("faults (-want +got):\n%s", d)
	}
}

func TestRunFailsAtOnce(t *testing.T) {
	t.Parallel()
	cfg := enricher.Default()
	cfg.Log, cfg.Bus.URL = slog.New(slog.DiscardHandler), "nats://127.0.0.1:1"
	if err := enricher.Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "nats://127.0.0.1:1") {
		t.Errorf("without a bus: %v", err)
	}
	cfg.Bus.InProcess, cfg.Paths = bustest.Start(t), []string{filepath.Join(t.TempDir(), "none.yaml")}
	if err := enricher.Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("without resources: %v", err)
	}
}

// TestEnrichProcesses: samples become metrics, and events of processes nothing.
func TestEnrichProcesses(t *testing.T) {
	t.Parallel()
	in := install(t)
	data, err := (&eventv1.ProcessBatch{
		Origin: &eventv1.Origin{Node: "node-1", Run: "r", Sequence: 1},
		Events: []*eventv1.ProcessEvent{{Kind: eventv1.ProcessEvent_KIND_FOUND}},
		Samples: []*eventv1.ProcessSample{{
			Process: &eventv1.Process{Pid: 100, OtelServiceName: "shop"}, StartUnixNano: 1, TimeUnixNano: 11, UserNano: 2_000_000_000, MemoryBytes: 4096,
		}},
	}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range [][]byte{data, []byte("no batch")} {
		if err := in.bus.Publish(t.Context(), bus.Msg{Subject: root.RawProcess("node-1"), Data: payload}); err != nil {
			t.Fatal(err)
		}
	}
	in.enrich(t, nil)
	bustest.Eventually(t, "both messages are done", func() bool {
		return len(bustest.ReadAll(t, in.bus, root.OTLPStream().Name, "")) == 1 && len(bustest.ReadAll(t, in.bus, root.DeadStream().Name, "")) == 1
	})
	d := bustest.ReadAll(t, in.bus, root.OTLPStream().Name, "")[0]
	payload, err := d.Data()
	if err != nil {
		t.Fatal(err)
	}
	request := pmetricotlp.NewExportRequest()
	if err := request.UnmarshalProto(payload); err != nil {
		t.Fatal(err)
	}
	rm := request.Metrics().ResourceMetrics().At(0)
	metric := rm.ScopeMetrics().At(0).Metrics().At(0)
	name, _ := rm.Resource().Attributes().Get("service.name")
	if d.Subject != "busbar.otlp.metrics.default._.shop" || name.Str() != "shop" || metric.Name() != "process.cpu.time" || metric.Sum().DataPoints().At(0).DoubleValue() != 2 {
		t.Errorf("%s has %s of %s", d.Subject, metric.Name(), name.Str())
	}
	if d.Items() != request.Metrics().DataPointCount() || d.Header(subject.HeaderSchema) != subject.SchemaMetrics {
		t.Errorf("headers %v", d.Headers())
	}
}
