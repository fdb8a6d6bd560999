// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// ExponentialValue is a distribution in buckets that grow by a factor of 2^(2^-Scale).
type ExponentialValue struct {
	Scale              int32
	Zero               uint64 // values that are zero, or up to ZeroThreshold away from it
	ZeroThreshold      float64
	Positive, Negative Buckets
	Count              uint64
	Summary
}

// Buckets are counts of neighbouring buckets: Counts[i] is of values in (base^(Offset+i), base^(Offset+i+1)].
type Buckets struct {
	Offset int32
	Counts []uint64
}

// maxBuckets bounds the buckets of one side. What is further down is counted in the lowest bucket that there is.
const maxBuckets = 4096

// Add adds n to the bucket of an index.
func (b *Buckets) Add(index int32, n uint64) {
	if n == 0 {
		return
	}
	if len(b.Counts) == 0 {
		b.Offset = index
	}
	switch at := int(index) - int(b.Offset); {
	case at >= maxBuckets: // the lowest buckets become one
		b.raise(int(index) - maxBuckets + 1)
		b.grow(maxBuckets)
		b.Counts[maxBuckets-1] += n
	case at >= 0:
		b.grow(at + 1)
		b.Counts[at] += n
	case len(b.Counts)-at > maxBuckets:
		b.lower(len(b.Counts) - maxBuckets)
		b.Counts[0] += n
	default:
		b.lower(at)
		b.Counts[0] += n
	}
}

func (b *Buckets) grow(to int) {
	for len(b.Counts) < to {
		b.Counts = append(b.Counts, 0)
	}
}

// lower moves the offset down by -by.
func (b *Buckets) lower(by int) {
	if by >= 0 {
		return
	}
	b.Counts = append(make([]uint64, -by, len(b.Counts)-by), b.Counts...)
	b.Offset += int32(by) //nolint:gosec // at most maxBuckets
}

// raise moves the offset up, and what is below it into the lowest bucket.
func (b *Buckets) raise(to int) {
	below, by := uint64(0), min(to-int(b.Offset), len(b.Counts))
	for _, n := range b.Counts[:by] {
		below += n
	}
	b.Counts, b.Offset = b.Counts[by:], int32(to) //nolint:gosec // between two indexes
	b.grow(1)
	b.Counts[0] += below
}

// Merge adds another distribution; it is false if their scales differ.
func (v *ExponentialValue) Merge(o *ExponentialValue) bool {
	if v.Scale != o.Scale || v.ZeroThreshold != o.ZeroThreshold {
		return false
	}
	for i, n := range o.Positive.Counts {
		v.Positive.Add(o.Positive.Offset+int32(i), n) //nolint:gosec // at most maxBuckets
	}
	for i, n := range o.Negative.Counts {
		v.Negative.Add(o.Negative.Offset+int32(i), n) //nolint:gosec // at most maxBuckets
	}
	v.Zero, v.Count = v.Zero+o.Zero, v.Count+o.Count
	v.Summary.merge(o.Summary)
	return true
}

// Total is the number of values in all buckets.
func (v *ExponentialValue) Total() uint64 {
	n := v.Zero
	for _, side := range [][]uint64{v.Positive.Counts, v.Negative.Counts} {
		for _, c := range side {
			n += c
		}
	}
	return n
}

func (v *ExponentialValue) encode(b []byte) []byte {
	b = appendFixed64(b, 4, v.Count)
	if v.HasSum {
		b = appendDouble(b, 5, v.Sum)
	}
	b = appendVarint(b, 6, protowire.EncodeZigZag(int64(v.Scale)))
	b = appendFixed64(b, 7, v.Zero)
	b = v.Positive.encode(b, 8)
	b = v.Negative.encode(b, 9)
	b = v.extremes(b, 12, 13)
	if v.ZeroThreshold != 0 {
		b = appendDouble(b, 14, v.ZeroThreshold)
	}
	return b
}

func (b Buckets) encode(to []byte, field protowire.Number) []byte {
	if len(b.Counts) == 0 {
		return to
	}
	size := 0
	for _, n := range b.Counts {
		size += protowire.SizeVarint(n)
	}
	inner := appendVarint(nil, 1, protowire.EncodeZigZag(int64(b.Offset)))
	inner = head(inner, 2, size)
	for _, n := range b.Counts {
		inner = protowire.AppendVarint(inner, n)
	}
	return appendBytes(to, field, inner)
}

func floatBits(x float64) uint64 { return math.Float64bits(x) }
