// SPDX-License-Identifier: Apache-2.0

package cumulative

import (
	"fmt"
	"runtime"
	"testing"

	"go.opentelemetry.io/collector/pdata/pmetric"
)

// histograms is the batch of a busy service: 50 histograms of 15 bounds with the usual attributes.
func histograms(t testing.TB, service, from int) []byte {
	t.Helper()
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", fmt.Sprint("s", service))
	m := rm.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName("http.server.request.duration")
	m.SetUnit("s")
	h := m.SetEmptyHistogram()
	h.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	for i := range 50 {
		p := h.DataPoints().AppendEmpty()
		p.Attributes().PutStr("http.request.method", "GET")
		p.Attributes().PutInt("http.response.status_code", 200)
		p.Attributes().PutStr("http.route", fmt.Sprintf("/route/%d", from+i))
		p.Attributes().PutStr("url.scheme", "http")
		p.Attributes().PutStr("server.address", "shop")
		p.Attributes().PutInt("server.port", 8080)
		p.ExplicitBounds().FromRaw([]float64{0, .005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10})
		p.BucketCounts().FromRaw(make([]uint64, 16))
	}
	b, err := new(pmetric.ProtoMarshaler).MarshalMetrics(md)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// BenchmarkApply adds to series that are all known.
func BenchmarkApply(b *testing.B) {
	a := New(options())
	a.Own(0, 0)
	request := histograms(b, 0, 0)
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		n++
		if _, _, err := a.Apply(Message{Sequence: n, Time: epoch, Data: request}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n)/50, "ns/point")
}

// BenchmarkMemory makes ten thousand histograms, as many as the default limit allows.
func BenchmarkMemory(b *testing.B) {
	var before, after runtime.MemStats
	for b.Loop() {
		a := New(options())
		a.Own(0, 0)
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range 200 {
			left, _, err := a.Apply(Message{Sequence: uint64(i + 1), Time: epoch, Data: histograms(b, i/100, i%100*50)})
			if err != nil || left != nil {
				b.Fatal(left, err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		kept := 0
		for i := range Parts {
			data, err := a.Pack(0, i)
			if err != nil {
				b.Fatal(err)
			}
			kept += len(data)
		}
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/10_000, "B/histogram")
		b.ReportMetric(float64(kept)/10_000, "keptB/histogram")
		runtime.KeepAlive(a)
	}
}
