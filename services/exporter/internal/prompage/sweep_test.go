// SPDX-License-Identifier: Apache-2.0

package prompage

import (
	"strconv"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pmetric"
)

func counterRequest(t *testing.T, service, name string) []byte {
	t.Helper()
	m := pmetric.NewMetrics()
	rm := m.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", service)
	metric := rm.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	metric.SetName(name)
	s := metric.SetEmptySum()
	s.SetIsMonotonic(true)
	s.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	s.DataPoints().AppendEmpty().SetIntValue(1)
	b, err := new(pmetric.ProtoMarshaler).MarshalMetrics(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStaleSeriesAreForgotten(t *testing.T) {
	t.Parallel()
	a := newAccumulator(Options{Expiration: time.Minute, MaxSeries: 10})
	at := time.Unix(1_800_000_000, 0)
	add := func(id, service, name string, after time.Duration) {
		if left, err := a.Add(id, counterRequest(t, service, name), at.Add(after)); left != nil || err != nil {
			t.Fatal(left, err)
		}
	}
	add("1", "one", "a", 0)
	add("2", "one", "b", 0)
	add("3", "two", "a", 30*time.Second)
	a.sweep(at.Add(59 * time.Second))
	if a.Series() != 5 {
		t.Errorf("%d series, want 5: three counters and two resources", a.Series())
	}
	a.sweep(at.Add(time.Minute))
	if a.Series() != 2 || len(a.families) != 1 || len(a.owners) != 2 || len(a.resources) != 1 {
		t.Errorf("%d series, %d families, %d names, %d resources; want 2, 1, 2, 1", a.Series(), len(a.families), len(a.owners), len(a.resources))
	}
	a.sweep(at.Add(2 * time.Minute))
	if a.Series() != 0 || len(a.families) != 0 || len(a.owners) != 0 || len(a.resources) != 0 {
		t.Errorf("%d series, %d families, %d names, %d resources are left", a.Series(), len(a.families), len(a.owners), len(a.resources))
	}
}

func TestRecentForgetsTheOldest(t *testing.T) {
	t.Parallel()
	r := newRecent()
	for i := range recentIDs + 1 {
		r.add(strconv.Itoa(i))
	}
	if r.has("0") || !r.has("1") || !r.has(strconv.Itoa(recentIDs)) {
		t.Errorf("has first %v, second %v, last %v; want the first forgotten", r.has("0"), r.has("1"), r.has(strconv.Itoa(recentIDs)))
	}
	if len(r.seen) != recentIDs || len(r.ring) != recentIDs {
		t.Errorf("%d and %d are kept, want %d", len(r.seen), len(r.ring), recentIDs)
	}
}
