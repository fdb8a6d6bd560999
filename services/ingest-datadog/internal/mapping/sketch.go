// SPDX-License-Identifier: Apache-2.0

package mapping

import (
	"math"

	"github.com/busbar/busbar/services/ingest-datadog/internal/decode"
	"github.com/busbar/busbar/services/ingest-datadog/internal/otlp"
)

const (
	// scale of the exponential histograms that are made: a bucket is 1.1 % wide, which is less than a bin of a sketch.
	scale = 6
	// perOctave is how many buckets there are between a value and its double.
	perOctave = 1 << scale

	sketchGamma = 1.015625 // factor between two bins of a sketch of metrics
	sketchBias  = 1338     // key of the bin around 1
	sketchKeys  = math.MaxInt16
)

// sketch maps a sketch of metrics: the bin of a key is centred on gamma^(key-bias), half a step to each side.
func sketch(p decode.SketchPoint) *otlp.ExponentialValue {
	v := &otlp.ExponentialValue{Scale: scale}
	step := math.Log2(sketchGamma) * perOctave
	for i, key := range p.Keys {
		n := p.Counts[i]
		key = max(-sketchKeys, min(key, sketchKeys))
		switch {
		case key == 0:
			v.Zero += n
		case key > 0:
			spread(&v.Positive, (float64(key)-sketchBias-0.5)*step, step, n)
		default:
			spread(&v.Negative, (-float64(key)-sketchBias-0.5)*step, step, n)
		}
	}
	v.Count = v.Total()
	v.Summary = otlp.Summary{Sum: p.Sum, Min: p.Min, Max: p.Max, HasSum: true, HasMin: true, HasMax: true}
	return v
}

// spread shares n values between the buckets that a bin overlaps, in proportion and in whole numbers, so that none is lost. The bin begins
// at from, in buckets, and is so wide.
func spread(to *otlp.Buckets, from, width float64, n uint64) {
	given := uint64(0)
	for index := math.Floor(from); given < n; index++ {
		share := min((index+1-from)/width, 1)
		upTo := min(uint64(math.Round(share*float64(n))), n)
		if share == 1 {
			upTo = n
		}
		to.Add(int32(index), upTo-given) //nolint:gosec // of numbers that a float64 can be: 17 bits
		given = upTo
	}
}

// Values collects values into an exponential histogram.
type Values struct {
	v     otlp.ExponentialValue
	carry float64 // of weights that are no whole numbers
}

// NewValues returns an empty collection.
func NewValues() *Values {
	return &Values{v: otlp.ExponentialValue{Scale: scale, Summary: otlp.Summary{
		Min: math.Inf(1), Max: math.Inf(-1), HasSum: true, HasMin: true, HasMax: true,
	}}}
}

// Add adds a finite value that stands for weight values, at least one.
func (c *Values) Add(x, weight float64) {
	whole := math.Floor(c.carry + weight)
	c.carry += weight - whole
	n := uint64(whole)
	switch {
	case x > 0:
		c.v.Positive.Add(bucket(x), n)
	case x < 0:
		c.v.Negative.Add(bucket(-x), n)
	default:
		c.v.Zero += n
	}
	c.v.Count += n
	c.v.Sum += x * whole
	c.v.Min, c.v.Max = min(c.v.Min, x), max(c.v.Max, x)
}

// Value returns what was collected.
func (c *Values) Value() *otlp.ExponentialValue { return &c.v }

// bucket is the index of the bucket of a positive number: buckets hold their upper bounds.
func bucket(x float64) int32 {
	fraction, exponent := math.Frexp(x)
	if fraction == 0.5 { // a power of two, exactly
		return int32((exponent-1)*perOctave - 1) //nolint:gosec // 17 bits
	}
	return int32(math.Ceil(math.Log2(x)*perOctave)) - 1
}
