// SPDX-License-Identifier: Apache-2.0

package cumulative

import (
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// epoch is an arbitrary time: states are told the time of each message.
var epoch = time.Unix(1_800_000_000, 0)

func options() Options {
	return Options{Expiration: DefaultExpiration, Window: DefaultWindow, MaxSeries: DefaultMaxSeries, Queue: true}
}

// delta is a request with one delta of a counter and of a histogram of three buckets that has as many values.
func delta(t testing.TB, service, series string, at time.Time, n int) []byte {
	t.Helper()
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", service)
	metrics := rm.ScopeMetrics().AppendEmpty().Metrics()
	m := metrics.AppendEmpty()
	m.SetName("calls")
	sum := m.SetEmptySum()
	sum.SetIsMonotonic(true)
	sum.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	p := sum.DataPoints().AppendEmpty()
	p.SetIntValue(int64(n))
	p.SetTimestamp(pcommon.NewTimestampFromTime(at))
	p.Attributes().PutStr("series", series)
	m = metrics.AppendEmpty()
	m.SetName("took")
	h := m.SetEmptyHistogram()
	h.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	q := h.DataPoints().AppendEmpty()
	q.SetTimestamp(pcommon.NewTimestampFromTime(at))
	q.Attributes().PutStr("series", series)
	q.SetCount(uint64(n))
	q.SetSum(float64(n))
	q.ExplicitBounds().FromRaw([]float64{1, 2})
	q.BucketCounts().FromRaw([]uint64{uint64(n), 0, 0})
	b, err := new(pmetric.ProtoMarshaler).MarshalMetrics(md)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sums are the values of counters, and the counts of histograms below the name with a slash, by name and attributes.
func sums(a *State) map[string]float64 {
	out := make(map[string]float64)
	a.Look(func(m *Metric, all iter.Seq[*Series]) {
		for s := range all {
			name := s.Resource.Identity.Get("service.name") + " " + s.Attributes.Get("series")
			if m.Kind == Histogram {
				out["/"+name] += float64(s.Counts[0])
			} else {
				out[name] += s.Value
			}
		}
	}, func(*Resource) {})
	return out
}

func apply(t testing.TB, a *State, m Message) Left {
	t.Helper()
	left, _, err := a.Apply(m)
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// move hands a shard over through what is kept of it.
func move(t testing.TB, from, to *State, shard int) {
	t.Helper()
	var parts [Parts][]byte
	for i := range parts {
		data, err := from.Pack(shard, i)
		if err != nil {
			t.Fatal(err)
		}
		parts[i] = data
	}
	if err := to.Restore(shard, from.Position(shard), parts); err != nil {
		t.Fatal(err)
	}
}

func TestEveryMessageCountsOnce(t *testing.T) {
	t.Parallel()
	a := New(options())
	a.Own(3, 0)
	m := Message{Shard: 3, Sequence: 7, ID: "x", Time: epoch, Data: delta(t, "shop", "a", epoch, 5)}
	apply(t, a, m)
	apply(t, a, m) // read again
	m.Sequence = 9
	apply(t, a, m) // stored twice
	m.Sequence, m.ID, m.Shard = 10, "y", 4
	apply(t, a, m) // of a shard that is not owned
	want := map[string]float64{"shop a": 5, "/shop a": 5}
	if d := cmp.Diff(want, sums(a)); d != "" {
		t.Errorf("sums (-want +got):\n%s", d)
	}
	b := New(options())
	move(t, a, b, 3)
	for _, sequence := range []uint64{7, 9, 11} {
		m.Sequence, m.ID, m.Shard = sequence, "x", 3
		apply(t, b, m)
	}
	if d := cmp.Diff(want, sums(b)); d != "" {
		t.Errorf("sums after a hand-over (-want +got):\n%s", d)
	}
}

// A part that was kept after the shard was, as when an owner is killed in between, is not added to again.
func TestPartsThatAreAhead(t *testing.T) {
	t.Parallel()
	a, b := New(options()), New(options())
	a.Own(0, 0)
	message := func(i int) Message {
		return Message{Sequence: uint64(i), Time: epoch, Data: delta(t, "shop", fmt.Sprint(i%50), epoch, 1)}
	}
	for i := 1; i <= 500; i++ {
		apply(t, a, message(i))
	}
	at := a.Position(0)
	var parts [Parts][]byte
	for i := range parts {
		parts[i], _ = a.Pack(0, i)
	}
	for i := 501; i <= 1000; i++ {
		apply(t, a, message(i))
	}
	for i := range Parts / 2 {
		parts[i], _ = a.Pack(0, i)
	}
	if err := b.Restore(0, at, parts); err != nil {
		t.Fatal(err)
	}
	for i := 400; i <= 1000; i++ {
		apply(t, b, message(i))
	}
	if d := cmp.Diff(sums(a), sums(b)); d != "" {
		t.Errorf("sums (-want +got):\n%s", d)
	}
}

func TestLateDeltas(t *testing.T) {
	t.Parallel()
	a := New(options())
	a.Own(0, 0)
	sequence := uint64(0)
	add := func(at, stored time.Duration) Left {
		sequence++
		return apply(t, a, Message{Sequence: sequence, Time: epoch.Add(stored), Data: delta(t, "shop", "a", epoch.Add(at), 1)})
	}
	for _, tc := range []struct {
		what       string
		at, stored time.Duration
		late       bool
	}{
		{"the first", 0, 0, false},
		{"within the window", -DefaultWindow, time.Second, false},
		{"before it", -DefaultWindow - 2*time.Second, time.Second, true},
		{"from the future", 100 * time.Hour, 2 * time.Second, false},
		{"after one from the future", 3 * time.Second, 3 * time.Second, false},
		{"stored by a clock that went back", -time.Hour, -time.Hour, false},
	} {
		left := add(tc.at, tc.stored)
		want := Left(nil)
		if tc.late {
			want = Left{Late: 2}
		}
		if d := cmp.Diff(want, left); d != "" {
			t.Errorf("%s: left out (-want +got):\n%s", tc.what, d)
		}
	}
	if d := cmp.Diff(map[string]float64{"shop a": 5, "/shop a": 5}, sums(a)); d != "" {
		t.Errorf("sums (-want +got):\n%s", d)
	}
}

// A series that comes back after its time begins anew, whether it was swept meanwhile or not.
func TestStaleSeriesBeginAnew(t *testing.T) {
	t.Parallel()
	for _, swept := range []bool{false, true} {
		a := New(options())
		a.Own(0, 0)
		a.Own(1, 0)
		apply(t, a, Message{Sequence: 1, Time: epoch, Data: delta(t, "shop", "a", epoch, 5)})
		apply(t, a, Message{Sequence: 2, Time: epoch.Add(DefaultExpiration / 2), Data: delta(t, "shop", "b", epoch, 5)})
		later := epoch.Add(DefaultExpiration)
		apply(t, a, Message{Shard: 1, Sequence: 3, Time: later, Data: delta(t, "other", "a", later, 1)})
		if swept {
			a.Sweep()
			if n := len(a.Dirty(0)); n == 0 {
				t.Error("what is forgotten stays kept")
			}
		}
		apply(t, a, Message{Sequence: 4, Time: later, Data: delta(t, "shop", "a", later, 1)})
		want := map[string]float64{"shop a": 1, "/shop a": 1, "shop b": 5, "/shop b": 5, "other a": 1, "/other a": 1}
		if d := cmp.Diff(want, sums(a)); d != "" {
			t.Errorf("sums, swept %v (-want +got):\n%s", swept, d)
		}
	}
	a := New(options())
	a.Own(0, 0)
	apply(t, a, Message{Sequence: 1, Time: epoch, Data: delta(t, "shop", "a", epoch, 5)})
	a.Own(1, 0)
	a.Sweep() // it is not known what time it is for shard 1
	a.Disown(0)
	if n := a.Series(); n != 0 {
		t.Errorf("%d series are left", n)
	}
}

func TestServiceHasItsLimit(t *testing.T) {
	t.Parallel()
	o := options()
	o.MaxSeries = 1 << 30
	a := New(o)
	a.Own(0, 0)
	left := 0
	for i := range 40_000 {
		left += apply(t, a, Message{Sequence: uint64(i + 1), Time: epoch, Data: delta(t, "shop", fmt.Sprintf("%0200d", i), epoch, 1)})[Overflow]
	}
	if left == 0 {
		t.Error("nothing was left out")
	}
	for i := range Parts {
		data, err := a.Pack(0, i)
		if err != nil || len(data) > maxPart+maxDescriptions {
			t.Errorf("part %d has %d bytes: %v", i, len(data), err)
		}
	}
}

// sample is one that a back end gets.
type sample struct {
	series string
	stamp  pcommon.Timestamp
	value  float64
}

func samples(md pmetric.Metrics) (out []sample) {
	for _, rm := range md.ResourceMetrics().All() {
		service, _ := rm.Resource().Attributes().Get("service.name")
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				if m.Type() == pmetric.MetricTypeSum {
					for _, p := range m.Sum().DataPoints().All() {
						series, _ := p.Attributes().Get("series")
						out = append(out, sample{service.Str() + " " + series.Str(), p.Timestamp(), p.DoubleValue()})
					}
				} else {
					for _, p := range m.Histogram().DataPoints().All() {
						series, _ := p.Attributes().Get("series")
						out = append(out, sample{"/" + service.Str() + " " + series.Str(), p.Timestamp(), float64(p.Count())})
					}
				}
			}
		}
	}
	return out
}

// TestOwnersAgree plays random histories of a shard: deltas in any order within the window, ids that come twice, owners that
// are killed, stand still and wake up. Each of them has the same value at the same time, no value ever falls, and the end is the
// plain sum.
func TestOwnersAgree(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			stream, want := history(t, random)
			seen := make(map[string]map[pcommon.Timestamp]float64)
			type owner struct {
				*State
				next int
			}
			fresh := New(options())
			fresh.Own(0, 0)
			all := []*owner{{fresh, 0}}
			var kept [Parts][]byte
			at := fresh.Position(0)
			for done := false; !done; {
				o := all[random.IntN(len(all))] // the last one owns the shard; the others do not know yet
				for range random.IntN(30) {
					if o.next < len(stream) {
						apply(t, o.State, stream[o.next])
						o.next++
					}
				}
				if random.IntN(3) > 0 {
					md, _ := o.Flush(random.IntN(2) == 0)
					for _, s := range samples(md) {
						if seen[s.series] == nil {
							seen[s.series] = make(map[pcommon.Timestamp]float64)
						}
						if v, ok := seen[s.series][s.stamp]; ok && v != s.value {
							t.Fatalf("%s was %v and is %v at the same time", s.series, v, s.value)
						}
						seen[s.series][s.stamp] = s.value
					}
				}
				last := all[len(all)-1]
				switch random.IntN(8) {
				case 0, 1: // a checkpoint, cut short or not
					cut := Parts
					if random.IntN(3) == 0 {
						cut = random.IntN(Parts)
					}
					for _, i := range last.Dirty(0) {
						if i < cut {
							kept[i], _ = last.Pack(0, i)
							last.Kept(0, i)
						}
					}
					if len(last.Dirty(0)) == 0 {
						at = last.Position(0)
					}
				case 2: // another owner
					other := New(options())
					if err := other.Restore(0, at, kept); err != nil {
						t.Fatal(err)
					}
					from := slices.IndexFunc(stream, func(m Message) bool { return m.Sequence > at.GetPosition() })
					if from < 0 {
						from = len(stream)
					}
					if all = append(all, &owner{other, from}); len(all) > 3 {
						all = all[1:]
					}
				}
				done = all[len(all)-1].next == len(stream)
			}
			if d := cmp.Diff(want, sums(all[len(all)-1].State)); d != "" {
				t.Errorf("sums (-want +got):\n%s", d)
			}
			for series, values := range seen {
				last := -1.0
				for _, stamp := range slices.Sorted(maps.Keys(values)) {
					if values[stamp] < last {
						t.Fatalf("%s fell from %v to %v", series, last, values[stamp])
					}
					last = values[stamp]
				}
			}
		})
	}
}

// history is a stream of deltas, and their sums.
func history(t testing.TB, random *rand.Rand) (stream []Message, want map[string]float64) {
	want = make(map[string]float64)
	sequence, stored := uint64(0), epoch
	for i := range 300 {
		sequence += 1 + random.Uint64N(5) // the rest belongs to other shards
		stored = stored.Add(time.Duration(random.Int64N(int64(time.Second))))
		if len(stream) > 0 && random.IntN(10) == 0 { // stored twice
			again := stream[max(0, len(stream)-1-random.IntN(100))]
			again.Sequence, again.Time = sequence, stored
			stream = append(stream, again)
			continue
		}
		series, n := fmt.Sprint(random.IntN(40)), 1+random.IntN(9)
		at := stored.Add(-time.Duration(random.Int64N(int64(DefaultWindow / 2))))
		stream = append(stream, Message{Sequence: sequence, ID: fmt.Sprint(i), Time: stored, Data: delta(t, "shop", series, at, n)})
		want["shop "+series] += float64(n)
		want["/shop "+series] += float64(n)
	}
	return stream, want
}
