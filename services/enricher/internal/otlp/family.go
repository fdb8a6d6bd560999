// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/busbar/busbar/services/enricher/internal/signals"
)

// Fields of Metric, and of the data and the points of its types.
const (
	metricName        = tag(1<<3 | wireBytes)
	metricDescription = tag(2<<3 | wireBytes)
	metricUnit        = tag(3<<3 | wireBytes)
	metricGauge       = tag(5<<3 | wireBytes)
	metricSum         = tag(7<<3 | wireBytes)
	metricHistogram   = tag(9<<3 | wireBytes)
	metricExponential = tag(10<<3 | wireBytes)

	dataPoints       = tag(1<<3 | wireBytes)
	dataTemporality  = tag(2<<3 | wireVarint)
	dataMonotonic    = tag(3<<3 | wireVarint)
	temporalityDelta = 1

	pointStart = tag(2<<3 | wireFixed64)
	pointTime  = tag(3<<3 | wireFixed64)

	numberInt        = tag(6<<3 | wireFixed64)
	numberAttributes = tag(7<<3 | wireBytes)

	histogramCount      = tag(4<<3 | wireFixed64)
	histogramSum        = tag(5<<3 | wireFixed64)
	histogramBuckets    = tag(6<<3 | wireBytes)
	histogramBounds     = tag(7<<3 | wireBytes)
	histogramExemplars  = tag(8<<3 | wireBytes)
	histogramAttributes = tag(9<<3 | wireBytes)

	exponentialScale      = tag(6<<3 | wireVarint)
	exponentialZero       = tag(7<<3 | wireFixed64)
	exponentialPositive   = tag(8<<3 | wireBytes)
	exponentialExemplars  = tag(11<<3 | wireBytes)
	exponentialAttributes = tag(1<<3 | wireBytes)
	bucketsOffset         = tag(1<<3 | wireVarint)
	bucketsCounts         = tag(2<<3 | wireBytes)

	exemplarTime  = tag(2<<3 | wireFixed64)
	exemplarValue = tag(3<<3 | wireFixed64)
	exemplarSpan  = tag(4<<3 | wireBytes)
	exemplarTrace = tag(5<<3 | wireBytes)
)

// family is a set of metrics that are had together.
type family struct {
	name string // part of a message
	on   func(*signals.Settings) bool
	// append appends the metrics of a block that have data, as Metric in fields of the scope, and returns the number of data points.
	append func(e *Encoder, b []byte, from *block) (out []byte, points int)
}

func families() []family { return []family{requests(), spanMetrics(), serviceGraph(), info()} }

// view is a family that is made of cells.
type view struct {
	// attributes appends those of a cell, each as field t, and tells whether the family counts it.
	attributes  func(b []byte, t tag, p *process, c *cell) ([]byte, bool)
	instruments []instrument
}

// instrument is one metric of a family: a histogram, or else a sum.
type instrument struct {
	name, unit, description string

	on           func(*signals.Settings, *cell) bool // nil: always
	distribution func(*cell) *distribution
	seconds      bool // the distribution is of durations, and has exemplars
	sum          func(*cell) uint64
}

// series is what cells that look the same in a family counted together.
type series struct {
	attributes []byte // each a field of a HistogramDataPoint
	cell       *cell
}

func (v *view) append(e *Encoder, b []byte, from *block) (out []byte, points int) {
	e.collect(v, from)
	settings := from.process.group.settings
	for i := range v.instruments {
		in, n := &v.instruments[i], 0
		e.points = e.points[:0]
		for j := range e.series {
			s := &e.series[j]
			if in.on != nil && !in.on(settings, s.cell) || in.distribution != nil && in.distribution(s.cell).count == 0 {
				continue
			}
			// The interval runs from just before the first end of an exchange to the last one. Exchanges come in the order in
			// which they ended, so the intervals of a process follow one another and never overlap.
			var start int
			e.points, start = open(e.points, dataPoints)
			e.points = appendFixed64(e.points, pointStart, from.first-1)
			e.points = appendFixed64(e.points, pointTime, from.last)
			e.points = shut(e.appendValue(e.points, in, s, settings), start)
			n++
		}
		if n > 0 {
			b = e.appendMetric(b, in, settings)
			points += n
		}
	}
	return b, points
}

// collect finds the series of a view among the cells of a block, in the order of their attributes.
func (e *Encoder) collect(v *view, from *block) {
	e.series, e.attributes = e.series[:0], e.attributes[:0]
	for _, c := range from.order {
		start, ok := len(e.attributes), true
		if c.overflow {
			e.attributes = appendTrue(e.attributes, histogramAttributes, "otel.metric.overflow")
		} else {
			e.attributes, ok = v.attributes(e.attributes, histogramAttributes, from.process, c)
		}
		if ok {
			e.series = append(e.series, series{e.attributes[start:len(e.attributes):len(e.attributes)], c})
		}
	}
	slices.SortFunc(e.series, func(a, b series) int {
		return cmp.Or(cmp.Compare(a.cell.side, b.cell.side), bytes.Compare(a.attributes, b.attributes))
	})
	kept := e.series[:0]
	for _, s := range e.series {
		last := len(kept) - 1
		if last < 0 || kept[last].cell.side != s.cell.side || !bytes.Equal(kept[last].attributes, s.attributes) {
			kept = append(kept, s)
			continue
		}
		if merged := &kept[last]; !merged.cell.view {
			view := e.newCell(&merged.cell.key, from.process.group.settings)
			view.view = true
			view.merge(merged.cell)
			merged.cell = view
		}
		kept[last].cell.merge(s.cell)
	}
	e.series = kept
}

// appendValue appends the value and the attributes of a point.
func (e *Encoder) appendValue(b []byte, in *instrument, s *series, settings *signals.Settings) []byte {
	if in.sum != nil {
		b = appendFixed64(b, numberInt, in.sum(s.cell))
		return appendAs(b, numberAttributes, s.attributes)
	}
	d, bounds := in.distribution(s.cell), settings.Sizes
	sum := float64(d.sum)
	if in.seconds {
		bounds, sum = settings.Durations, sum/1e9
	}
	b = appendFixed64(b, histogramCount, d.count)
	b = appendDouble(b, histogramSum, sum)
	if settings.Exponential {
		b = e.appendScaled(b, &d.scaled)
		if in.seconds {
			b = s.cell.exemplar.append(b, exponentialExemplars)
		}
		return appendAs(b, exponentialAttributes, s.attributes)
	}
	b = appendHead(b, histogramBuckets, 8+len(bounds.Packed))
	for _, n := range d.buckets[:len(bounds.Upper)+1] {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = appendField(b, histogramBounds, bounds.Packed)
	if in.seconds {
		b = s.cell.exemplar.append(b, histogramExemplars)
	}
	return append(b, s.attributes...)
}

// appendScaled appends the buckets of an exponential histogram.
func (e *Encoder) appendScaled(b []byte, s *scaled) []byte {
	if s.zero > 0 {
		b = appendFixed64(b, exponentialZero, s.zero)
	}
	if len(s.counts) == 0 {
		return b
	}
	b = appendVarint(b, exponentialScale, zigzag(s.scale))
	e.counts = e.counts[:0]
	for _, n := range s.counts {
		e.counts = binary.AppendUvarint(e.counts, n)
	}
	offset := zigzag(s.first)
	b = appendHead(b, exponentialPositive, 1+varintSize(offset)+fieldSize(len(e.counts)))
	b = appendVarint(b, bucketsOffset, offset)
	return appendField(b, bucketsCounts, e.counts)
}

// append appends the exemplar as field t, if there is one.
func (x *exemplar) append(b []byte, t tag) []byte {
	if x.random == 0 {
		return b
	}
	const size = 9 + 9 + 1 + 1 + 8 + 1 + 1 + 16
	b = appendHead(b, t, size)
	b = appendFixed64(b, exemplarTime, x.at)
	b = appendDouble(b, exemplarValue, float64(x.value)/1e9)
	b = appendField(b, exemplarSpan, x.span[:])
	return appendField(b, exemplarTrace, x.trace[:])
}

// appendMetric appends the Metric that has the points at hand.
func (e *Encoder) appendMetric(b []byte, in *instrument, settings *signals.Settings) []byte {
	data, extra := metricSum, 4 // bytes of temporality and monotonic
	if in.distribution != nil {
		data, extra = metricHistogram, 2
		if settings.Exponential {
			data = metricExponential
		}
	}
	size := len(e.points) + extra
	all := fieldSize(len(in.name)) + fieldSize(len(in.description)) + fieldSize(size)
	if in.unit != "" {
		all += fieldSize(len(in.unit))
	}
	b = appendHead(b, scopeRecords, all)
	b = appendField(b, metricName, in.name)
	b = appendField(b, metricDescription, in.description)
	if in.unit != "" {
		b = appendField(b, metricUnit, in.unit)
	}
	b = appendHead(b, data, size)
	b = append(b, e.points...)
	b = appendVarint(b, dataTemporality, temporalityDelta)
	if in.distribution == nil {
		b = appendVarint(b, dataMonotonic, 1)
	}
	return b
}
