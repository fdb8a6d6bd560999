// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	configv1 "github.com/busbar/busbar/contract/config/v1"
)

// What reading a batch allocates is the one word in which an exchange keeps its protocol; the rest is per message and service.
func TestAllocations(t *testing.T) {
	w, err := newWorkload(10)
	if err != nil {
		t.Fatal(err)
	}
	work := enricher(&configv1.Telemetry{})
	every := func() {
		for _, data := range w.data {
			if _, err := work(data); err != nil {
				t.Fatal(err)
			}
		}
	}
	every() // what is remembered is learned
	if n := testing.AllocsPerRun(5, every) / float64(len(w.data)*exchanges); n > 3 {
		t.Errorf("%.2f allocations for an exchange, at most 3 are expected", n)
	}
}

func BenchmarkEnricher(b *testing.B) {
	w, err := newWorkload(10)
	if err != nil {
		b.Fatal(err)
	}
	work, i := enricher(&configv1.Telemetry{}), 0
	b.ReportAllocs()
	for b.Loop() {
		if _, err := work(w.data[i%len(w.data)]); err != nil {
			b.Fatal(err)
		}
		i++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/exchanges, "ns/exchange")
}
