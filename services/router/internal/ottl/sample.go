// SPDX-License-Identifier: Apache-2.0

package ottl

import (
	"regexp"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/router/internal/otlp"
)

// key finds the keys that a text looks up in maps.
var key = regexp.MustCompile(`\["([^"\\]*)"\]`)

// values are what an attribute or a body may hold, a sample for each.
func values(keys []string) []func(pcommon.Value) {
	table := func(item any) map[string]any {
		m := map[string]any{"a": item}
		for _, k := range keys {
			m[k] = item
		}
		return m
	}
	raws := []any{
		"GET /a?b=c", `{"a":1}`, "1", "2006-01-02T15:04:05Z", int64(1), 1.5, true, []byte{1},
		[]any{"a"}, []any{int64(1)}, table("a"), table(int64(1)), table(map[string]any{"a": "a"}), nil,
	}
	var out []func(pcommon.Value)
	for _, raw := range raws {
		out = append(out, func(v pcommon.Value) { _ = v.FromRaw(raw) }) // these types are all known to it
	}
	return out
}

// samples returns places of a context, complete in every field; the keys that text names are set, to one type in each sample.
func samples(name Context, text string) []*otlp.Cursor {
	var keys []string
	for _, m := range key.FindAllStringSubmatch(text, -1) {
		keys = append(keys, m[1])
	}
	var out []*otlp.Cursor
	for _, value := range values(keys) {
		fill := func(m pcommon.Map) {
			for _, k := range keys {
				value(m.PutEmpty(k))
			}
		}
		switch {
		case name.In(subject.Traces):
			out = append(out, sampleSpan(fill))
		case name.In(subject.Logs):
			out = append(out, sampleLog(fill, value))
		default:
			out = append(out, sampleMetrics(fill)...)
		}
	}
	return out
}

func sampleSpan(fill func(pcommon.Map)) *otlp.Cursor {
	at := &otlp.Cursor{Signal: subject.Traces}
	at.ResourceSpans = ptrace.NewTraces().ResourceSpans().AppendEmpty()
	at.Resource = at.ResourceSpans.Resource()
	at.ScopeSpans = at.ResourceSpans.ScopeSpans().AppendEmpty()
	at.Scope = at.ScopeSpans.Scope()
	fill(at.Resource.Attributes())
	nameScope(at.Scope, fill)

	s := at.ScopeSpans.Spans().AppendEmpty()
	at.Span = s
	s.SetTraceID(pcommon.TraceID{1, 15: 1})
	s.SetSpanID(pcommon.SpanID{1})
	s.SetParentSpanID(pcommon.SpanID{2})
	s.SetName("GET /a")
	s.SetKind(ptrace.SpanKindServer)
	s.SetStartTimestamp(1e18)
	s.SetEndTimestamp(1e18 + 1e6)
	s.TraceState().FromRaw("ot=th:8")
	s.Status().SetCode(ptrace.StatusCodeError)
	s.Status().SetMessage("broken")
	fill(s.Attributes())
	fill(s.Links().AppendEmpty().Attributes())
	at.Event = s.Events().AppendEmpty()
	at.Event.SetName("exception")
	at.Event.SetTimestamp(1e18)
	fill(at.Event.Attributes())
	return at
}

func sampleLog(fill func(pcommon.Map), body func(pcommon.Value)) *otlp.Cursor {
	at := &otlp.Cursor{Signal: subject.Logs}
	at.ResourceLogs = plog.NewLogs().ResourceLogs().AppendEmpty()
	at.Resource = at.ResourceLogs.Resource()
	at.ScopeLogs = at.ResourceLogs.ScopeLogs().AppendEmpty()
	at.Scope = at.ScopeLogs.Scope()
	fill(at.Resource.Attributes())
	nameScope(at.Scope, fill)

	at.Log = at.ScopeLogs.LogRecords().AppendEmpty()
	at.Log.SetTimestamp(1e18)
	at.Log.SetObservedTimestamp(1e18)
	at.Log.SetTraceID(pcommon.TraceID{1, 15: 1})
	at.Log.SetSpanID(pcommon.SpanID{1})
	at.Log.SetSeverityNumber(plog.SeverityNumberInfo)
	at.Log.SetSeverityText("INFO")
	at.Log.SetEventName("a")
	fill(at.Log.Attributes())
	body(at.Log.Body())
	return at
}

// sampleMetrics returns a data point of each kind of metric.
func sampleMetrics(fill func(pcommon.Map)) []*otlp.Cursor {
	kinds := []func(pmetric.Metric) any{
		func(m pmetric.Metric) any { return number(m.SetEmptyGauge().DataPoints()) },
		func(m pmetric.Metric) any {
			m.SetEmptySum().SetIsMonotonic(true)
			m.Sum().SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
			return number(m.Sum().DataPoints())
		},
		func(m pmetric.Metric) any {
			m.SetEmptyHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
			p := m.Histogram().DataPoints().AppendEmpty()
			p.SetCount(1)
			p.SetSum(1)
			return p
		},
		func(m pmetric.Metric) any {
			m.SetEmptyExponentialHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
			p := m.ExponentialHistogram().DataPoints().AppendEmpty()
			p.SetCount(1)
			p.SetSum(1)
			return p
		},
		func(m pmetric.Metric) any { return m.SetEmptySummary().DataPoints().AppendEmpty() },
	}
	var out []*otlp.Cursor
	for _, kind := range kinds {
		at := &otlp.Cursor{Signal: subject.Metrics}
		at.ResourceMetrics = pmetric.NewMetrics().ResourceMetrics().AppendEmpty()
		at.Resource = at.ResourceMetrics.Resource()
		at.ScopeMetrics = at.ResourceMetrics.ScopeMetrics().AppendEmpty()
		at.Scope = at.ScopeMetrics.Scope()
		fill(at.Resource.Attributes())
		nameScope(at.Scope, fill)
		at.Metric = at.ScopeMetrics.Metrics().AppendEmpty()
		at.Metric.SetName("a")
		at.Metric.SetUnit("s")
		at.Metric.SetDescription("a")
		fill(at.Metric.Metadata())
		at.Point = kind(at.Metric)
		if p, ok := at.Point.(interface{ Attributes() pcommon.Map }); ok {
			fill(p.Attributes())
		}
		out = append(out, at)
	}
	return out
}

func number(points pmetric.NumberDataPointSlice) pmetric.NumberDataPoint {
	p := points.AppendEmpty()
	p.SetTimestamp(1e18)
	p.SetIntValue(1)
	return p
}

func nameScope(s pcommon.InstrumentationScope, fill func(pcommon.Map)) {
	s.SetName("a")
	s.SetVersion("1")
	fill(s.Attributes())
}
