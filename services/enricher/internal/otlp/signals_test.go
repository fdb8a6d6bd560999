// SPDX-License-Identifier: Apache-2.0

package otlp_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/enricher/internal/otlp"
)

// Both sides of requests, of which some fail, in all metrics there are: as they are, for Beyla's dashboards, exponential.
func TestFamilies(t *testing.T) {
	t.Parallel()
	b := batch(
		get(server, "/users/17", 200),
		with(get(server, "/users/18", 503), func(x *eventv1.Exchange) { x.EndNano, x.ResponseBytes = 8*millisecond, 300 }),
		with(get(server, "/users/19", 200), func(x *eventv1.Exchange) {
			x.Outcome, x.Abort = eventv1.Outcome_OUTCOME_RESET, eventv1.Abort_ABORT_PEER
		}),
		with(get(client, "/pay", 200), func(x *eventv1.Exchange) { x.PeerPort = 9090 }),
		with(get(client, "/pay", 404), func(x *eventv1.Exchange) { x.PeerPort, x.EndNano = 9090, 21*millisecond }),
	)
	compat, exponential := everything(), everything()
	compat.Compat = "beyla-v2"
	exponential.Histograms = &configv1.Histograms{Kind: configv1.Histograms_KIND_EXPONENTIAL}
	for name, spec := range map[string]*configv1.Telemetry{"everything": everything(), "beyla": compat, "exponential": exponential} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEncoder()
			e.Signals = made(t, spec)
			var metrics []otlp.Message
			for _, m := range e.Encode(b).Messages {
				if m.Signal == subject.Metrics {
					metrics = append(metrics, m)
				}
			}
			golden(t, name, document(t, metrics))
		})
	}
}

// A message is shared by all families, or each has one of its own; a second try with other settings gives other names.
func TestFamiliesPart(t *testing.T) {
	t.Parallel()
	e := newEncoder()
	e.Signals = made(t, everything())
	for n, want := range map[int]int{10: 1, 200: 4} {
		points, parts := map[string]int{}, map[string]bool{}
		for _, m := range e.Encode(traffic(n)).Messages {
			if m.Signal != subject.Metrics {
				continue
			}
			if parts[m.Part] {
				t.Errorf("part %s is twice", m.Part)
			}
			parts[m.Part] = true
			for _, rm := range decodeMetrics(t, m).ResourceMetrics().All() {
				for _, metric := range rm.ScopeMetrics().At(0).Metrics().All() {
					points[metric.Name()]++
				}
			}
		}
		if len(parts) != want || points["traces_service_graph_request_total"] == 0 || points["traces_target_info"] == 0 {
			t.Errorf("%d exchanges: parts %v, points %v", n, parts, points)
		}
	}
}

// Sums of durations and sizes are those of the spans, to the nanosecond and the byte, whatever the view.
func TestMetricsEqualSpans(t *testing.T) {
	t.Parallel()
	b := traffic(500)
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test
	for _, x := range b.Exchanges {
		x.EndNano, x.ResponseBytes, x.WaitNano = r.Uint64N(5e9), 100+r.Uint64N(1e6), r.Uint64N(3*millisecond)
	}
	e := newEncoder()
	e.Signals = made(t, everything())
	type total struct{ count, nanos, bytes uint64 }
	var want total
	got := map[string]*total{}
	for _, m := range e.Encode(b).Messages {
		if m.Signal == subject.Traces {
			eachSpan(decodeTraces(t, m), func(s ptrace.Span) {
				if s.Kind() == ptrace.SpanKindServer {
					size, _ := s.Attributes().Get("http.response.body.size")
					want.count++
					want.nanos += uint64(s.EndTimestamp() - s.StartTimestamp())
					want.bytes += uint64(size.Int()) //nolint:gosec // a size
				}
			})
			continue
		}
		eachMetric(decodeMetrics(t, m), func(metric pmetric.Metric) {
			sum := got[metric.Name()]
			if sum == nil {
				sum = &total{}
				got[metric.Name()] = sum
			}
			switch metric.Type() {
			case pmetric.MetricTypeHistogram:
				for _, p := range metric.Histogram().DataPoints().All() {
					sum.count += p.Count()
					sum.nanos += uint64(math.Round(p.Sum() * 1e9))
					sum.bytes += uint64(p.Sum())
				}
			case pmetric.MetricTypeSum:
				for _, p := range metric.Sum().DataPoints().All() {
					sum.count += uint64(p.IntValue()) //nolint:gosec // a counter
					sum.bytes += uint64(p.IntValue()) //nolint:gosec // a counter
				}
			default:
			}
		})
	}
	for _, name := range []string{"http.server.request.duration", "traces.span.metrics.duration", "traces_spanmetrics_latency", "traces_service_graph_request_server"} {
		if sum := got[name]; sum == nil || sum.count != want.count || sum.nanos != want.nanos {
			t.Errorf("%s is %+v, want %+v", name, sum, want)
		}
	}
	for _, name := range []string{"traces.span.metrics.calls", "traces_spanmetrics_calls_total", "traces_service_graph_request_total"} {
		if sum := got[name]; sum == nil || sum.count != want.count {
			t.Errorf("%s is %+v, want %+v", name, sum, want)
		}
	}
	for _, name := range []string{"http.server.response.body.size", "traces_spanmetrics_response_size_total"} {
		if sum := got[name]; sum == nil || sum.bytes != want.bytes {
			t.Errorf("%s is %+v, want %+v", name, sum, want)
		}
	}
}

func eachMetric(md pmetric.Metrics, fn func(pmetric.Metric)) {
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				fn(m)
			}
		}
	}
}

// An exemplar points at a span that was made, and at the one that a sampler of any ratio would drop last.
func TestExemplars(t *testing.T) {
	t.Parallel()
	b := batch()
	for i := range 50 {
		x := get(server, "/", 200)
		x.TraceId = binary.BigEndian.AppendUint64([]byte("01234567"), uint64(i*37%50)<<40|0xff<<56) // the first byte is no part of it
		x.SpanId, x.WaitNano = fmt.Appendf(nil, "%08d", i), uint64(i%2*2*millisecond)
		b.Exchanges = append(b.Exchanges, x)
	}
	left := with(get(server, "/", 200), func(x *eventv1.Exchange) { x.Process = 1; x.TraceId = slices.Repeat([]byte{0xff}, 16) })
	b.Processes[1].Yield = eventv1.Yield_YIELD_SPANS
	b.Exchanges = append(b.Exchanges, left)
	spans, found := map[pcommon.SpanID]pcommon.TraceID{}, 0
	for _, m := range newEncoder().Encode(b).Messages {
		if m.Signal == subject.Traces {
			eachSpan(decodeTraces(t, m), func(s ptrace.Span) { spans[s.SpanID()] = s.TraceID() })
			continue
		}
		eachPoint(decodeMetrics(t, m), func(series string, p pmetric.HistogramDataPoint) {
			for _, x := range p.Exemplars().All() {
				id := x.TraceID()
				if random := binary.BigEndian.Uint64(id[8:]) << 8 >> 48; spans[x.SpanID()] != id || random != 49 || !strings.Contains(series, "duration") {
					t.Errorf("exemplar of %s in trace %s, random %d", x.SpanID(), id, random)
				}
				found++
			}
		})
	}
	if found != 1 {
		t.Errorf("%d exemplars", found)
	}
}

// However many methods, statuses, paths and clients there are, a service has no more series than its budget, those that it had before
// keep their names, and nothing is lost.
func TestSeriesBudget(t *testing.T) {
	t.Parallel()
	e := newEncoder()
	spec := everything()
	spec.MaxSeries, spec.Include = 60, []string{"url.path", "client.address"}
	e.Signals = made(t, spec)
	counted, series, overflow := uint64(0), map[string]bool{}, 0
	encode := func(b *eventv1.ExchangeBatch) {
		result := e.Encode(b)
		overflow += result.Overflow
		for _, m := range result.Messages {
			if m.Signal != subject.Metrics {
				continue
			}
			eachMetric(decodeMetrics(t, m), func(metric pmetric.Metric) {
				if metric.Name() == "http.server.request.duration" {
					for _, p := range metric.Histogram().DataPoints().All() {
						counted += p.Count()
						series[fmt.Sprint(p.Attributes().AsRaw())] = true
					}
				}
			})
		}
	}
	usual := func() *eventv1.ExchangeBatch {
		b := batch()
		for i := range 20 {
			b.Exchanges = append(b.Exchanges, get(server, "/usual/"+string(rune('a'+i%4)), 200))
		}
		return b
	}
	encode(usual())
	before := len(series)
	for round := range 100 {
		b := usual()
		for i := range 100 {
			x := get(server, fmt.Sprint("/attack/", round, "/", i), uint32(200+i))
			x.GetHttp().Method = fmt.Sprint("M", i)
			b.Exchanges = append(b.Exchanges, x)
		}
		encode(b)
	}
	afterwards := len(series)
	encode(usual())
	if before != 4 || afterwards > 60+1 || len(series) != afterwards || !series["map[otel.metric.overflow:true]"] {
		t.Errorf("%d series before, %d after, and then %d: %v", before, afterwards, len(series), series)
	}
	if counted != 102*20+100*100 || overflow < 9000 || overflow > 100*100 {
		t.Errorf("%d counted, %d of them under overflow", counted, overflow)
	}
}

// Attributes can be had and left out; what differed in those that are left out is one series.
func TestAttributes(t *testing.T) {
	t.Parallel()
	e := newEncoder()
	e.Signals = made(t, &configv1.Telemetry{Include: []string{"url.path"}, Exclude: []string{"http.response.status_code", "server.port", "http.route"}})
	got := map[string]uint64{}
	for _, m := range e.Encode(batch(get(server, "/a", 200), get(server, "/a", 404), get(server, "/b", 200))).Messages {
		if m.Signal == subject.Metrics {
			eachPoint(decodeMetrics(t, m), func(series string, p pmetric.HistogramDataPoint) {
				if strings.HasPrefix(series, "http.server.request.duration") {
					got[fmt.Sprint(p.Attributes().AsRaw())] += p.Count()
				}
			})
		}
	}
	want := map[string]uint64{
		"map[http.request.method:GET server.address:10.0.0.1 url.path:/a url.scheme:http]": 2,
		"map[http.request.method:GET server.address:10.0.0.1 url.path:/b url.scheme:http]": 1,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("series (-want +got):\n%s", d)
	}
}

// Texts of spans are cut where the settings say so, between characters, and counted.
func TestLengthOfTexts(t *testing.T) {
	t.Parallel()
	e := newEncoder()
	e.Signals = made(t, &configv1.Telemetry{MaxLength: 16})
	result := e.Encode(batch(get(server, "/"+strings.Repeat("ä", 20), 200), get(server, "/short", 200)))
	var paths []string
	eachSpan(decodeTraces(t, result.Messages[0]), func(s ptrace.Span) {
		path, _ := s.Attributes().Get("url.path")
		paths = append(paths, path.Str())
	})
	if d := cmp.Diff([]string{"/" + strings.Repeat("ä", 7), "/short"}, paths); d != "" || result.Cut != 2 {
		t.Errorf("%d cut, paths (-want +got):\n%s", result.Cut, d)
	}
}
