// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// Shape is the type of a metric. Sums and histograms are deltas.
type Shape uint8

// The shapes.
const (
	Gauge   Shape = iota
	Sum           // not monotonic
	Counter       // a monotonic sum
	Histogram
	Exponential
)

// Metric names a metric.
type Metric struct {
	Name, Unit string
	Shape      Shape
}

// Point is a value of a series. Times are nanoseconds since the epoch; Start zero is not known.
type Point struct {
	Attributes  []byte // made with PointAttributes
	Start, Time uint64
	Value       float64           // of gauges and sums
	Histogram   *HistogramValue   // of histograms
	Exponential *ExponentialValue // of exponential histograms
}

// HistogramValue is a distribution in buckets: Counts has one more than Bounds, or both are empty.
type HistogramValue struct {
	Bounds []float64
	Counts []uint64
	Count  uint64
	Summary
}

// Summary is what may be known of the values besides their distribution.
type Summary struct {
	Sum, Min, Max          float64
	HasSum, HasMin, HasMax bool
}

// PointAttributes encodes attributes of a point of a metric of that shape. They must be sorted, without double keys: equal
// bytes are the same series.
func PointAttributes(s Shape, attributes []Pair) (b []byte) {
	field := numberAttributes
	switch s {
	case Histogram:
		field = histogramAttributes
	case Exponential:
		field = exponentialAttrs
	case Gauge, Sum, Counter:
	}
	for _, a := range attributes {
		b = Attribute(b, field, a.Key, a.Value)
	}
	return b
}

// Metrics collects points and puts those of a metric together; of a series and a time there is one point: sums and
// histograms are added, of a gauge the last one counts. The zero value is ready for use.
type Metrics struct {
	Max  int // bytes of attributes and histograms; zero: no limit
	size int

	metrics map[metricKey]*metricPoints
	order   []*metricPoints
}

type metricKey struct {
	resource, scope string
	Metric
}

type metricPoints struct {
	resource Resource
	scope    Scope
	Metric
	points []Point
	index  map[pointKey]int
}

type pointKey struct {
	attributes  string
	start, time uint64
}

// Add adds a point.
func (m *Metrics) Add(r Resource, s Scope, metric Metric, p Point) error {
	if m.size += p.size(); m.Max > 0 && m.size > m.Max {
		return ErrTooMuch
	}
	key := metricKey{string(r.data), string(s.data), metric}
	of := m.metrics[key]
	if of == nil {
		if m.metrics == nil {
			m.metrics = map[metricKey]*metricPoints{}
		}
		of = &metricPoints{resource: r, scope: s, Metric: metric, index: map[pointKey]int{}}
		m.metrics[key], m.order = of, append(m.order, of)
	}
	k := pointKey{string(p.Attributes), p.Start, p.Time}
	if at, ok := of.index[k]; !ok || !of.points[at].add(metric.Shape, p) {
		of.index[k] = len(of.points)
		of.points = append(of.points, p)
	}
	return nil
}

// pointSize is what a point holds besides what it refers to, in bytes.
const pointSize = 96

func (p *Point) size() int {
	n := pointSize + len(p.Attributes)
	if p.Histogram != nil {
		n += 8 * (len(p.Histogram.Bounds) + len(p.Histogram.Counts))
	}
	if p.Exponential != nil {
		n += 8 * (len(p.Exponential.Positive.Counts) + len(p.Exponential.Negative.Counts))
	}
	return n
}

// add adds a point of the same series and time; it is false if they cannot be added.
func (p *Point) add(s Shape, other Point) bool {
	switch s {
	case Gauge:
		p.Value = other.Value
	case Sum, Counter:
		p.Value += other.Value
	case Exponential:
		return p.Exponential.Merge(other.Exponential)
	case Histogram:
		return p.Histogram.merge(other.Histogram)
	}
	return true
}

func (h *HistogramValue) merge(o *HistogramValue) bool {
	if len(h.Bounds) != len(o.Bounds) || len(h.Counts) != len(o.Counts) {
		return false
	}
	for i, bound := range h.Bounds {
		if o.Bounds[i] != bound {
			return false
		}
	}
	for i, n := range o.Counts {
		h.Counts[i] += n
	}
	h.Count += o.Count
	h.Summary.merge(o.Summary)
	return true
}

func (s *Summary) merge(o Summary) {
	s.Sum += o.Sum
	s.Min, s.Max = min(s.Min, o.Min), max(s.Max, o.Max)
	s.HasSum, s.HasMin, s.HasMax = s.HasSum && o.HasSum, s.HasMin && o.HasMin, s.HasMax && o.HasMax
}

// maxPoints is how many points one Metric of a message has at most, so that messages can be cut between them.
const maxPoints = 256

// Into encodes what was added into a Batch. The Metrics are empty afterwards.
func (m *Metrics) Into(b *Batch) error {
	for _, of := range m.order {
		for points := of.points; len(points) > 0; {
			n := min(maxPoints, len(points))
			data := of.Metric.encode(points[:n])
			if err := b.Add(of.resource, of.scope, data, n); err != nil {
				return err
			}
			points = points[n:]
		}
	}
	m.metrics, m.order, m.size = nil, nil, 0
	return nil
}

// encode encodes a Metric.
func (m Metric) encode(points []Point) []byte {
	var data []byte
	for _, p := range points {
		data = appendBytes(data, 1, p.encode(m.Shape))
	}
	if m.Shape != Gauge {
		data = appendVarint(data, 2, 1) // delta
	}
	if m.Shape == Counter {
		data = appendVarint(data, 3, 1) // monotonic
	}
	b := appendText(make([]byte, 0, len(data)+len(m.Name)+len(m.Unit)+16), 1, m.Name)
	if m.Unit != "" {
		b = appendText(b, 3, m.Unit)
	}
	return appendBytes(b, m.Shape.field(), data)
}

// field is the number of the field of a Metric that holds its points.
func (s Shape) field() protowire.Number {
	switch s {
	case Gauge:
		return 5
	case Histogram:
		return 9
	case Exponential:
		return 10
	default:
		return 7
	}
}

func (p Point) encode(s Shape) []byte {
	b := append(make([]byte, 0, len(p.Attributes)+64), p.Attributes...)
	b = appendFixed64(b, 2, p.Start)
	b = appendFixed64(b, 3, p.Time)
	switch s {
	case Gauge, Sum, Counter:
		return appendDouble(b, 4, p.Value)
	case Histogram:
		return p.Histogram.encode(b)
	default:
		return p.Exponential.encode(b)
	}
}

func (h *HistogramValue) encode(b []byte) []byte {
	b = appendFixed64(b, 4, h.Count)
	if h.HasSum {
		b = appendDouble(b, 5, h.Sum)
	}
	if len(h.Counts) > 0 {
		b = head(b, 6, 8*len(h.Counts))
		for _, n := range h.Counts {
			b = protowire.AppendFixed64(b, n)
		}
	}
	if len(h.Bounds) > 0 {
		b = head(b, 7, 8*len(h.Bounds))
		for _, x := range h.Bounds {
			b = protowire.AppendFixed64(b, floatBits(x))
		}
	}
	return h.extremes(b, 11, 12)
}

func (s Summary) extremes(b []byte, low, high protowire.Number) []byte {
	if s.HasMin {
		b = appendDouble(b, low, s.Min)
	}
	if s.HasMax {
		b = appendDouble(b, high, s.Max)
	}
	return b
}
