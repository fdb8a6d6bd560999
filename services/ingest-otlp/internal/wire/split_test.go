// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/busbar/busbar/contract/subject"
)

// attributes fills a map with a value of every type.
func attributes(m pcommon.Map, n int) {
	m.PutStr("text", fmt.Sprint("value ", n))
	m.PutBool("bool", true)
	m.PutInt("int", int64(-n))
	m.PutDouble("double", 0.5)
	m.PutEmptyBytes("bytes").FromRaw([]byte{1, 2})
	list := m.PutEmptySlice("list")
	list.AppendEmpty().SetStr("a")
	list.AppendEmpty().SetEmptyMap().PutInt("b", 1)
	m.PutEmpty("empty")
}

func name(r pcommon.Resource, namespace, service string) {
	r.Attributes().PutStr("host.name", "h")
	if service != "" {
		r.Attributes().PutStr("service.name", service)
	}
	if namespace != "" {
		r.Attributes().PutStr("service.namespace", namespace)
	}
}

// services of the examples, each of which has two resources, the second one after those of the others.
var services = [][2]string{{"", "shop"}, {"eu", "shop"}, {"", ""}}

func traces(spans int) []byte {
	t := ptrace.NewTraces()
	for range 2 {
		for _, s := range services {
			rs := t.ResourceSpans().AppendEmpty()
			name(rs.Resource(), s[0], s[1])
			rs.SetSchemaUrl("https://schema")
			for range 2 {
				ss := rs.ScopeSpans().AppendEmpty()
				ss.Scope().SetName("scope")
				attributes(ss.Scope().Attributes(), 0)
				for i := range spans {
					s := ss.Spans().AppendEmpty()
					s.SetName(fmt.Sprint("span ", i))
					s.SetTraceID(pcommon.TraceID{1, 2, byte(i)})
					s.SetSpanID(pcommon.SpanID{3, byte(i)})
					s.SetParentSpanID(pcommon.SpanID{4})
					s.TraceState().FromRaw("a=b")
					s.SetFlags(0x101)
					s.SetKind(ptrace.SpanKindServer)
					s.SetStartTimestamp(1e18)
					s.SetEndTimestamp(1e18 + 1)
					attributes(s.Attributes(), i)
					e := s.Events().AppendEmpty()
					e.SetName("event")
					attributes(e.Attributes(), i)
					l := s.Links().AppendEmpty()
					l.SetTraceID(pcommon.TraceID{9})
					attributes(l.Attributes(), i)
					s.Status().SetCode(ptrace.StatusCodeError)
					s.Status().SetMessage("bad")
				}
			}
		}
	}
	b, _ := (&ptrace.ProtoMarshaler{}).MarshalTraces(t)
	return b
}

func metrics(points int) []byte {
	all := pmetric.NewMetrics()
	for range 2 {
		for _, s := range services {
			rm := all.ResourceMetrics().AppendEmpty()
			name(rm.Resource(), s[0], s[1])
			sm := rm.ScopeMetrics().AppendEmpty()
			for kind := range 5 {
				m := sm.Metrics().AppendEmpty()
				m.SetName(fmt.Sprint("metric ", kind))
				m.SetUnit("s")
				attributes(m.Metadata(), kind)
				fill(m, kind, points)
			}
			sm.Metrics().AppendEmpty().SetName("without data")
		}
	}
	b, _ := (&pmetric.ProtoMarshaler{}).MarshalMetrics(all)
	return b
}

// fill gives a metric data of a kind.
func fill(m pmetric.Metric, kind, points int) {
	exemplar := func(e pmetric.Exemplar) {
		e.SetIntValue(3)
		e.SetTraceID(pcommon.TraceID{1})
		e.SetSpanID(pcommon.SpanID{2})
		attributes(e.FilteredAttributes(), 1)
	}
	for i := range points {
		switch kind {
		case 0:
			if i == 0 {
				m.SetEmptyGauge()
			}
			p := m.Gauge().DataPoints().AppendEmpty()
			p.SetDoubleValue(1.5)
			attributes(p.Attributes(), i)
			exemplar(p.Exemplars().AppendEmpty())
		case 1:
			if i == 0 {
				m.SetEmptySum().SetIsMonotonic(true)
				m.Sum().SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
			}
			p := m.Sum().DataPoints().AppendEmpty()
			p.SetIntValue(-5)
			p.SetTimestamp(5)
		case 2:
			if i == 0 {
				m.SetEmptyHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
			}
			p := m.Histogram().DataPoints().AppendEmpty()
			p.SetMin(1)
			p.SetSum(7)
			p.BucketCounts().FromRaw([]uint64{1, 2, 3})
			p.ExplicitBounds().FromRaw([]float64{1, 2})
			attributes(p.Attributes(), i)
			exemplar(p.Exemplars().AppendEmpty())
		case 3:
			if i == 0 {
				m.SetEmptyExponentialHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
			}
			p := m.ExponentialHistogram().DataPoints().AppendEmpty()
			p.SetScale(-3)
			p.Positive().SetOffset(-2)
			p.Positive().BucketCounts().FromRaw([]uint64{1, 200, 1 << 40})
			p.SetZeroThreshold(0.1)
			attributes(p.Attributes(), i)
		case 4:
			if i == 0 {
				m.SetEmptySummary()
			}
			p := m.Summary().DataPoints().AppendEmpty()
			p.QuantileValues().AppendEmpty().SetQuantile(0.5)
			attributes(p.Attributes(), i)
		}
	}
}

func logs(records int) []byte {
	all := plog.NewLogs()
	for range 2 {
		for _, s := range services {
			rl := all.ResourceLogs().AppendEmpty()
			name(rl.Resource(), s[0], s[1])
			sl := rl.ScopeLogs().AppendEmpty()
			for i := range records {
				r := sl.LogRecords().AppendEmpty()
				r.Body().SetStr(strings.Repeat("said ", i%20))
				r.SetSeverityNumber(9)
				r.SetSeverityText("INFO")
				r.SetTraceID(pcommon.TraceID{1})
				r.SetEventName("event")
				r.SetFlags(1)
				attributes(r.Attributes(), i)
			}
		}
	}
	b, _ := (&plog.ProtoMarshaler{}).MarshalLogs(all)
	return b
}

var examples = map[subject.Signal]func(int) []byte{subject.Traces: traces, subject.Metrics: metrics, subject.Logs: logs}

// records decodes a request and returns each of its records as a request of its own, with all that is above it.
func records(s subject.Signal, request []byte) ([]string, error) {
	var all []string
	add := func(b []byte, _ error) { all = append(all, string(b)) }
	switch s {
	case subject.Traces:
		t, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(request)
		if err != nil {
			return nil, err
		}
		for _, rs := range t.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, span := range ss.Spans().All() {
					one := ptrace.NewTraces()
					r := one.ResourceSpans().AppendEmpty()
					rs.Resource().CopyTo(r.Resource())
					r.SetSchemaUrl(rs.SchemaUrl())
					c := r.ScopeSpans().AppendEmpty()
					ss.Scope().CopyTo(c.Scope())
					c.SetSchemaUrl(ss.SchemaUrl())
					span.CopyTo(c.Spans().AppendEmpty())
					add((&ptrace.ProtoMarshaler{}).MarshalTraces(one))
				}
			}
		}
	case subject.Metrics:
		m, err := (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(request)
		if err != nil {
			return nil, err
		}
		for _, rm := range m.ResourceMetrics().All() {
			for _, sm := range rm.ScopeMetrics().All() {
				for _, metric := range sm.Metrics().All() {
					for i := range points(metric) {
						one := pmetric.NewMetrics()
						r := one.ResourceMetrics().AppendEmpty()
						rm.Resource().CopyTo(r.Resource())
						r.SetSchemaUrl(rm.SchemaUrl())
						c := r.ScopeMetrics().AppendEmpty()
						sm.Scope().CopyTo(c.Scope())
						c.SetSchemaUrl(sm.SchemaUrl())
						keep(metric, c.Metrics().AppendEmpty(), i)
						add((&pmetric.ProtoMarshaler{}).MarshalMetrics(one))
					}
				}
			}
		}
	case subject.Logs:
		l, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(request)
		if err != nil {
			return nil, err
		}
		for _, rl := range l.ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, record := range sl.LogRecords().All() {
					one := plog.NewLogs()
					r := one.ResourceLogs().AppendEmpty()
					rl.Resource().CopyTo(r.Resource())
					r.SetSchemaUrl(rl.SchemaUrl())
					c := r.ScopeLogs().AppendEmpty()
					sl.Scope().CopyTo(c.Scope())
					c.SetSchemaUrl(sl.SchemaUrl())
					record.CopyTo(c.LogRecords().AppendEmpty())
					add((&plog.ProtoMarshaler{}).MarshalLogs(one))
				}
			}
		}
	}
	return all, nil
}

func points(m pmetric.Metric) int {
	one := pmetric.NewMetrics()
	m.CopyTo(one.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty())
	return one.DataPointCount()
}

// keep copies a metric with its i-th point alone.
func keep(from, to pmetric.Metric, i int) {
	from.CopyTo(to)
	n := 0
	other := func() bool { n++; return n != i+1 }
	switch to.Type() {
	case pmetric.MetricTypeGauge:
		to.Gauge().DataPoints().RemoveIf(func(pmetric.NumberDataPoint) bool { return other() })
	case pmetric.MetricTypeSum:
		to.Sum().DataPoints().RemoveIf(func(pmetric.NumberDataPoint) bool { return other() })
	case pmetric.MetricTypeHistogram:
		to.Histogram().DataPoints().RemoveIf(func(pmetric.HistogramDataPoint) bool { return other() })
	case pmetric.MetricTypeExponentialHistogram:
		to.ExponentialHistogram().DataPoints().RemoveIf(func(pmetric.ExponentialHistogramDataPoint) bool { return other() })
	case pmetric.MetricTypeSummary:
		to.Summary().DataPoints().RemoveIf(func(pmetric.SummaryDataPoint) bool { return other() })
	case pmetric.MetricTypeEmpty:
	}
}

// check splits a request and compares what came out with what went in.
func check(t *testing.T, s subject.Signal, request []byte, limit int) (parts []Part, tooLarge int) {
	t.Helper()
	want, decodes := records(s, request)
	parts, tooLarge, err := Split(s, request, limit)
	if err != nil {
		return nil, 0
	}
	if decodes != nil {
		t.Fatalf("taken, but the decoder says: %v", decodes)
	}
	var got []string
	for _, p := range parts {
		if len(p.Data) > limit {
			t.Fatalf("a part of %d bytes, more than %d", len(p.Data), limit)
		}
		in, err := records(s, p.Data)
		if err != nil {
			t.Fatalf("a part does not decode: %v", err)
		}
		if len(in) != p.Items || p.Items == 0 {
			t.Fatalf("a part of %d records says %d", len(in), p.Items)
		}
		got = append(got, in...)
	}
	if len(got)+tooLarge != len(want) {
		t.Fatalf("%d records and %d too large of %d", len(got), tooLarge, len(want))
	}
	slices.Sort(want)
	slices.Sort(got)
	if tooLarge == 0 && !slices.Equal(want, got) {
		t.Fatalf("records are not what they were: %s", cmp.Diff(want, got))
	}
	return parts, tooLarge
}

func TestSplitByService(t *testing.T) {
	t.Parallel()
	for s, example := range examples {
		request := example(3)
		parts, tooLarge := check(t, s, request, 512<<10)
		var got [][2]string
		for i, p := range parts {
			if p.Group != i || p.Chunk != 0 {
				t.Errorf("%s: part %d is %d, %d", s, i, p.Group, p.Chunk)
			}
			got = append(got, [2]string{p.Namespace, p.Service})
		}
		want := [][2]string{{"", "shop"}, {"eu", "shop"}, {"", "unknown_service"}}
		if d := cmp.Diff(want, got); d != "" || tooLarge != 0 {
			t.Errorf("%s: services (-want +got):\n%s", s, d)
		}
		// A request of one service passes as the very bytes that came.
		again, _ := check(t, s, parts[0].Data, 512<<10)
		if len(again) != 1 || &again[0].Data[0] != &parts[0].Data[0] {
			t.Errorf("%s: bytes were copied", s)
		}
	}
}

func TestSplitBySize(t *testing.T) {
	t.Parallel()
	for s, example := range examples {
		request := example(40)
		for _, limit := range []int{100, 400, 700, 1000, 2000, 10000, 100000, len(request) - 1} {
			t.Run(fmt.Sprint(s, limit), func(t *testing.T) {
				t.Parallel()
				parts, tooLarge := check(t, s, request, limit)
				seen := map[string]bool{}
				for _, p := range parts {
					id := fmt.Sprint(p.Group, p.Chunk)
					if seen[id] {
						t.Errorf("two parts are %s", id)
					}
					seen[id] = true
				}
				if (len(parts) == 0) != (limit <= 400 && s == subject.Traces || limit == 100) || limit >= 2000 && tooLarge > 0 {
					t.Errorf("%d parts, %d too large", len(parts), tooLarge)
				}
				// Parts are filled: no two neighbours of a service would fit in one.
				for i := 1; i < len(parts) && limit >= 2000; i++ {
					if a, b := parts[i-1], parts[i]; a.Group == b.Group && len(a.Data)+len(b.Data) < limit {
						t.Errorf("parts %d and %d of %d and %d bytes", i-1, i, len(a.Data), len(b.Data))
					}
				}
			})
		}
	}
}

func TestNothing(t *testing.T) {
	t.Parallel()
	for s := range examples {
		for _, request := range [][]byte{nil, {0x0a, 0x00}, {0x0a, 0x02, 0x12, 0x00}, {0x12, 0x01, 0x00}} {
			if parts, _, err := Split(s, request, 1000); len(parts) != 0 || err != nil {
				t.Errorf("%s: %x: %v, %v", s, request, parts, err)
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	field := func(n protowire.Number, inside ...byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), inside)
	}
	within := func(inside []byte, numbers ...protowire.Number) []byte {
		for _, n := range numbers {
			inside = field(n, inside...)
		}
		return inside
	}
	deep := []byte{}
	for range 60 {
		deep = field(5, field(1, deep...)...)
	}
	for _, tc := range []struct {
		name    string
		request []byte
		want    string
	}{
		{"text", []byte("{\"resourceSpans\":[]}"), "ExportTraceServiceRequest, field 15 at byte 0"},
		{"cut off", []byte{0x0a, 0x05, 0x00}, "ExportTraceServiceRequest, field 1 at byte 0: it is cut off"},
		{"cut off tag", []byte{0x80}, "ExportTraceServiceRequest, field at byte 0: it is cut off"},
		{"field 0", []byte{0x02, 0x00}, "ExportTraceServiceRequest, field at byte 0: there is no such field"},
		{"a group", []byte{0x0b, 0x0c}, "ExportTraceServiceRequest, field 1 at byte 0: it is cut off, or of no kind"},
		{"a number for resources", []byte{0x08, 0x01}, "ExportTraceServiceRequest, field 1 at byte 0: it is of the wrong type"},
		{"a short trace id", within(field(1, 1, 2, 3), 2, 2, 1), "Span, field 1 at byte 6: it is of the wrong type or length"},
		{"a long length", within([]byte{0x2a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, 2, 2, 1), "Span, field 5 at byte 6: it is cut off"},
		{"a number of eleven bytes", within([]byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, 2, 2, 1), "Span, field 6"},
		{"deep", within(deep, 2, 9, 2, 2, 1), "nested more than 100 deep"},
	} {
		_, _, err := Split(subject.Traces, tc.request, 1000)
		if err == nil || !strings.HasPrefix(err.Error(), "malformed protobuf: ") || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

// A request of years ago has its scopes elsewhere, and they are not lost.
func TestOldScopes(t *testing.T) {
	t.Parallel()
	request := traces(1)
	var old []byte
	each(request, func(_ uint64, _, resource []byte) bool {
		var inside []byte
		each(resource, func(number uint64, whole, scope []byte) bool {
			if number == 2 {
				whole = protowire.AppendBytes(protowire.AppendTag(nil, oldScopesField, protowire.BytesType), scope)
			}
			inside = append(inside, whole...)
			return true
		})
		old = protowire.AppendBytes(protowire.AppendTag(old, 1, protowire.BytesType), inside)
		return true
	})
	parts, _, err := Split(subject.Traces, old, 512<<10)
	if err != nil || len(parts) != 3 || parts[0].Items != 4 {
		t.Errorf("%d parts, %v", len(parts), err)
	}
	today, _, err := Split(subject.Traces, request, 512<<10)
	for i, p := range parts {
		want, _ := records(subject.Traces, today[i].Data)
		if got, _ := records(subject.Traces, p.Data); err != nil || !slices.Equal(want, got) {
			t.Errorf("part %d: %s", i, cmp.Diff(want, got))
		}
	}
}

func TestTooManyResources(t *testing.T) {
	t.Parallel()
	request := bytes.Repeat([]byte{0x0a, 0x04, 0x12, 0x02, 0x12, 0x00}, maxResources+1)
	if _, _, err := Split(subject.Traces, request, 512<<10); !errors.Is(err, ErrTooMany) {
		t.Errorf("%v", err)
	}
	if parts, _, err := Split(subject.Traces, request[6:], 512<<10); len(parts) != 2 || err != nil {
		t.Errorf("%d parts, %v", len(parts), err)
	}
	empty := bytes.Repeat([]byte{0x0a, 0x00}, 10<<20)
	if parts, _, err := Split(subject.Traces, empty, 512<<10); len(parts) != 0 || err != nil {
		t.Errorf("%d parts, %v", len(parts), err)
	}
}

// Fields that OTLP does not have yet pass.
func TestUnknownFields(t *testing.T) {
	t.Parallel()
	request := protowire.AppendVarint(protowire.AppendTag(traces(1), 77, protowire.VarintType), 1)
	scope := []byte{}
	each(request, func(number uint64, whole, _ []byte) bool { scope = whole; return number != 1 })
	request = append(bytes.Clone(scope), request[len(request)-3:]...)
	parts, _, err := Split(subject.Traces, request, 512<<10)
	if err != nil || len(parts) != 1 || len(parts[0].Data) < len(scope) {
		t.Errorf("%d parts, %v", len(parts), err)
	}
}

// FuzzSplit: what is taken decodes, and all its records come out, once, in parts within the limit.
func FuzzSplit(f *testing.F) {
	signals := subject.Signals()
	for i, s := range signals {
		f.Add(byte(i), uint16(600), examples[s](1))
		f.Add(byte(i), uint16(20000), examples[s](2))
	}
	f.Fuzz(func(t *testing.T, signal byte, limit uint16, request []byte) {
		check(t, signals[int(signal)%len(signals)], request, int(limit))
	})
}

func BenchmarkSplit(b *testing.B) {
	t := ptrace.NewTraces()
	rs := t.ResourceSpans().AppendEmpty()
	name(rs.Resource(), "", "shop")
	ss := rs.ScopeSpans().AppendEmpty()
	const spans = 500
	for i := range spans {
		s := ss.Spans().AppendEmpty()
		s.SetName("GET /users/{id}")
		s.SetTraceID(pcommon.TraceID{1, byte(i)})
		s.SetSpanID(pcommon.SpanID{1, byte(i)})
		s.SetStartTimestamp(1e18)
		s.SetEndTimestamp(1e18)
		for _, key := range []string{"http.request.method", "http.route", "url.path", "url.scheme", "server.address", "network.protocol.version", "user_agent.original"} {
			s.Attributes().PutStr(key, "value of it")
		}
		s.Attributes().PutInt("http.response.status_code", 200)
		s.Attributes().PutInt("server.port", 8080)
	}
	request, _ := (&ptrace.ProtoMarshaler{}).MarshalTraces(t)
	b.ReportAllocs()
	for b.Loop() {
		if parts, _, err := Split(subject.Traces, request, 512<<10); len(parts) != 1 || err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/spans, "ns/span")
	b.ReportMetric(float64(len(request))/spans, "B/span")
}
