// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net"
	"sync"
	"testing"

	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
)

// backend is an OTLP back end: the Collector's own receiver, with what it accepted kept in memory.
type backend struct {
	http, grpc string // addresses
	running    []interface{ Shutdown(context.Context) error }

	mu      sync.Mutex
	keys    map[string]bool // idempotency keys seen
	repeats int             // requests that came with a key seen before
	spans   []span
	points  map[series]point
}

// span is what the tests compare of a span.
type span struct {
	service, name, kind, method, route, path string
	status                                   int64
	isError                                  bool
	trace, id, parent                        string
	nanos                                    int64 // how long it was
	attributes                               map[string]any
	resource                                 map[string]any
}

// series names one histogram series of exchange durations.
type series struct {
	metric, service, method, route string
	status                         int64
}

// point is the sum of a series' delta points.
type point struct {
	count uint64
	sum   int64 // in billionths of the unit, so that adding up is exact
}

// newBackend starts a back end on free ports. It ends with the test.
func newBackend(t *testing.T) *backend {
	t.Helper()
	b := &backend{http: freeAddress(t), grpc: freeAddress(t), keys: map[string]bool{}, points: map[series]point{}}
	b.start(t)
	t.Cleanup(func() { b.stop(t) })
	return b
}

func (b *backend) start(t *testing.T) {
	t.Helper()
	factory := otlpreceiver.NewFactory()
	cfg := factory.CreateDefaultConfig()
	settings := confmap.NewFromStringMap(map[string]any{"protocols": map[string]any{
		"http": map[string]any{"endpoint": b.http, "include_metadata": true},
		"grpc": map[string]any{"endpoint": b.grpc, "include_metadata": true, "transport": "tcp"},
	}})
	if err := settings.Unmarshal(cfg); err != nil {
		t.Fatal(err)
	}
	traces, err := consumer.NewTraces(b.takeTraces)
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := consumer.NewMetrics(b.takeMetrics)
	if err != nil {
		t.Fatal(err)
	}
	set := receivertest.NewNopSettings(factory.Type())
	tr, err := factory.CreateTraces(context.Background(), set, cfg, traces)
	if err != nil {
		t.Fatal(err)
	}
	mr, err := factory.CreateMetrics(context.Background(), set, cfg, metrics)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []receiver.Traces{tr, mr} {
		if err := r.Start(context.Background(), componenttest.NewNopHost()); err != nil {
			t.Fatal(err)
		}
		b.running = append(b.running, r)
	}
}

// stop takes the back end away; start brings it back on the same ports.
func (b *backend) stop(t *testing.T) {
	t.Helper()
	for _, r := range b.running {
		if err := r.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}
	b.running = nil
}

// first says whether a request is new, by the idempotency key that the exporter sends with each message. A message
// that was sent, but not acknowledged to the bus before its exporter died, comes again with the same key.
func (b *backend) first(ctx context.Context) bool {
	keys := client.FromContext(ctx).Metadata.Get("idempotency-key")
	if len(keys) != 1 || keys[0] == "" {
		panic(fmt.Sprintf("a request has the idempotency keys %q", keys))
	}
	if b.keys[keys[0]] {
		b.repeats++
		return false
	}
	b.keys[keys[0]] = true
	return true
}

func (b *backend) takeTraces(ctx context.Context, td ptrace.Traces) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.first(ctx) {
		return nil
	}
	for _, rs := range td.ResourceSpans().All() {
		res := rs.Resource().Attributes().AsRaw()
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				a := s.Attributes()
				b.spans = append(b.spans, span{
					service: text(rs.Resource().Attributes(), "service.name"), name: s.Name(), kind: s.Kind().String(),
					method: text(a, "http.request.method"), route: text(a, "http.route"), path: text(a, "url.path"),
					status: number(a, "http.response.status_code"), isError: s.Status().Code() == ptrace.StatusCodeError,
					nanos: int64(s.EndTimestamp() - s.StartTimestamp()), trace: s.TraceID().String(), id: s.SpanID().String(), parent: s.ParentSpanID().String(),
					attributes: a.AsRaw(), resource: res,
				})
			}
		}
	}
	return nil
}

func (b *backend) takeMetrics(ctx context.Context, md pmetric.Metrics) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.first(ctx) {
		return nil
	}
	for _, rm := range md.ResourceMetrics().All() {
		service := text(rm.Resource().Attributes(), "service.name")
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				if m.Type() != pmetric.MetricTypeHistogram {
					continue
				}
				for _, p := range m.Histogram().DataPoints().All() {
					a := p.Attributes()
					k := series{m.Name(), service, text(a, "http.request.method"), text(a, "http.route"), number(a, "http.response.status_code")}
					sum := b.points[k]
					b.points[k] = point{sum.count + p.Count(), sum.sum + int64(math.Round(p.Sum()*1e9))}
				}
			}
		}
	}
	return nil
}

// received returns copies of what has come so far. A span that has others below it for its time in the queue and of processing,
// because the machine was busy, counts as one, with the id that was handed on.
func (b *backend) received() (spans []span, points map[series]point, repeats int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	handedOn := map[string]string{}
	for _, s := range b.spans {
		if s.kind == "Internal" && s.name == "processing" {
			handedOn[s.parent] = s.id
		}
	}
	for _, s := range b.spans {
		if s.kind == "Internal" {
			continue
		}
		if id, ok := handedOn[s.id]; ok {
			s.id = id
		}
		spans = append(spans, s)
	}
	points = make(map[series]point, len(b.points))
	maps.Copy(points, b.points)
	return spans, points, b.repeats
}

func text(m pcommon.Map, key string) string {
	v, ok := m.Get(key)
	if !ok {
		return ""
	}
	return v.AsString()
}

func number(m pcommon.Map, key string) int64 {
	v, ok := m.Get(key)
	if !ok {
		return 0
	}
	return v.Int()
}

// freeAddress returns a loopback address whose port was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
