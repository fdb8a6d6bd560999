// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// bounds are those of a bucket.
func bounds(at, scale int) (lower, upper float64) {
	base := math.Ldexp(1, -scale)
	return math.Exp2(float64(at) * base), math.Exp2(float64(at+1) * base)
}

// Every value is in its bucket, whatever the scale, and there are no more buckets than allowed.
func TestScaled(t *testing.T) {
	t.Parallel()
	for name, values := range map[string][]float64{
		"one":       {0.02},
		"equal":     {1, 1, 1},
		"powers":    {0.25, 0.5, 1, 2, 4, 8},
		"near":      {1, math.Nextafter(1, 2), math.Nextafter(1, 0)},
		"durations": {1e-9, 3e-7, 0.001, 0.02, 0.5, 12, 3e7},
		"sizes":     {0, 1, 100, 1 << 20, 1 << 62},
		"zeros":     {0, 0},
		"extremes":  {math.SmallestNonzeroFloat64, math.MaxFloat64},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s scaled
			for _, v := range values {
				s.add(v)
			}
			check(t, &s, values)
		})
	}
}

func check(t *testing.T, s *scaled, values []float64) {
	t.Helper()
	want := make([]uint64, len(s.counts))
	zero := uint64(0)
	for _, v := range values {
		if v == 0 {
			zero++
			continue
		}
		found := false
		for i := range s.counts {
			lower, upper := bounds(s.first+i, s.scale)
			const slack = 1e-12 // of Exp2
			if v > lower*(1-slack) && v <= upper*(1+slack) && !found {
				want[i]++
				found = true
			}
		}
		if !found {
			t.Errorf("%v is in no bucket of scale %d from %d to %d", v, s.scale, s.first, s.first+len(s.counts)-1)
		}
	}
	total := uint64(0)
	for _, n := range s.counts {
		total += n
	}
	if s.zero != zero || total != uint64(len(values))-zero || len(s.counts) > maxBuckets {
		t.Errorf("%d of %d values, %d zeros, %d buckets", total, len(values), s.zero, len(s.counts))
	}
	if s.scale < 10 { // above, neighbouring buckets are closer than what Exp2 can tell apart at their bounds
		if d := cmp.Diff(want, s.counts, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("buckets of scale %d (-want +got):\n%s", s.scale, d)
		}
	}
}

// In whatever order values come, and however they are merged, the histogram is the same.
func TestScaledMerge(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // a test
	for range 200 {
		var values []float64
		for range 1 + r.IntN(50) {
			values = append(values, math.Exp(r.NormFloat64()*float64(r.IntN(8))))
		}
		var whole, merged scaled
		parts := make([]scaled, 4)
		for _, v := range values {
			whole.add(v)
			parts[r.IntN(4)].add(v)
		}
		for _, i := range r.Perm(4) {
			merged.merge(&parts[i])
		}
		check(t, &whole, values)
		if d := cmp.Diff(whole, merged, cmp.AllowUnexported(scaled{})); d != "" {
			t.Fatalf("merged (-want +got):\n%s", d)
		}
	}
}
