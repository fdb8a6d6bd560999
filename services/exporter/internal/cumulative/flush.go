// SPDX-License-Identifier: Apache-2.0

package cumulative

import (
	"cmp"
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// Flush returns the series that have changed since the last Flush, as they are now, and how many points that is. A counter that has begun
// since then has a zero before its first value, so that back ends see all of its increase, unless it is not sure that they
// have not seen it already.
func (a *State) Flush(sure bool) (out pmetric.Metrics, points int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	slices.SortStableFunc(a.queue, func(x, y *Series) int {
		return cmp.Or(cmp.Compare(x.Resource.number, y.Resource.number), cmp.Compare(x.Metric.number, y.Metric.number))
	})
	out = pmetric.NewMetrics()
	var (
		resource *Resource
		metric   *Metric
		scope    pmetric.ScopeMetrics
		into     pmetric.Metric
	)
	for _, s := range a.queue {
		s.queued = false
		if !s.shown && !s.ended {
			continue
		}
		if s.Resource != resource {
			resource, metric = s.Resource, nil
			rm := out.ResourceMetrics().AppendEmpty()
			put(rm.Resource().Attributes(), resource.Attributes)
			scope = rm.ScopeMetrics().AppendEmpty()
		}
		if s.Metric != metric {
			metric = s.Metric
			into = metric.empty(scope.Metrics().AppendEmpty())
		}
		if s.fresh && sure && !s.total && !s.ended && (metric.Kind == Counter || metric.Kind == Histogram) {
			zero := &Series{Metric: s.Metric, Attributes: s.Attributes, Bounds: s.Bounds, Counts: make([]uint64, len(s.Counts))}
			zero.stamp = s.zero
			zero.start = min(s.start, s.zero)
			zero.point(into)
			points++
		}
		s.fresh = false
		s.point(into)
		points++
	}
	clear(a.queue)
	a.queue = a.queue[:0]
	return out, points
}

// put writes attributes.
func put(to pcommon.Map, attributes Attributes) {
	for name, value := range attributes.All() {
		to.PutStr(name, value)
	}
}

// empty makes m what the metric is, without points.
func (m *Metric) empty(out pmetric.Metric) pmetric.Metric {
	out.SetName(m.Name)
	out.SetUnit(m.Unit)
	out.SetDescription(m.Description)
	switch m.Kind {
	case Counter, UpDown:
		sum := out.SetEmptySum()
		sum.SetIsMonotonic(m.Kind == Counter)
		sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	case Histogram:
		out.SetEmptyHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	case Summary:
		out.SetEmptySummary()
	default:
		out.SetEmptyGauge()
	}
	return out
}

// point adds the series as it is now to a metric.
func (s *Series) point(to pmetric.Metric) {
	flags := pmetric.DefaultDataPointFlags.WithNoRecordedValue(s.ended)
	switch s.Metric.Kind {
	case Histogram:
		p := to.Histogram().DataPoints().AppendEmpty()
		put(p.Attributes(), s.Attributes)
		p.SetStartTimestamp(s.start)
		p.SetTimestamp(s.stamp)
		p.SetFlags(flags)
		p.SetSum(s.Value)
		p.SetCount(s.Count)
		p.ExplicitBounds().FromRaw(s.Bounds)
		p.BucketCounts().FromRaw(s.Counts)
	case Summary:
		p := to.Summary().DataPoints().AppendEmpty()
		put(p.Attributes(), s.Attributes)
		p.SetStartTimestamp(s.start)
		p.SetTimestamp(s.stamp)
		p.SetFlags(flags)
		p.SetSum(s.Value)
		p.SetCount(s.Count)
		for i, quantile := range s.Bounds {
			q := p.QuantileValues().AppendEmpty()
			q.SetQuantile(quantile)
			q.SetValue(s.Quantiles[i])
		}
	default:
		points := to.Gauge().DataPoints
		if to.Type() == pmetric.MetricTypeSum {
			points = to.Sum().DataPoints
		}
		p := points().AppendEmpty()
		put(p.Attributes(), s.Attributes)
		p.SetStartTimestamp(s.start)
		p.SetTimestamp(s.stamp)
		p.SetFlags(flags)
		p.SetDoubleValue(s.Value)
	}
}

// queued is how many series have changed since the last Flush.
func (a *State) queued() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.queue)
}
