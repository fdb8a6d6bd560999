// SPDX-License-Identifier: Apache-2.0

package mapping_test

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/DataDog/datadog-agent/pkg/proto/pbgo/trace"
	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/busbar/busbar/services/ingest-datadog/internal/decode"
	"github.com/busbar/busbar/services/ingest-datadog/internal/mapping"
	"github.com/busbar/busbar/services/ingest-datadog/internal/obfuscate"
)

func mapper() *mapping.Mapper {
	return &mapping.Mapper{IDs: mapping.NewIDs(100), Hide: obfuscate.New(), Now: time.Now}
}

// metrics decodes what is in an Output.
func metrics(t testing.TB, out *mapping.Output) (all []pmetric.Metric) {
	t.Helper()
	msgs, err := out.Messages()
	if err != nil {
		t.Fatal(err)
	}
	for _, msg := range msgs {
		if msg.Signal != "metrics" {
			continue
		}
		req := pmetricotlp.NewExportRequest()
		if err := req.UnmarshalProto(msg.Data); err != nil {
			t.Fatal(err)
		}
		for _, r := range req.Metrics().ResourceMetrics().All() {
			for _, s := range r.ScopeMetrics().All() {
				for _, m := range s.Metrics().All() {
					all = append(all, m)
				}
			}
		}
	}
	return all
}

// quantile is a quantile of an exponential histogram, as back ends compute it: in the middle of a bucket, but not beyond the least and
// the greatest value.
func quantile(p pmetric.ExponentialHistogramDataPoint, q float64) float64 {
	return min(max(middle(p, q), p.Min()), p.Max())
}

func middle(p pmetric.ExponentialHistogramDataPoint, q float64) float64 {
	rank := q * float64(p.Count()-1)
	width := math.Exp2(-float64(p.Scale()))
	value := func(b pmetric.ExponentialHistogramDataPointBuckets, i int) float64 {
		return math.Exp2((float64(b.Offset()) + float64(i) + 0.5) * width)
	}
	seen := 0.0
	for i := p.Negative().BucketCounts().Len() - 1; i >= 0; i-- {
		if seen += float64(p.Negative().BucketCounts().At(i)); seen > rank {
			return -value(p.Negative(), i)
		}
	}
	if seen += float64(p.ZeroCount()); seen > rank {
		return 0
	}
	for i := range p.Positive().BucketCounts().Len() {
		if seen += float64(p.Positive().BucketCounts().At(i)); seen > rank {
			return value(p.Positive(), i)
		}
	}
	return math.NaN()
}

// keyOf is the bin of a sketch of metrics that a value is in, by the definition of the format.
func keyOf(v float64) int32 {
	if v == 0 {
		return 0
	}
	k := int32(math.RoundToEven(math.Log(math.Abs(v))/math.Log(1.015625))) + 1338
	if v < 0 {
		return -k
	}
	return k
}

// Quantiles of what becomes of sketches are within one per cent of those of the values, and no value is lost, whatever their
// distribution.
func TestSketchesWithinOnePercent(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() float64{
		"even":      func() float64 { return 1 + 1000*r.Float64() },
		"lognormal": func() float64 { return math.Exp(2 * r.NormFloat64()) },
		"small":     func() float64 { return 1e-6 * (1 + r.Float64()) },
		"both":      func() float64 { return (1 + 50*r.Float64()) * float64(1-2*r.IntN(2)) },
	} {
		t.Run(name, func(t *testing.T) {
			var values []float64
			bins := map[int32]uint64{}
			p := decode.SketchPoint{Time: 1000e9, Min: math.Inf(1), Max: math.Inf(-1)}
			for range 20_000 {
				v := draw()
				values = append(values, v)
				bins[keyOf(v)]++
				p.Count, p.Sum, p.Min, p.Max = p.Count+1, p.Sum+v, min(p.Min, v), max(p.Max, v)
			}
			for k, n := range bins {
				p.Keys, p.Counts = append(p.Keys, k), append(p.Counts, n)
			}
			out := mapping.NewOutput(0)
			err := mapper().Sketches(out, []decode.SketchSeries{{Metric: "m", Points: []decode.SketchPoint{p}}}, mapping.From{})
			if err != nil {
				t.Fatal(err)
			}
			got := metrics(t, out)[0].ExponentialHistogram().DataPoints().At(0)
			if got.Count() != 20_000 || got.Sum() != p.Sum || got.Min() != p.Min || got.Max() != p.Max {
				t.Errorf("count %d, sum %v, min %v, max %v", got.Count(), got.Sum(), got.Min(), got.Max())
			}
			if got.StartTimestamp() != 990e9 || got.Timestamp() != 1000e9 {
				t.Errorf("from %d to %d", got.StartTimestamp(), got.Timestamp())
			}
			slices.Sort(values)
			for _, q := range []float64{0.01, 0.1, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999} {
				want := values[int(q*float64(len(values)-1))]
				if off := math.Abs(quantile(got, q)-want) / math.Abs(want); off > 0.01 {
					t.Errorf("quantile %v is %v, want %v: %.2f %% off", q, quantile(got, q), want, 100*off)
				}
			}
		})
	}
}

// at makes points of times and values.
func at(pairs ...float64) (out []decode.Point) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, decode.Point{Time: uint64(pairs[i]), Value: pairs[i+1]})
	}
	return out
}

func TestSeries(t *testing.T) {
	t.Parallel()
	out := mapping.NewOutput(0)
	err := mapper().Series(out, []decode.Series{
		{Metric: "c", Kind: decode.Count, Interval: 10, Tags: []string{"queue:mail", "queue:bulk", "bare"}, Points: at(1000e9, 3, 1000e9, 4, 1010e9, -2)},
		{Metric: "r", Kind: decode.Rate, Interval: 20, Unit: "request", Points: at(1000e9, 1.5)},
		{Metric: "r0", Kind: decode.Rate, Unit: "byte", Points: at(1000e9, 1.5)},
		{Metric: "u", Unit: "millisecond", Points: at(1000e9, 1, 1000e9, 2, 0, 9, 1000e9, math.NaN())},
		{Kind: decode.Count, Points: at(1000e9, 1)},
	}, mapping.From{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range metrics(t, out) {
		points := m.Gauge
		text := m.Name() + " " + m.Unit() + " " + m.Type().String()
		var all pmetric.NumberDataPointSlice
		if m.Type() == pmetric.MetricTypeSum {
			all = m.Sum().DataPoints()
			if m.Sum().IsMonotonic() || m.Sum().AggregationTemporality() != pmetric.AggregationTemporalityDelta {
				t.Errorf("%s is no delta, or monotonic", m.Name())
			}
		} else {
			all = points().DataPoints()
		}
		for _, p := range all.All() {
			text += fmt.Sprintf(" %v[%d,%d]%v", p.DoubleValue(), p.StartTimestamp()/1e9, p.Timestamp()/1e9, p.Attributes().AsRaw())
		}
		got = append(got, text)
	}
	slices.Sort(got)
	want := []string{
		"c  Sum 7[990,1000]map[bare:true queue:bulk,mail] -2[1000,1010]map[bare:true queue:bulk,mail]",
		"r {request} Sum 30[980,1000]map[]",
		"r0 By/s Gauge 1.5[0,1000]map[]",
		"u ms Gauge 2[0,1000]map[]",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]int{mapping.NoTime: 1, mapping.NotFinite: 1, mapping.NoName: 1}, out.Dropped); d != "" {
		t.Error(d)
	}
}

// spansOf maps traces of a tracer that hides nothing itself.
func spansOf(t *testing.T, m *mapping.Mapper, chunks ...trace.Trace) ([]ptrace.ResourceSpans, *mapping.Output) {
	t.Helper()
	body, err := trace.Traces(chunks).MarshalMsg(nil)
	if err != nil {
		t.Fatal(err)
	}
	traces, err := decode.V04(body)
	if err != nil {
		t.Fatal(err)
	}
	out := mapping.NewOutput(0)
	if _, err := m.Traces(out, "t", traces, mapping.From{Raw: true}); err != nil {
		t.Fatal(err)
	}
	msgs, err := out.Messages()
	if err != nil {
		t.Fatal(err)
	}
	var all []ptrace.ResourceSpans
	for _, msg := range msgs {
		req := ptraceotlp.NewExportRequest()
		if err := req.UnmarshalProto(msg.Data); err != nil {
			t.Fatal(err)
		}
		for _, r := range req.Traces().ResourceSpans().All() {
			all = append(all, r)
		}
	}
	return all, out
}

func one(t *testing.T, s *trace.Span) ptrace.Span {
	t.Helper()
	s.TraceID, s.SpanID, s.Start = 1, 2, 3
	all, _ := spansOf(t, mapper(), trace.Trace{s})
	return all[0].ScopeSpans().At(0).Spans().At(0)
}

func TestLinksOfBothForms(t *testing.T) {
	t.Parallel()
	s := one(t, &trace.Span{Service: "a", Meta: map[string]string{"_dd.span_links": `[
		{"trace_id":"6b01531e0000000041f2a786fdaa96bb","span_id":"2fd65fdb65e17915","attributes":{"a":"b"}},
		{"trace_id":5,"trace_id_high":7,"span_id":18446744073709551615,"flags":2147483649}]`}})
	var got []string
	for _, l := range s.Links().All() {
		got = append(got, l.TraceID().String()+" "+l.SpanID().String()+fmt.Sprint(l.Attributes().AsRaw(), l.Flags()))
	}
	want := []string{
		"6b01531e0000000041f2a786fdaa96bb 2fd65fdb65e17915map[a:b] 0",
		"00000000000000070000000000000005 ffffffffffffffffmap[] 1",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, ok := s.Attributes().Get("_dd.span_links"); ok {
		t.Error("the text of the links is kept")
	}
	bad := one(t, &trace.Span{Service: "a", Meta: map[string]string{"_dd.span_links": `[{"trace_id":"zz"}]`}})
	if _, ok := bad.Attributes().Get("_dd.span_links"); !ok || bad.Links().Len() != 0 {
		t.Error("links that cannot be read are lost")
	}
}

func TestEventsAndFailures(t *testing.T) {
	t.Parallel()
	s := one(t, &trace.Span{Service: "a", Error: 1, Duration: 5, Meta: map[string]string{
		"events":     `[{"name":"e","time_unix_nano":1795248895272645587,"attributes":{"n":9007199254740993,"l":[1,2]}}]`,
		"error.type": "T", "error.message": "boom", "error.stack": "at x",
	}})
	if s.Status().Code() != ptrace.StatusCodeError || s.Status().Message() != "boom" || s.Events().Len() != 2 {
		t.Fatalf("%v, %d events", s.Status(), s.Events().Len())
	}
	ex, ev := s.Events().At(0), s.Events().At(1)
	if d := cmp.Diff(map[string]any{"exception.type": "T", "exception.message": "boom", "exception.stacktrace": "at x"}, ex.Attributes().AsRaw()); d != "" || ex.Timestamp() != 8 {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]any{"n": int64(9007199254740993), "l": []any{int64(1), int64(2)}}, ev.Attributes().AsRaw()); d != "" || ev.Timestamp() != 1795248895272645587 {
		t.Error(d)
	}
	if ok := one(t, &trace.Span{Service: "a"}); ok.Status().Code() != ptrace.StatusCodeUnset {
		t.Error("a span without an error has a status")
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		kind, of, name string
		want           ptrace.SpanKind
	}{
		{"server", "sql", "", ptrace.SpanKindServer},
		{"", "web", "", ptrace.SpanKindServer},
		{"internal", "web", "", ptrace.SpanKindInternal},
		{"", "redis", "", ptrace.SpanKindClient},
		{"", "queue", "kafka.produce", ptrace.SpanKindProducer},
		{"", "queue", "kafka.consume", ptrace.SpanKindConsumer},
		{"", "worker", "", ptrace.SpanKindInternal},
	} {
		s := &trace.Span{Service: "a", Type: tc.of, Name: tc.name}
		if tc.kind != "" {
			s.Meta = map[string]string{"span.kind": tc.kind}
		}
		if got := one(t, s).Kind(); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

// What a tracer says of statements, commands and addresses has lost its values.
func TestValuesAreHidden(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*trace.Span{
		"SQL":      {Type: "sql", Resource: "SELECT * FROM users WHERE name = 'hunter2'"},
		"query":    {Type: "sql", Resource: "q", Meta: map[string]string{"sql.query": "UPDATE users SET pw='hunter2' WHERE id=7"}},
		"no type":  {Resource: "db", Meta: map[string]string{"db.statement": "DELETE FROM users WHERE pw='hunter2'"}},
		"redis":    {Type: "redis", Resource: "SET k hunter2", Meta: map[string]string{"redis.raw_command": "SET k hunter2"}},
		"URL":      {Type: "http", Meta: map[string]string{"http.url": "http://joe:hunter2@h/p?token=hunter2#hunter2", "span.kind": "client"}},
		"server":   {Type: "web", Meta: map[string]string{"http.url": "http://h/p?token=hunter2", "span.kind": "server"}},
		"mongo":    {Type: "mongodb", Meta: map[string]string{"mongodb.query": `{"find":"users","filter":{"pw":"hunter2"}}`}},
		"elastic":  {Type: "elasticsearch", Meta: map[string]string{"elasticsearch.body": `{"query":{"pw":"hunter2"}}`}},
		"memcache": {Type: "memcached", Resource: "set", Meta: map[string]string{"memcached.command": "set k 0 0 7\r\nhunter2"}},
	} {
		s.Service, s.Name = "a", "n"
		got := one(t, s)
		if text := got.Name() + fmt.Sprint(got.Attributes().AsRaw()); strings.Contains(text, "hunter2") {
			t.Errorf("%s: %s", name, text)
		}
	}
	card := one(t, &trace.Span{Service: "a", Meta: map[string]string{"card": "4111 1111 1111 1111"}})
	if v, _ := card.Attributes().Get("card"); v.Str() != "?" {
		t.Errorf("card %q", v.Str())
	}
}

// The high half of a trace id is said once: by the first span of the first chunk.
func TestTraceIDs(t *testing.T) {
	t.Parallel()
	m := mapper()
	first := trace.Trace{
		{Service: "a", TraceID: 7, SpanID: 1, Start: 1, Meta: map[string]string{"_dd.p.tid": "6b01531e00000000"}}, {Service: "a", TraceID: 7, SpanID: 2, Start: 1},
	}
	for i, chunk := range []trace.Trace{first, {{Service: "a", TraceID: 7, SpanID: 3, Start: 1}}} {
		all, _ := spansOf(t, m, chunk)
		for _, s := range all[0].ScopeSpans().At(0).Spans().All() {
			if s.TraceID().String() != "6b01531e000000000000000000000007" {
				t.Errorf("chunk %d: %s", i, s.TraceID())
			}
		}
	}
	all, out := spansOf(t, m, trace.Trace{{Service: "a", TraceID: 8, SpanID: 3, Start: 1}, {Service: "a", TraceID: 8, Start: 1}, {Service: "a", TraceID: 8, SpanID: 4}})
	if id := all[0].ScopeSpans().At(0).Spans().At(0).TraceID(); id.String() != "00000000000000000000000000000008" {
		t.Errorf("64 bits: %s", id)
	}
	if out.Dropped[mapping.BadSpan] != 2 {
		t.Errorf("dropped %v", out.Dropped)
	}
}

// Spans go out under the service of their process; a call's own name is who is called, and any other is a service of its own.
func TestServices(t *testing.T) {
	t.Parallel()
	base := map[string]string{"_dd.base_service": "shop", "span.kind": "client"}
	all, _ := spansOf(t, mapper(), trace.Trace{
		{Service: "shop", TraceID: 1, SpanID: 1, Start: 1, Meta: map[string]string{"version": "2", "env": "prod", "service": "elsewhere"}},
		{Service: "orders-db", TraceID: 1, SpanID: 2, Start: 1, Meta: base},
		{Service: "billing", TraceID: 1, SpanID: 3, Start: 1, Meta: map[string]string{"_dd.base_service": "shop"}},
	})
	got := map[string]string{}
	for _, r := range all {
		raw := r.Resource().Attributes().AsRaw()
		for _, s := range r.ScopeSpans().At(0).Spans().All() {
			peer := s.Attributes().AsRaw()["peer.service"]
			got[s.SpanID().String()] = fmt.Sprint(raw["service.name"], " ", raw["service.version"], " ", peer)
		}
	}
	want := map[string]string{id(1): "shop 2 <nil>", id(2): "shop 2 orders-db", id(3): "billing <nil> <nil>"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func id(n byte) string { return hex.EncodeToString([]byte{0, 0, 0, 0, 0, 0, 0, n}) }

func TestIDsOfLogs(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		trace, span, want string
		ok                bool
	}{
		{"6b0147af000000000d56784d4d2a8c99", "2903816268022348327", "6b0147af000000000d56784d4d2a8c99 284c7db7d83d3627", true},
		{"17", "3", "00000000000000000000000000000011 0000000000000003", true},
		{"0", "0", "", false},
		{"x", "3", "", false},
	} {
		trace, span, ok := mapping.ParseIDs(tc.trace, tc.span)
		if got := fmt.Sprintf("%x %016x", trace, span); ok != tc.ok || ok && got[:33] != tc.want[:33] {
			t.Errorf("%+v: %s %v", tc, got, ok)
		}
	}
}

// A table of strings that many spans refer to must not become more than there is room for.
func TestWhatUnfoldsIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100_000)
	var chunk trace.Trace
	for i := range 200 {
		chunk = append(chunk, &trace.Span{Service: "a", TraceID: 1, SpanID: uint64(i + 1), Start: 1, Meta: map[string]string{"k": long}})
	}
	body, err := trace.Traces{chunk}.MarshalMsg(nil)
	if err != nil {
		t.Fatal(err)
	}
	traces, err := decode.V04(body)
	if err != nil {
		t.Fatal(err)
	}
	out := mapping.NewOutput(1 << 20)
	if _, err := mapper().Traces(out, "t", traces, mapping.From{}); err == nil {
		t.Error("20 MB fit into one")
	}
}
