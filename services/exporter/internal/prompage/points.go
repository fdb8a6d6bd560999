// SPDX-License-Identifier: Apache-2.0

package prompage

import (
	"math"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// maxBuckets bounds one histogram: more would be a page of its own.
const maxBuckets = 512

// batch is the points of one metric of one resource, on their way to their family.
type batch struct {
	*accumulator
	family   *family
	resource *resource
	total    bool // cumulative, or a gauge; otherwise deltas
	now      time.Time
}

// point is what points of all types have.
type point interface {
	Attributes() pcommon.Map
	Flags() pmetric.DataPointFlags
	Timestamp() pcommon.Timestamp
}

// metric takes in the points of a metric. The resource is nil when there is no place for it.
func (a *accumulator) metric(r *resource, m pmetric.Metric, now time.Time) {
	k, points, t := gauge, 0, pmetric.AggregationTemporalityCumulative
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		points = m.Gauge().DataPoints().Len()
	case pmetric.MetricTypeSum:
		points, t = m.Sum().DataPoints().Len(), m.Sum().AggregationTemporality()
		if m.Sum().IsMonotonic() {
			k = counter
		}
	case pmetric.MetricTypeHistogram:
		k, points, t = histogram, m.Histogram().DataPoints().Len(), m.Histogram().AggregationTemporality()
	case pmetric.MetricTypeSummary:
		k, points = summary, m.Summary().DataPoints().Len()
	case pmetric.MetricTypeExponentialHistogram:
		a.leave(Unsupported, m.ExponentialHistogram().DataPoints().Len())
		return
	case pmetric.MetricTypeEmpty:
		return
	}
	if r == nil {
		a.leave(Overflow, points)
		return
	}
	if t == pmetric.AggregationTemporalityUnspecified {
		a.leave(Unsupported, points)
		return
	}
	f := a.family(m, k)
	if f == nil {
		a.leave(Conflict, points)
		return
	}
	b := &batch{a, f, r, t == pmetric.AggregationTemporalityCumulative, now}
	switch k {
	case histogram:
		b.histograms(m.Histogram().DataPoints())
	case summary:
		b.summaries(m.Summary().DataPoints())
	default:
		if m.Type() == pmetric.MetricTypeGauge {
			b.numbers(m.Gauge().DataPoints())
		} else {
			b.numbers(m.Sum().DataPoints())
		}
	}
}

func (b *batch) numbers(points pmetric.NumberDataPointSlice) {
	for _, p := range points.All() {
		v := p.DoubleValue()
		if p.ValueType() == pmetric.NumberDataPointValueTypeInt {
			v = float64(p.IntValue())
		}
		s := b.series(p)
		switch {
		case s == nil:
		case b.family.kind == counter && !(v >= 0) || !b.total && (math.IsNaN(v) || math.IsInf(v, 0)):
			b.leave(Malformed, 1) // in a sum it would stay for ever
		case !b.admit(s, 0):
		case b.total:
			s.value = v
		default:
			s.value += v
		}
	}
}

func (b *batch) histograms(points pmetric.HistogramDataPointSlice) {
	for _, p := range points.All() {
		s := b.series(p)
		switch {
		case s == nil:
		case !wellFormed(p):
			b.leave(Malformed, 1)
		case !b.admit(s, p.ExplicitBounds().Len()):
		default:
			// Other buckets cannot be added: then the series begins anew, which Prometheus reads as a reset.
			if b.total || s.counts == nil || !same(s.bounds, p.ExplicitBounds()) {
				s.bounds = b.family.shared(p.ExplicitBounds())
				s.counts = append(s.counts[:0], make([]uint64, len(s.bounds)+1)...)
				s.value, s.count = 0, 0
			}
			s.value += p.Sum()
			if p.BucketCounts().Len() == 0 { // only the total is known, and there is only one bucket
				s.counts[0] += p.Count()
				s.count += p.Count()
			}
			for i, n := range p.BucketCounts().All() {
				s.counts[i] += n
				s.count += n
			}
		}
	}
}

// wellFormed tells whether the buckets of a point fit its bounds, and whether its sum can be added.
func wellFormed(p pmetric.HistogramDataPoint) bool {
	bounds, counts := p.ExplicitBounds(), p.BucketCounts().Len()
	if bounds.Len() > maxBuckets || counts != bounds.Len()+1 && (counts != 0 || bounds.Len() != 0) {
		return false
	}
	last := math.Inf(-1)
	for _, b := range bounds.All() {
		if !(b > last) || math.IsInf(b, 1) { // NaN is not greater either
			return false
		}
		last = b
	}
	return !math.IsNaN(p.Sum()) && !math.IsInf(p.Sum(), 0)
}

// shared returns bounds as a slice that all series of the family with these bounds use.
func (f *family) shared(bounds pcommon.Float64Slice) []float64 {
	if !same(f.bounds, bounds) {
		f.bounds = bounds.AsRaw()
	}
	return f.bounds
}

func same(have []float64, bounds pcommon.Float64Slice) bool {
	if len(have) != bounds.Len() {
		return false
	}
	for i, b := range have {
		if b != bounds.At(i) {
			return false
		}
	}
	return true
}

func (b *batch) summaries(points pmetric.SummaryDataPointSlice) {
	for _, p := range points.All() {
		quantiles := p.QuantileValues()
		s := b.series(p)
		switch {
		case s == nil:
		case quantiles.Len() > maxBuckets:
			b.leave(Malformed, 1)
		case b.admit(s, quantiles.Len()):
			s.value, s.count = p.Sum(), p.Count()
			s.bounds, s.quantiles = make([]float64, 0, quantiles.Len()), s.quantiles[:0]
			for _, q := range quantiles.All() {
				s.bounds, s.quantiles = append(s.bounds, q.Quantile()), append(s.quantiles, q.Value())
			}
		}
	}
}

// series finds the series of a point, or makes one that is not on the page before admit. It is nil when there is nothing to
// show: the point has been counted as left out, or it says that the series has ended, or a newer one has been shown.
func (b *batch) series(p point) *series {
	key, ok := b.labeler.append(append(b.key[:0], b.resource.labels...), p.Attributes(), nil)
	b.key = key
	if !ok {
		b.leave(Malformed, 1)
		return nil
	}
	s := b.family.byKey[string(key)]
	if p.Flags().NoRecordedValue() {
		if s != nil && b.total {
			b.remove(b.family, s)
		}
		return nil
	}
	switch {
	case s == nil:
		return &series{key: string(key), resource: b.resource, total: b.total, stamp: p.Timestamp()}
	case s.total != b.total:
		b.leave(Conflict, 1)
		return nil
	case b.total && p.Timestamp() < s.stamp:
		return nil
	}
	s.stamp = max(s.stamp, p.Timestamp())
	return s
}

// admit puts a series on the page, or keeps it there, with the given number of bounds. It is false, and the point is counted
// as left out, when the page has no room for it.
func (b *batch) admit(s *series, bounds int) bool {
	k, old := b.family.kind, 0
	if s.shown {
		old = cost(k, s.size)
	}
	grown := b.live + cost(k, bounds) - old
	if grown > b.live && grown > b.options.MaxSeries {
		b.leave(Overflow, 1)
		return false
	}
	b.live, s.size, s.touched = grown, bounds, b.now
	if !s.shown {
		s.shown = true
		b.family.byKey[s.key] = s
		b.family.order = append(b.family.order, s)
		s.resource.series++
	}
	return true
}

// cost is what a series with that many bounds takes of Options.MaxSeries.
func cost(k kind, bounds int) int {
	switch k {
	case histogram:
		return bounds + 3 // the bucket +Inf, the sum and the count
	case summary:
		return bounds + 2
	default:
		return 1
	}
}

// remove takes a series off the page. The order of the family forgets it at the next sweep.
func (a *accumulator) remove(f *family, s *series) {
	s.shown = false
	delete(f.byKey, s.key)
	a.live -= cost(f.kind, s.size)
	s.resource.series--
}
