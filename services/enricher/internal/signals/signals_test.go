// SPDX-License-Identifier: Apache-2.0

package signals_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/services/enricher/internal/signals"
)

func TestFor(t *testing.T) {
	t.Parallel()
	book, problems := signals.NewBook([]*configv1.Telemetry{
		{Services: []string{"cart", "shop-*"}, Namespaces: []string{"eu"}, Metrics: []configv1.Telemetry_Metric{configv1.Telemetry_METRIC_SERVICE_GRAPH}},
		{Services: []string{"shop-*"}, Compat: "beyla-v2", Metrics: []configv1.Telemetry_Metric{configv1.Telemetry_METRIC_SPANS}},
	})
	if len(problems[0])+len(problems[1]) > 0 {
		t.Fatal(problems)
	}
	for _, tc := range []struct {
		namespace, service string
		want               signals.Metrics
		source             string
	}{
		{"eu", "shop-web", signals.Metrics{Graph: true}, "busbar"},
		{"us", "shop-web", signals.Metrics{Spans: true, SpansLegacy: true}, "beyla"},
		{"us", "cart", signals.Metrics{Requests: true}, "busbar"},
		{"", "", signals.Metrics{Requests: true}, "busbar"},
	} {
		got := book.For(tc.namespace, tc.service)
		if d := cmp.Diff(tc.want, got.Metrics); d != "" || got.Source != tc.source {
			t.Errorf("%s/%s, source %s (-want +got):\n%s", tc.namespace, tc.service, got.Source, d)
		}
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	var many []float64
	for i := range 25 {
		many = append(many, float64(i))
	}
	_, problems := signals.NewBook([]*configv1.Telemetry{{
		Services: []string{""}, Namespaces: []string{"a", ""}, MaxSeries: 1e6, MaxLength: 1e6, Compat: "beyla",
		Include: []string{"http.route", "url.full"}, Exclude: []string{"url.path", "color"},
		Histograms: &configv1.Histograms{Durations: many, Sizes: []float64{1, 1, math.NaN(), -1, math.Inf(1)}},
	}})
	var paths []string
	for _, p := range problems[0] {
		if p.Text == "" {
			t.Errorf("%s: nothing is said", p.Path)
		}
		paths = append(paths, p.Path)
	}
	want := []string{
		"histograms.durations", "histograms.sizes[1]", "histograms.sizes[2]", "histograms.sizes[3]", "histograms.sizes[4]", "maxSeries", "maxLength",
		"services[0]", "namespaces[1]", "include[1]", "exclude[1]", "compat",
	}
	if d := cmp.Diff(want, paths); d != "" {
		t.Errorf("problems (-want +got):\n%s", d)
	}
}

// A value is in the first bucket whose bound it does not exceed, to the nanosecond.
func TestBucket(t *testing.T) {
	t.Parallel()
	bounds := signals.Default().Durations
	for v, want := range map[uint64]int{0: 0, 1: 1, 5_000_000: 1, 5_000_001: 2, 75_000_000: 5, 10_000_000_000: 14, 10_000_000_001: 15, math.MaxUint64: 15} {
		if got := bounds.Bucket(v); got != want {
			t.Errorf("%d ns are in bucket %d, want %d", v, got, want)
		}
	}
}
