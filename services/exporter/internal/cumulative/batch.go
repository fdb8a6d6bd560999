// SPDX-License-Identifier: Apache-2.0

package cumulative

import (
	"encoding/binary"
	"math"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// maxBuckets bounds one histogram: more would be a page of its own.
const maxBuckets = 512

// batch is the points of a message, on their way to their series.
type batch struct {
	*State
	shard    *shard
	sequence uint64
	now      int64     // when the stream stored the message
	resource *Resource // of the metric at hand; nil when there is no place for it
	metric   *Metric   // at hand
	total    bool      // cumulative, or a gauge; otherwise deltas
}

// point is what points of all types have.
type point interface {
	Attributes() pcommon.Map
	Flags() pmetric.DataPointFlags
	StartTimestamp() pcommon.Timestamp
	Timestamp() pcommon.Timestamp
}

// add takes in the points of a metric.
func (b *batch) add(m pmetric.Metric) {
	k, points, t := Gauge, 0, pmetric.AggregationTemporalityCumulative
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		points = m.Gauge().DataPoints().Len()
	case pmetric.MetricTypeSum:
		k, points, t = UpDown, m.Sum().DataPoints().Len(), m.Sum().AggregationTemporality()
		if m.Sum().IsMonotonic() {
			k = Counter
		}
	case pmetric.MetricTypeHistogram:
		k, points, t = Histogram, m.Histogram().DataPoints().Len(), m.Histogram().AggregationTemporality()
	case pmetric.MetricTypeSummary:
		k, points = Summary, m.Summary().DataPoints().Len()
	case pmetric.MetricTypeExponentialHistogram:
		b.leave(Unsupported, m.ExponentialHistogram().DataPoints().Len())
		return
	case pmetric.MetricTypeEmpty:
		return
	}
	if b.resource == nil {
		b.leave(Overflow, points)
		return
	}
	if t == pmetric.AggregationTemporalityUnspecified {
		b.leave(Unsupported, points)
		return
	}
	if b.metric = b.State.metric(MetricID{m.Name(), m.Unit(), k}, m.Description()); b.metric == nil {
		b.leave(Conflict, points)
		return
	}
	b.total = t == pmetric.AggregationTemporalityCumulative
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		b.numbers(m.Gauge().DataPoints())
	case pmetric.MetricTypeSum:
		b.numbers(m.Sum().DataPoints())
	case pmetric.MetricTypeHistogram:
		b.histograms(m.Histogram().DataPoints())
	default:
		b.summaries(m.Summary().DataPoints())
	}
}

func (b *batch) numbers(points pmetric.NumberDataPointSlice) {
	for _, p := range points.All() {
		v := p.DoubleValue()
		if p.ValueType() == pmetric.NumberDataPointValueTypeInt {
			v = float64(p.IntValue())
		}
		if b.metric.Kind == Counter && !(v >= 0) || !b.total && (math.IsNaN(v) || math.IsInf(v, 0)) {
			if !p.Flags().NoRecordedValue() {
				b.leave(Malformed, 1) // in a sum it would stay for ever
				continue
			}
		}
		s := b.take(p, 0)
		switch {
		case s == nil:
		case b.total:
			s.Value = v
		default:
			s.Value += v
		}
	}
}

func (b *batch) histograms(points pmetric.HistogramDataPointSlice) {
	for _, p := range points.All() {
		if !wellFormed(p) {
			b.leave(Malformed, 1)
			continue
		}
		s := b.take(p, p.ExplicitBounds().Len())
		if s == nil {
			continue
		}
		// Other buckets cannot be added: then the series begins anew, which back ends read as a reset.
		if b.total || s.Counts == nil || !same(s.Bounds, p.ExplicitBounds()) {
			if !b.total && s.Counts != nil {
				s.begin(startOf(p, s.stamp))
			}
			s.Bounds = b.metric.shared(p.ExplicitBounds())
			s.Counts = make([]uint64, len(s.Bounds)+1)
			s.Value, s.Count = 0, 0
		}
		s.Value += p.Sum()
		if p.BucketCounts().Len() == 0 { // only the total is known, and there is only one bucket
			s.Counts[0] += p.Count()
			s.Count += p.Count()
		}
		for i, n := range p.BucketCounts().All() {
			s.Counts[i] += n
			s.Count += n
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

// shared returns bounds as a slice that all series of the metric with these bounds use.
func (m *Metric) shared(bounds pcommon.Float64Slice) []float64 {
	if !same(m.bounds, bounds) {
		m.bounds = bounds.AsRaw()
	}
	return m.bounds
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
		if quantiles.Len() > maxBuckets {
			b.leave(Malformed, 1)
			continue
		}
		s := b.take(p, quantiles.Len())
		if s == nil {
			continue
		}
		s.Value, s.Count = p.Sum(), p.Count()
		s.Bounds, s.Quantiles = make([]float64, 0, quantiles.Len()), s.Quantiles[:0]
		for _, q := range quantiles.All() {
			s.Bounds, s.Quantiles = append(s.Bounds, q.Quantile()), append(s.Quantiles, q.Value())
		}
	}
}

// take finds or makes the series of a point, notes its times, and has it kept and handed on. It is nil when there is nothing to
// add: the point is in the series already, or has been counted as left out, or says that the series has ended, or a newer
// one of a total is known.
func (b *batch) take(p point, bounds int) *Series {
	key := binary.LittleEndian.AppendUint32(b.key[:0], b.metric.number)
	key = binary.LittleEndian.AppendUint32(key, b.resource.number)
	key, ok := b.encoder.append(key, p.Attributes(), nil)
	b.key = key
	if !ok {
		b.leave(Malformed, 1)
		return nil
	}
	to := b.shard.partOf(b.metric, b.resource, key[keyNumbers:])
	if b.sequence <= to.position {
		return nil
	}
	s := to.series[string(key)]
	if s != nil && b.stale(s.touched, b.now) { // it was forgotten, or will be
		b.remove(s)
		s = nil
	}
	at := p.Timestamp()
	if at == 0 || int64(at) > b.now { //nolint:gosec // beyond int64 is beyond now
		at = pcommon.Timestamp(b.now) //nolint:gosec // after 1970
	}
	switch {
	case p.Flags().NoRecordedValue():
		if s != nil && b.total {
			s.stamp = max(s.stamp, at)
			b.remove(s)
			s.ended = true
			b.changed(s)
		}
		return nil
	case s == nil:
	case s.total != b.total:
		b.leave(Conflict, 1)
		return nil
	case b.total && at < s.stamp:
		return nil
	case !b.total && min(s.stamp, pcommon.Timestamp(b.now)) > at+pcommon.Timestamp(b.options.Window): //nolint:gosec // both are positive
		b.leave(Late, 1)
		return nil
	}
	if s = b.admit(s, to, bounds); s == nil {
		return nil
	}
	if s.fresh && s.stamp == 0 {
		s.start = startOf(p, at)
	}
	if b.total {
		s.start, s.stamp = startOf(p, at), at
	} else {
		s.add(at)
	}
	s.touched = b.now
	b.changed(s)
	return s
}

// keyNumbers is the length of the numbers of metric and resource that the key of a series begins with.
const keyNumbers = 8

// startOf returns when a point begins, at most at.
func startOf(p point, at pcommon.Timestamp) pcommon.Timestamp {
	if start := p.StartTimestamp(); start > 0 && start <= at {
		return start
	}
	return at
}

// changed has a series kept and handed on.
func (b *batch) changed(s *Series) {
	s.part.dirty = true
	if b.options.Queue && !s.queued {
		s.queued = true
		b.queue = append(b.queue, s)
	}
}

// admit makes a series, or keeps it, with the given number of bounds. It is nil, and the point is counted as left out, when
// there is no room for it.
func (b *batch) admit(s *Series, to *part, bounds int) *Series {
	k, old, size := b.metric.Kind, 0, seriesSize(len(b.key), bounds)
	if s != nil {
		if s.bounds == bounds {
			return s
		}
		old, size = cost(k, s.bounds), s.size+seriesSize(0, bounds)-seriesSize(0, s.bounds)
	}
	grown := b.live + cost(k, bounds) - old
	wide := to.size + size
	if s != nil {
		wide -= s.size
	} else if to.resources[b.resource] == 0 {
		wide += resourceSize(b.resource)
	}
	if grown > b.live && (grown > b.options.MaxSeries || wide > maxPart) {
		b.leave(Overflow, 1)
		return nil
	}
	b.live = grown
	if s == nil {
		key := string(b.key)
		s = &Series{
			Metric: b.metric, Resource: b.resource, Attributes: Attributes(key[keyNumbers:]),
			key: key, total: b.total, fresh: true, bounds: bounds, size: size,
		}
		b.insert(s, to)
		return s
	}
	to.size += size - s.size
	s.bounds, s.size = bounds, size
	return s
}
