// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/busbar/busbar/contract/subject"
)

// Cursor is where a walk through a payload stands: a place and everything above it. Which fields are set follows from the
// signal and the depth of the walk.
type Cursor struct {
	Signal   subject.Signal
	Resource pcommon.Resource
	Scope    pcommon.InstrumentationScope

	ResourceSpans ptrace.ResourceSpans
	ScopeSpans    ptrace.ScopeSpans
	Span          ptrace.Span
	Event         ptrace.SpanEvent
	EventIndex    int64

	ResourceMetrics pmetric.ResourceMetrics
	ScopeMetrics    pmetric.ScopeMetrics
	Metric          pmetric.Metric
	Point           any // one of pmetric's five kinds of data point

	ResourceLogs plog.ResourceLogs
	ScopeLogs    plog.ScopeLogs
	Log          plog.LogRecord
}

// Walk says what a walk does at each depth; where a function is nil the walk does nothing there, and goes no deeper than
// it must. A function that returns true has the place removed, with all below it. What has become empty goes too.
type Walk struct {
	Resource func(*Cursor) bool
	Scope    func(*Cursor) bool
	Record   func(*Cursor) bool // span, metric or log record
	Part     func(*Cursor) bool // span event or data point
}

func (w *Walk) resource(at *Cursor) bool { return w.Resource != nil && w.Resource(at) }
func (w *Walk) scope(at *Cursor) bool    { return w.Scope != nil && w.Scope(at) }
func (w *Walk) record(at *Cursor) bool   { return w.Record != nil && w.Record(at) }

func (w *Walk) belowResource() bool { return w.Scope != nil || w.belowScope() }
func (w *Walk) belowScope() bool    { return w.Record != nil || w.Part != nil }

// Walk visits the places of the payload in order, from the outside in.
func (p Payload) Walk(w Walk) {
	at := &Cursor{Signal: p.signal}
	switch p.signal {
	case subject.Traces:
		w.traces(at, p.traces)
	case subject.Metrics:
		w.metrics(at, p.metrics)
	case subject.Logs:
		w.logs(at, p.logs)
	}
}

func (w *Walk) traces(at *Cursor, t ptrace.Traces) {
	t.ResourceSpans().RemoveIf(func(rs ptrace.ResourceSpans) bool {
		at.ResourceSpans, at.Resource = rs, rs.Resource()
		if w.resource(at) {
			return true
		}
		if !w.belowResource() {
			return false
		}
		rs.ScopeSpans().RemoveIf(func(ss ptrace.ScopeSpans) bool {
			at.ScopeSpans, at.Scope = ss, ss.Scope()
			if w.scope(at) {
				return true
			}
			if w.belowScope() {
				ss.Spans().RemoveIf(func(s ptrace.Span) bool { return w.span(at, s) })
			}
			return ss.Spans().Len() == 0
		})
		return rs.ScopeSpans().Len() == 0
	})
}

func (w *Walk) span(at *Cursor, s ptrace.Span) bool {
	at.Span = s
	if w.record(at) {
		return true
	}
	if w.Part != nil {
		at.EventIndex = 0
		s.Events().RemoveIf(func(e ptrace.SpanEvent) bool {
			at.Event = e
			drop := w.Part(at)
			at.EventIndex++
			return drop
		})
	}
	return false
}

func (w *Walk) metrics(at *Cursor, m pmetric.Metrics) {
	m.ResourceMetrics().RemoveIf(func(rm pmetric.ResourceMetrics) bool {
		at.ResourceMetrics, at.Resource = rm, rm.Resource()
		if w.resource(at) {
			return true
		}
		if !w.belowResource() {
			return false
		}
		rm.ScopeMetrics().RemoveIf(func(sm pmetric.ScopeMetrics) bool {
			at.ScopeMetrics, at.Scope = sm, sm.Scope()
			if w.scope(at) {
				return true
			}
			if w.belowScope() {
				sm.Metrics().RemoveIf(func(m pmetric.Metric) bool { return w.metric(at, m) })
			}
			return sm.Metrics().Len() == 0
		})
		return rm.ScopeMetrics().Len() == 0
	})
}

func (w *Walk) metric(at *Cursor, m pmetric.Metric) bool {
	at.Metric = m
	if w.record(at) {
		return true
	}
	if w.Part == nil {
		return false
	}
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		return points(w, at, m.Gauge().DataPoints())
	case pmetric.MetricTypeSum:
		return points(w, at, m.Sum().DataPoints())
	case pmetric.MetricTypeHistogram:
		return points(w, at, m.Histogram().DataPoints())
	case pmetric.MetricTypeExponentialHistogram:
		return points(w, at, m.ExponentialHistogram().DataPoints())
	case pmetric.MetricTypeSummary:
		return points(w, at, m.Summary().DataPoints())
	case pmetric.MetricTypeEmpty:
	}
	return true // a kind of metric that has no points
}

// pointSlice is what the slices of the five kinds of data point have in common.
type pointSlice[P any] interface {
	RemoveIf(func(P) bool)
	Len() int
}

// points visits the data points of a metric and tells whether none is left.
func points[P any](w *Walk, at *Cursor, s pointSlice[P]) bool {
	s.RemoveIf(func(p P) bool {
		at.Point = p
		return w.Part(at)
	})
	return s.Len() == 0
}

func (w *Walk) logs(at *Cursor, l plog.Logs) {
	l.ResourceLogs().RemoveIf(func(rl plog.ResourceLogs) bool {
		at.ResourceLogs, at.Resource = rl, rl.Resource()
		if w.resource(at) {
			return true
		}
		if !w.belowResource() {
			return false
		}
		rl.ScopeLogs().RemoveIf(func(sl plog.ScopeLogs) bool {
			at.ScopeLogs, at.Scope = sl, sl.Scope()
			if w.scope(at) {
				return true
			}
			if w.Record != nil {
				sl.LogRecords().RemoveIf(func(r plog.LogRecord) bool {
					at.Log = r
					return w.Record(at)
				})
			}
			return sl.LogRecords().Len() == 0
		})
		return rl.ScopeLogs().Len() == 0
	})
}
