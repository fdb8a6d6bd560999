// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"math"

	"github.com/busbar/busbar/services/enricher/internal/signals"
)

// nanosecond is the unit in which durations are measured, in seconds.
const nanosecond = 1e-9

// distribution is a histogram in the making. Its sum is that of whole numbers, and so exact.
type distribution struct {
	count, sum  uint64
	exponential bool
	buckets     [maxBounds + 1]uint64 // explicit
	scaled      scaled                // exponential
}

// maxBounds is the most that package signals allows.
const maxBounds = 24

func (d *distribution) reset(exponential bool) {
	*d = distribution{exponential: exponential, scaled: scaled{counts: d.scaled.counts[:0]}}
}

// add counts a value, which is in units.
func (d *distribution) add(v uint64, bounds *signals.Bounds, unit float64) {
	d.count++
	d.sum = min(d.sum, math.MaxUint64-v) + v
	if d.exponential {
		d.scaled.add(float64(v) * unit)
		return
	}
	d.buckets[bounds.Bucket(v)]++
}

// merge adds what another distribution of the same buckets counted.
func (d *distribution) merge(o *distribution) {
	d.count += o.count
	d.sum = min(d.sum, math.MaxUint64-o.sum) + o.sum
	for i, n := range o.buckets {
		d.buckets[i] += n
	}
	d.scaled.merge(&o.scaled)
}

// scaled is an exponential histogram: bucket i is of the values above base^i and up to base^(i+1), where base is 2^(2^-scale).
// The scale is as fine as 160 buckets allow for what was added, and equal values give equal histograms in whatever order.
type scaled struct {
	scale  int
	first  int // index of counts[0]
	counts []uint64
	zero   uint64
}

const (
	maxScale   = 20
	maxBuckets = 160
)

// add counts a value, which is finite and not negative.
func (s *scaled) add(v float64) {
	if v == 0 {
		s.zero++
		return
	}
	if len(s.counts) == 0 {
		s.scale = maxScale
	}
	s.put(index(v, maxScale), maxScale, 1)
}

// merge adds what another histogram counted.
func (s *scaled) merge(o *scaled) {
	s.zero += o.zero
	if len(o.counts) == 0 {
		return
	}
	if len(s.counts) == 0 {
		s.scale = o.scale
	}
	s.coarsen(s.scale - o.scale)
	for i, n := range o.counts {
		if n > 0 {
			s.put(o.first+i, o.scale, n)
		}
	}
}

// put counts in the bucket that has an index in a scale that is at least as fine.
func (s *scaled) put(at, scale int, n uint64) {
	at >>= scale - s.scale
	if len(s.counts) == 0 {
		s.first, s.counts = at, append(s.counts, n)
		return
	}
	low, high, by := min(at, s.first), max(at, s.first+len(s.counts)-1), 0
	for ; high>>by-low>>by >= maxBuckets; by++ { //nolint:revive // the loop is its head
	}
	s.coarsen(by)
	at >>= by
	for ; at < s.first; s.first-- {
		s.counts = append(s.counts, 0)
		copy(s.counts[1:], s.counts)
		s.counts[0] = 0
	}
	for at >= s.first+len(s.counts) {
		s.counts = append(s.counts, 0)
	}
	s.counts[at-s.first] += n
}

// coarsen joins 2^by buckets to one.
func (s *scaled) coarsen(by int) {
	if by <= 0 {
		return
	}
	first := s.first >> by
	for i, n := range s.counts {
		s.counts[i] = 0
		s.counts[(s.first+i)>>by-first] += n
	}
	if len(s.counts) > 0 {
		s.counts = s.counts[:(s.first+len(s.counts)-1)>>by-first+1]
	}
	s.first, s.scale = first, s.scale-by
}

// index is the index of the bucket of v in a scale above 0. Bounds of buckets are exact at powers of 2, and else as exact as logarithms are.
func index(v float64, scale int) int {
	fraction, exponent := math.Frexp(v)
	if fraction == 0.5 { // a power of 2 is the upper bound of its bucket
		return (exponent-1)<<scale - 1
	}
	last := exponent<<scale - 1
	return min(last, max((exponent-1)<<scale, int(math.Ceil(math.Log2(fraction)*float64(int(1)<<scale)))-1+exponent<<scale))
}
