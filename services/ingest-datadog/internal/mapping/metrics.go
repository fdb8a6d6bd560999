// SPDX-License-Identifier: Apache-2.0

package mapping

import (
	"math"
	"strings"

	"github.com/busbar/busbar/services/ingest-datadog/internal/decode"
	"github.com/busbar/busbar/services/ingest-datadog/internal/otlp"
)

// Reasons of Output.Left.
const (
	RateWithoutInterval = "rate_without_interval" // a rate that cannot be made a sum: it is a gauge
	InternalAttribute   = "internal_attribute"    // of Datadog's, without meaning elsewhere
	BadStructure        = "bad_structure"         // links or events in an attribute that cannot be read: it stays
)

// Series maps series.
func (m *Mapper) Series(out *Output, all []decode.Series, from From) error {
	for i := range all {
		if err := m.series(out, &all[i], from); err != nil {
			return err
		}
	}
	return nil
}

// origin is what points of a series share.
type origin struct {
	resource   otlp.Resource
	scope      otlp.Scope
	attributes []otlp.Pair
}

// origin returns what points of a series share; ok is false if it cannot be kept: why is counted, for each of n points.
func (m *Mapper) origin(out *Output, s *decode.Series, from From, n int) (o origin, ok bool) {
	if s.Metric = strings.ToValidUTF8(s.Metric, "\uFFFD"); s.Metric == "" {
		out.Dropped[NoName] += n
		return o, false
	}
	tags, ok := m.sort(s.Tags)
	if !ok {
		out.Dropped[TooMany] += n
		return o, false
	}
	things(&tags, s.Resources)
	if s.NoIndex {
		tags.record = join(append(tags.record, pair("datadog.no_index", "true")))
	}
	if m.Keep && s.Unit != "" {
		tags.record = join(append(tags.record, pair("datadog.unit", s.Unit)))
	}
	o = origin{resource: m.resource(tags.resource, from), scope: m.scope(), attributes: tags.record}
	if s.Source != "" {
		o.scope = m.scope(pair("datadog.source_type_name", s.Source))
	}
	return o, true
}

func (m *Mapper) series(out *Output, s *decode.Series, from From) error {
	o, ok := m.origin(out, s, from, len(s.Points))
	if !ok {
		return nil
	}
	metric := otlp.Metric{Name: s.Metric, Unit: unit(s.Unit), Shape: otlp.Gauge}
	factor := 1.0
	switch {
	case s.Kind == decode.Count:
		metric.Shape = otlp.Sum
	case s.Kind == decode.Rate && s.Interval > 0:
		metric.Shape, factor = otlp.Sum, float64(s.Interval)
	case s.Kind == decode.Rate:
		out.Left[RateWithoutInterval] += len(s.Points)
		metric.Unit = perSecond(metric.Unit)
	}
	attributes := otlp.PointAttributes(metric.Shape, o.attributes)
	for _, p := range s.Points {
		if !keepable(out, p.Time, p.Value) {
			continue
		}
		point := otlp.Point{Attributes: attributes, Time: p.Time, Value: p.Value * factor}
		if metric.Shape != otlp.Gauge {
			point.Start = before(p.Time, s.Interval)
		}
		if err := out.points.Add(o.resource, o.scope, metric, point); err != nil {
			return err
		}
	}
	return nil
}

// perSecond is the unit of a rate.
func perSecond(unit string) string {
	if unit == "" {
		return "1/s"
	}
	return unit + "/s"
}

// keepable tells whether a point can be kept; else it counts why not.
func keepable(out *Output, time uint64, value float64) bool {
	switch {
	case time == 0:
		out.Dropped[NoTime]++
	case math.IsNaN(value) || math.IsInf(value, 0):
		out.Dropped[NotFinite]++
	default:
		return true
	}
	return false
}

// before is the begin of an interval in seconds that ends at a time; zero, for not known, without one.
func before(time uint64, interval int64) uint64 {
	if interval <= 0 || uint64(interval) >= time/1e9 { //nolint:gosec // positive
		return 0
	}
	return time - uint64(interval)*1e9
}

// sketchInterval is the interval of sketches, which do not say theirs, in seconds: so it is in every Agent.
const sketchInterval = 10

// Sketches maps sketches.
func (m *Mapper) Sketches(out *Output, all []decode.SketchSeries, from From) error {
	for i := range all {
		s := &all[i]
		o, ok := m.origin(out, &decode.Series{
			Metric: s.Metric, Unit: s.Unit, Tags: s.Tags, Resources: s.Resources, Source: s.Source, NoIndex: s.NoIndex,
		}, from, len(s.Points))
		if !ok {
			continue
		}
		interval := s.Interval
		if interval <= 0 {
			interval = sketchInterval
		}
		for _, p := range s.Points {
			if !keepable(out, p.Time, p.Sum) {
				continue
			}
			err := exponential(out, o, s.Metric, s.Unit, before(p.Time, interval), p.Time, sketch(p))
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Distributions maps raw values.
func (m *Mapper) Distributions(out *Output, all []decode.Distribution, from From) error {
	for i := range all {
		d := &all[i]
		series := &decode.Series{Metric: d.Metric, Tags: d.Tags}
		if d.Host != "" {
			series.Resources = []decode.Resource{{Type: "host", Name: d.Host}}
		}
		o, ok := m.origin(out, series, from, len(d.Points))
		if !ok {
			continue
		}
		for _, p := range d.Points {
			if !keepable(out, p.Time, 0) {
				continue
			}
			v := NewValues()
			for _, x := range p.Values {
				if keepable(out, p.Time, x) {
					v.Add(x, 1)
				}
			}
			if err := exponential(out, o, d.Metric, "", before(p.Time, sketchInterval), p.Time, v.Value()); err != nil {
				return err
			}
		}
	}
	return nil
}

func exponential(out *Output, o origin, name, unitName string, start, time uint64, v *otlp.ExponentialValue) error {
	if v.Count == 0 {
		out.Dropped[StrayPoint]++
		return nil
	}
	metric := otlp.Metric{Name: name, Unit: unit(unitName), Shape: otlp.Exponential}
	return out.points.Add(o.resource, o.scope, metric, otlp.Point{
		Attributes: otlp.PointAttributes(otlp.Exponential, o.attributes), Start: start, Time: time, Exponential: v,
	})
}

// Histograms maps distributions that are in OpenTelemetry's buckets already.
func (m *Mapper) Histograms(out *Output, all []decode.HistogramSeries, from From) error {
	for i := range all {
		s := &all[i]
		o, ok := m.origin(out, &s.Series, from, len(s.Points))
		if !ok {
			continue
		}
		metric := otlp.Metric{Name: s.Metric, Unit: unit(s.Unit), Shape: otlp.Histogram}
		if s.Exponential {
			metric.Shape = otlp.Exponential
		}
		for _, p := range s.Points {
			if !keepable(out, p.Time, 0) {
				continue
			}
			point := otlp.Point{Attributes: otlp.PointAttributes(metric.Shape, o.attributes), Start: before(p.Time, s.Interval), Time: p.Time}
			summary := otlp.Summary{Sum: p.Sum, Min: p.Min, Max: p.Max, HasSum: p.HasSum, HasMin: p.HasMin, HasMax: p.HasMax}
			if s.Exponential {
				point.Exponential = &otlp.ExponentialValue{
					Scale: p.Scale, Zero: p.Zero, ZeroThreshold: p.ZeroThreshold, Count: p.Count, Summary: summary,
					Positive: otlp.Buckets{Offset: p.PositiveOffset, Counts: p.PositiveCounts},
					Negative: otlp.Buckets{Offset: p.NegativeOffset, Counts: p.NegativeCounts},
				}
			} else {
				point.Histogram = &otlp.HistogramValue{Bounds: p.Bounds, Counts: p.Counts, Count: p.Count, Summary: summary}
			}
			if err := out.points.Add(o.resource, o.scope, metric, point); err != nil {
				return err
			}
		}
	}
	return nil
}
