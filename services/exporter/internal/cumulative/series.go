// SPDX-License-Identifier: Apache-2.0

package cumulative

import (
	"time"

	"github.com/cespare/xxhash/v2"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Kind is what a metric measures.
type Kind uint8

// The kinds; numbers as in busbar.state.v1.Kind.
const (
	Gauge     Kind = 1
	Counter   Kind = 2
	Histogram Kind = 3
	Summary   Kind = 4
	UpDown    Kind = 5 // a sum that can fall
)

// MetricID is what tells metrics apart.
type MetricID struct {
	Name, Unit string
	Kind       Kind
}

// Metric is what all series of one name have in common.
type Metric struct {
	MetricID
	Description string

	refused bool // by the view
	number  uint32
	hash    uint64
	series  int       // that are live
	order   []*Series // as they came; those that are gone leave at the next sweep
	bounds  []float64 // of the histogram seen last: series share them
}

func newMetric(id MetricID, description string, number uint32) *Metric {
	h := xxhash.New()
	_, _ = h.WriteString(id.Name)
	_, _ = h.Write([]byte{0, byte(id.Kind)})
	_, _ = h.WriteString(id.Unit)
	return &Metric{MetricID: id, Description: description, number: number, hash: h.Sum64()}
}

// Resource is what produced series.
type Resource struct {
	Identity   Attributes // what tells it from others
	Attributes Attributes // all that it was last seen with

	shard   *shard
	number  uint32
	hash    uint64
	touched int64 // Unix time in nanoseconds, by the clock of the stream
	series  int   // that are live
}

// Series is one set of attributes of a metric of a resource. Which values count depends on the kind. It changes while its State
// is unlocked.
type Series struct {
	Metric     *Metric
	Resource   *Resource
	Attributes Attributes

	Value     float64 // of gauge and sums; the sum of histogram and summary
	Count     uint64
	Bounds    []float64 // of histogram buckets but the last; of a summary, its quantiles
	Counts    []uint64  // of histogram buckets, one more than bounds
	Quantiles []float64 // values at the quantiles

	key     string
	part    *part
	shown   bool  // it is live
	total   bool  // it is told totals; otherwise it adds up deltas
	queued  bool  // for the next Flush
	fresh   bool  // no Flush has had it since it began
	ended   bool  // its source says so
	bounds  int   // that it was admitted with
	size    int   // bytes it takes of its part
	touched int64 // when the stream stored what was last added, Unix time in nanoseconds
	start   pcommon.Timestamp
	stamp   pcommon.Timestamp // of its value; goes up with each change
	zero    pcommon.Timestamp // while it is fresh: just before its first value
}

// cost is what a series takes of Options.MaxSeries.
func cost(k Kind, bounds int) int {
	switch k {
	case Histogram:
		return bounds + 3 // the bucket +Inf, the sum and the count
	case Summary:
		return bounds + 2
	default:
		return 1
	}
}

// begin makes the series a new one, which nothing was added to.
func (s *Series) begin(start pcommon.Timestamp) {
	s.Value, s.Count, s.Bounds, s.Counts, s.Quantiles = 0, 0, nil, nil, nil
	s.start, s.fresh = start, true
	s.zero = s.stamp
	s.stamp += step
}

// add moves the time of the series to that of a delta. It goes up with each delta, late ones too, so that every value that the
// series had is a sample of its own.
func (s *Series) add(at pcommon.Timestamp) {
	if s.stamp == 0 {
		s.zero = at - min(at, step)
	} else {
		at = max(at, s.stamp+step)
	}
	s.stamp = at
}

// step is the least distance of two samples: back ends count milliseconds.
const step = pcommon.Timestamp(time.Millisecond)
