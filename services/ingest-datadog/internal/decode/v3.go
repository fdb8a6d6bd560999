// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/DataDog/agent-payload/v5/metrics/intake_v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// HistogramSeries is distributions in OpenTelemetry's buckets, of one metric and one set of tags.
type HistogramSeries struct {
	Series
	Exponential bool
	Points      []HistogramPoint
}

// HistogramPoint is a distribution at a time in nanoseconds since the epoch. An explicit one has Bounds and Counts, an exponential
// one the rest.
type HistogramPoint struct {
	Time                           uint64
	Count                          uint64
	Sum, Min, Max                  float64
	HasSum, HasMin, HasMax         bool
	Bounds                         []float64
	Counts                         []uint64
	Scale                          int32
	Zero                           uint64
	ZeroThreshold                  float64
	PositiveOffset, NegativeOffset int32
	PositiveCounts, NegativeCounts []uint64
}

// V3 is what a body of /api/intake/metrics/v3 holds.
type V3 struct {
	Series     []Series
	Sketches   []SketchSeries
	Histograms []HistogramSeries
}

// MetricsV3 reads /api/intake/metrics/v3/series and /sketches: columns of all series, and dictionaries that they refer to.
func MetricsV3(body []byte) (out V3, err error) {
	defer guard(&err)
	var p intake_v3.Payload
	if err := proto.Unmarshal(body, &p); err != nil {
		return V3{}, err
	}
	if p.MetricData == nil {
		return V3{}, nil
	}
	r := &columns{MetricData: p.MetricData, metadata: p.Metadata}
	if err := r.dictionaries(); err != nil {
		return V3{}, err
	}
	for i := range r.Types {
		if err := r.series(i, &out); err != nil {
			return V3{}, fmt.Errorf("series %d: %w", i, err)
		}
	}
	return out, nil
}

// columns reads series from left to right.
type columns struct {
	*intake_v3.MetricData
	metadata *intake_v3.Metadata

	names, tags, resourceTexts, sources, units []string
	tagsets                                    [][]string
	resources                                  [][]Resource

	// where the delta-encoded columns are
	name, tagset, resource, source, unit, time int64
	atUnit, atTime, atInt, atF32, atF64        int
	atUint, atBins, atKey, atCount, atFlag     int
}

var (
	errColumn = errors.New("column ends early")
	errRef    = errors.New("reference to nothing")
)

func (r *columns) dictionaries() (err error) {
	for _, d := range []struct {
		name string
		from []byte
		to   *[]string
	}{
		{"names", r.DictNameStr, &r.names}, {"tags", r.DictTagStr, &r.tags}, {"resources", r.DictResourceStr, &r.resourceTexts},
		{"sources", r.DictSourceTypeName, &r.sources}, {"units", r.DictUnitStr, &r.units},
	} {
		if *d.to, err = texts(d.from); err != nil {
			return fmt.Errorf("dictionary of %s: %w", d.name, err)
		}
	}
	if err := r.readTagsets(); err != nil {
		return fmt.Errorf("tag sets: %w", err)
	}
	if err := r.readResources(); err != nil {
		return fmt.Errorf("resources: %w", err)
	}
	return nil
}

// texts reads strings with their lengths.
func texts(b []byte) (out []string, err error) {
	for len(b) > 0 {
		s, n := protowire.ConsumeString(b)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		out, b = append(out, s), b[n:]
	}
	return out, nil
}

// lookup returns entry number ref, counted from one; zero is no entry.
func lookup[T any](from []T, ref int64) (v T, err error) {
	if ref == 0 {
		return v, nil
	}
	if ref < 0 || ref > int64(len(from)) {
		return v, errRef
	}
	return from[ref-1], nil
}

// maxTags bounds what sets of tags that contain each other unfold to.
const maxTags = 1 << 20

// readTagsets reads sets of tags: a length and that many differences of references; a negative one stands for an earlier set.
func (r *columns) readTagsets() error {
	in, total := r.DictTagsets, 0
	for len(in) > 0 {
		n := in[0]
		in = in[1:]
		if n < 0 || n > int64(len(in)) {
			return errColumn
		}
		var set []string
		ref := int64(0)
		for _, delta := range in[:n] {
			ref += delta
			if ref < 0 {
				earlier, err := lookup(r.tagsets, -ref)
				if err != nil {
					return err
				}
				set = append(set, earlier...)
			} else if tag, err := lookup(r.tags, ref); err != nil {
				return err
			} else if ref > 0 {
				set = append(set, tag)
			}
			if total+len(set) > maxTags {
				return errors.New("too many tags")
			}
		}
		total += len(set)
		r.tagsets, in = append(r.tagsets, set), in[n:]
	}
	return nil
}

func (r *columns) readResources() error {
	at := 0
	for _, n := range r.DictResourceLen {
		if n < 0 || n > int64(len(r.DictResourceType)-at) || n > int64(len(r.DictResourceName)-at) {
			return errColumn
		}
		var set []Resource
		var kind, name int64
		for range n {
			kind, name = kind+r.DictResourceType[at], name+r.DictResourceName[at]
			at++
			k, err := lookup(r.resourceTexts, kind)
			if err != nil {
				return err
			}
			v, err := lookup(r.resourceTexts, name)
			if err != nil {
				return err
			}
			set = append(set, Resource{k, v})
		}
		r.resources = append(r.resources, set)
	}
	return nil
}

// Bits of a type.
const (
	kindMask    = 0x0f
	valueMask   = 0xf0
	flagNoIndex = 0x100
	flagUnit    = 0x200

	kindSketch      = 4
	kindExplicit    = 6
	kindExponential = 7
)

// step moves a column's place by the difference at i; a column that is not there stays at nothing.
func step(at *int64, column []int64, i int) error {
	if len(column) == 0 {
		return nil
	}
	if i >= len(column) {
		return errColumn
	}
	*at += column[i]
	return nil
}

// head reads what all kinds of series have.
func (r *columns) head(i int) (s Series, err error) {
	err = errors.Join(step(&r.name, r.NameRefs, i), step(&r.tagset, r.TagsetRefs, i), step(&r.resource, r.ResourcesRefs, i),
		step(&r.source, r.SourceTypeNameRefs, i))
	if err != nil {
		return s, err
	}
	if r.Types[i]&flagUnit != 0 {
		if err := step(&r.unit, r.UnitRefs, r.atUnit); err != nil {
			return s, err
		}
		r.atUnit++
		if s.Unit, err = lookup(r.units, r.unit); err != nil {
			return s, err
		}
	}
	if s.Metric, err = lookup(r.names, r.name); err != nil {
		return s, fmt.Errorf("name: %w", err)
	}
	if s.Tags, err = lookup(r.tagsets, r.tagset); err != nil {
		return s, fmt.Errorf("tag set: %w", err)
	}
	if s.Resources, err = lookup(r.resources, r.resource); err != nil {
		return s, fmt.Errorf("resources: %w", err)
	}
	if s.Source, err = lookup(r.sources, r.source); err != nil {
		return s, fmt.Errorf("source: %w", err)
	}
	r.common(&s)
	if i < len(r.Intervals) && r.Intervals[i] < math.MaxInt32 {
		s.Interval = int64(r.Intervals[i]) //nolint:gosec // small
	}
	s.NoIndex = r.Types[i]&flagNoIndex != 0
	return s, nil
}

// common adds tags and resources that all series of the payload share.
func (r *columns) common(s *Series) {
	if m := r.metadata; m != nil {
		if len(m.Tags) > 0 {
			s.Tags = append(append([]string(nil), s.Tags...), m.Tags...)
		}
		for i := 0; i+1 < len(m.Resources); i += 2 {
			s.Resources = append(slices.Clip(s.Resources), Resource{m.Resources[i], m.Resources[i+1]})
		}
	}
}

func (r *columns) series(i int, out *V3) error {
	s, err := r.head(i)
	if err != nil {
		return err
	}
	n := uint64(0)
	if i < len(r.NumPoints) {
		n = r.NumPoints[i]
	}
	if n > uint64(len(r.Timestamps)-r.atTime) { //nolint:gosec // never beyond
		return errColumn
	}
	value := r.Types[i] & valueMask
	switch r.Types[i] & kindMask {
	case kindSketch:
		one := SketchSeries{
			Metric: s.Metric, Unit: s.Unit, Tags: s.Tags, Resources: s.Resources, Source: s.Source,
			NoIndex: s.NoIndex, Interval: s.Interval,
		}
		for range n {
			p, err := r.sketch(value)
			if err != nil {
				return err
			}
			one.Points = append(one.Points, p)
		}
		out.Sketches = append(out.Sketches, one)
	case kindExplicit, kindExponential:
		one := HistogramSeries{Series: s, Exponential: r.Types[i]&kindMask == kindExponential}
		for range n {
			p, err := r.histogram(value, one.Exponential)
			if err != nil {
				return err
			}
			one.Points = append(one.Points, p)
		}
		out.Histograms = append(out.Histograms, one)
	default:
		s.Kind = kind(int64(r.Types[i] & kindMask)) //nolint:gosec // four bits
		for range n {
			v, err := r.number(value)
			if err != nil {
				return err
			}
			s.Points = append(s.Points, Point{r.timestamp(), v})
		}
		out.Series = append(out.Series, s)
	}
	return nil
}

// timestamp reads a time; there is one, as series has checked.
func (r *columns) timestamp() uint64 {
	r.time += r.Timestamps[r.atTime]
	r.atTime++
	return seconds(r.time)
}

// next reads the next value of a column.
func next[T any](column []T, at *int) (v T, err error) {
	if *at >= len(column) {
		return v, errColumn
	}
	v = column[*at]
	*at++
	return v, nil
}

// number reads a value of the column that the type names.
func (r *columns) number(kind uint64) (float64, error) {
	switch kind {
	case 0x00:
		return 0, nil
	case 0x10:
		v, err := next(r.ValsSint64, &r.atInt)
		return float64(v), err
	case 0x20:
		v, err := next(r.ValsFloat32, &r.atF32)
		return float64(v), err
	case 0x30:
		return next(r.ValsFloat64, &r.atF64)
	}
	return 0, fmt.Errorf("value type 0x%x", kind)
}

// take reads the next n values of a column.
func take[T any](column []T, at *int, n uint64) ([]T, error) {
	if n > uint64(len(column)-*at) { //nolint:gosec // never beyond
		return nil, errColumn
	}
	v := column[*at : *at+int(n)] //nolint:gosec // within the column
	*at += int(n)                 //nolint:gosec // within the column
	return v, nil
}

func (r *columns) sketch(value uint64) (p SketchPoint, err error) {
	p.Time = r.timestamp()
	for _, to := range []*float64{&p.Sum, &p.Min, &p.Max} {
		if *to, err = r.number(value); err != nil {
			return p, err
		}
	}
	count, err := next(r.ValsSint64, &r.atInt)
	if err != nil {
		return p, err
	}
	p.Count = uint64(count) //nolint:gosec // the format reinterprets it
	n, err := next(r.NumBins, &r.atBins)
	if err != nil {
		return p, err
	}
	deltas, err := take(r.BinKeys, &r.atKey, n)
	if err != nil {
		return p, err
	}
	if p.Counts, err = take(r.BinCnts, &r.atCount, n); err != nil {
		return p, err
	}
	p.Keys = make([]int32, len(deltas))
	key := int32(0)
	for i, d := range deltas {
		key += d
		p.Keys[i] = key
	}
	return p, nil
}

// Flags of a point.
const (
	hasMin = 1
	hasMax = 2
	hasSum = 4
)

func (r *columns) histogram(value uint64, exponential bool) (p HistogramPoint, err error) {
	p.Time = r.timestamp()
	flags, err := next(r.PointFlags, &r.atFlag)
	if err != nil {
		return p, err
	}
	p.HasSum, p.HasMin, p.HasMax = flags&hasSum != 0, flags&hasMin != 0, flags&hasMax != 0
	if p.Count, err = next(r.ValsUint64, &r.atUint); err != nil {
		return p, err
	}
	if exponential {
		err = r.exponentialHead(&p)
	}
	if err != nil {
		return p, err
	}
	for _, v := range []struct {
		has bool
		to  *float64
	}{{p.HasSum, &p.Sum}, {p.HasMin, &p.Min}, {p.HasMax, &p.Max}} {
		if v.has {
			if *v.to, err = r.number(value); err != nil {
				return p, err
			}
		}
	}
	if exponential {
		return p, r.exponentialBins(&p, value)
	}
	return p, r.explicitBins(&p, value)
}

func (r *columns) exponentialHead(p *HistogramPoint) (err error) {
	if p.Zero, err = next(r.ValsUint64, &r.atUint); err != nil {
		return err
	}
	for _, to := range []*int32{&p.Scale, &p.PositiveOffset, &p.NegativeOffset} {
		v, err := next(r.ValsSint64, &r.atInt)
		if err != nil {
			return err
		}
		if v < math.MinInt32 || v > math.MaxInt32 {
			return errors.New("scale or offset has more than 32 bits")
		}
		*to = int32(v)
	}
	return nil
}

func (r *columns) exponentialBins(p *HistogramPoint, value uint64) (err error) {
	if p.ZeroThreshold, err = r.number(value); err != nil {
		return err
	}
	positive, err := next(r.NumBins, &r.atBins)
	if err != nil {
		return err
	}
	negative, err := next(r.NumBins, &r.atBins)
	if err != nil {
		return err
	}
	if p.PositiveCounts, err = take(r.BinCnts, &r.atCount, positive); err != nil {
		return err
	}
	p.NegativeCounts, err = take(r.BinCnts, &r.atCount, negative)
	return err
}

func (r *columns) explicitBins(p *HistogramPoint, value uint64) error {
	n, err := next(r.NumBins, &r.atBins)
	if err != nil || n == 0 {
		return err
	}
	if p.Counts, err = take(r.BinCnts, &r.atCount, n); err != nil {
		return err
	}
	for range n - 1 {
		b, err := r.number(value)
		if err != nil {
			return err
		}
		p.Bounds = append(p.Bounds, b)
	}
	return nil
}
