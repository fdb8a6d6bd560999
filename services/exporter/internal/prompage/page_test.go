// SPDX-License-Identifier: Apache-2.0

package prompage_test

import (
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/busbar/busbar/services/exporter/internal/cumulative"
	"github.com/busbar/busbar/services/exporter/internal/prompage"
)

func TestDeltaHistogramsAddUp(t *testing.T) {
	t.Parallel()
	p := page(t, prompage.Options{})
	route := map[string]any{"http.route": "/a", "http.request.method": "GET", "http.response.status_code": 200}
	for i, counts := range [][]uint64{{1, 2, 0}, {0, 1, 4}} {
		m, ms := service(shop)
		duration(ms, route, 1.5, counts...)
		if left := add(t, p, fmt.Sprint(i), m); left != nil {
			t.Errorf("left out: %v", left)
		}
	}
	labels := func(le string) string {
		return `{http_request_method="GET",http_response_status_code="200",http_route="/a",instance="node:1",job="prod/shop"` +
			le + `,service_name="shop",service_namespace="prod"}`
	}
	bucket := func(le string) string {
		return strings.TrimSuffix(labels(""), "}") + `,le="` + le + `"}`
	}
	want(t, scrape(t, p), info,
		"http_server_request_duration_seconds_bucket"+bucket("0.1")+" 1",
		"http_server_request_duration_seconds_bucket"+bucket("1")+" 4",
		"http_server_request_duration_seconds_bucket"+bucket("+Inf")+" 8",
		"http_server_request_duration_seconds_sum"+labels("")+" 3",
		"http_server_request_duration_seconds_count"+labels("")+" 8",
	)
}

func TestRequestDeliveredAgainChangesNothing(t *testing.T) {
	t.Parallel()
	p := page(t, prompage.Options{})
	for _, id := range []string{"a", "b", "a", "b", "b"} {
		m, ms := service(shop)
		number(ms, "calls", "", delta, true, 1, nil)
		add(t, p, id, m)
	}
	want(t, scrape(t, p), info, `calls_total{`+from+`} 2`)
}

func TestTypesAndTemporalities(t *testing.T) {
	t.Parallel()
	p := page(t, prompage.Options{Namespace: "x", ConstLabels: map[string]string{"dc": "one"}})
	send := func(id string, stamp pcommon.Timestamp, gaugeValue, total, upDown float64) {
		m, ms := service(map[string]any{"service.name": "shop"})
		number(ms, "temperature", "Cel", none, false, gaugeValue, nil).SetTimestamp(stamp)
		number(ms, "cpu.time", "s", totals, true, total, nil).SetTimestamp(stamp)
		number(ms, "queue.size", "{items}", delta, false, upDown, nil).SetTimestamp(stamp)
		s := ms.AppendEmpty()
		s.SetName("latency")
		sp := s.SetEmptySummary().DataPoints().AppendEmpty()
		sp.SetTimestamp(stamp)
		sp.SetCount(uint64(total))
		sp.SetSum(total)
		q := sp.QuantileValues().AppendEmpty()
		q.SetQuantile(0.5)
		q.SetValue(gaugeValue)
		if left := add(t, p, id, m); left != nil {
			t.Errorf("left out: %v", left)
		}
	}
	send("1", 10, 20, 100, 3)
	send("3", 30, 22, 300, -1)
	send("2", 20, 21, 200, 4) // late: it moves only what adds up
	labels := `dc="one",job="shop",service_name="shop"`
	want(t, scrape(t, p),
		`target_info{`+labels+`} 1`,
		`x_temperature_celsius{`+labels+`} 22`,
		`x_cpu_time_seconds_total{`+labels+`} 300`,
		`x_queue_size{`+labels+`} 6`,
		`x_latency{`+labels+`,quantile="0.5"} 22`,
		`x_latency_sum{`+labels+`} 300`,
		`x_latency_count{`+labels+`} 300`,
	)
}

func TestNamesThatCollide(t *testing.T) {
	t.Parallel()
	p := page(t, prompage.Options{ConstLabels: map[string]string{"dc": "one"}})
	m, ms := service(map[string]any{"service.name": "shop"})
	// Two attributes with one label, one that is reserved, one that a constant label has, an empty one, an illegal one, bad UTF-8.
	number(ms, "ops", "1", delta, true, 1, map[string]any{
		"a.b": "1", "a_b": "2", "job": "mine", "dc": "two", "empty": "", "9lives": true, "bad": "x\xff", "__name__": "no", "list": []any{"x", int64(1)},
	})
	number(ms, "ops_total", "1", delta, true, 2, nil) // becomes the same name and type: the same family
	number(ms, "ops", "", none, false, 1, nil)        // a gauge ops beside a counter ops_total spoils OpenMetrics
	number(ms, "target_info", "", none, false, 1, nil)
	duration(ms, nil, 1, 1, 0, 0)
	number(ms, "http.server.request.duration.seconds.count", "", none, false, 1, nil) // the name of a sample of the histogram
	number(ms, "", "", none, false, 1, nil)
	left := add(t, p, "1", m)
	if d := cmp.Diff(cumulative.Left{cumulative.Conflict: 4}, left); d != "" {
		t.Errorf("left out (-want +got):\n%s", d)
	}
	got := scrape(t, p)
	labels := `dc="one",job="shop",service_name="shop"`
	var ops []string
	for _, s := range got {
		if strings.HasPrefix(s, "ops") {
			ops = append(ops, s)
		}
	}
	want(t, ops,
		`ops_total{a_b="1;2",bad="x�",dc="one",exported_dc="two",exported_job="mine",job="shop",key_9lives="true",key__name__="no",list="[\"x\",1]",service_name="shop"} 1`,
		`ops_total{`+labels+`} 2`,
	)
	open, contentType := get(t, p, "application/openmetrics-text;version=1.0.0")
	if !strings.HasPrefix(contentType, "application/openmetrics-text") || !strings.HasSuffix(open, "# EOF\n") {
		t.Errorf("content type %q, page:\n%s", contentType, open)
	}
}

func TestWhatFindsNoPlaceIsCounted(t *testing.T) {
	t.Parallel()
	histogram := func(change func(p pmetric.HistogramDataPoint)) func(pmetric.MetricSlice) {
		return func(ms pmetric.MetricSlice) {
			duration(ms, nil, 1, 1, 0, 0)
			change(ms.At(0).Histogram().DataPoints().At(0))
		}
	}
	for _, tc := range []struct {
		name   string
		points func(pmetric.MetricSlice)
		want   string
	}{
		{"NaN in a counter", func(ms pmetric.MetricSlice) { number(ms, "a", "", delta, true, math.NaN(), nil) }, cumulative.Malformed},
		{"negative counter", func(ms pmetric.MetricSlice) { number(ms, "a", "", delta, true, -1, nil) }, cumulative.Malformed},
		{"endless delta", func(ms pmetric.MetricSlice) { number(ms, "a", "", delta, false, math.Inf(1), nil) }, cumulative.Malformed},
		{"too few buckets", histogram(func(p pmetric.HistogramDataPoint) { p.BucketCounts().FromRaw([]uint64{1}) }), cumulative.Malformed},
		{"no buckets for bounds", histogram(func(p pmetric.HistogramDataPoint) { p.BucketCounts().FromRaw(nil) }), cumulative.Malformed},
		{"bounds out of order", histogram(func(p pmetric.HistogramDataPoint) { p.ExplicitBounds().FromRaw([]float64{1, 1}) }), cumulative.Malformed},
		{"bound NaN", histogram(func(p pmetric.HistogramDataPoint) { p.ExplicitBounds().FromRaw([]float64{1, math.NaN()}) }), cumulative.Malformed},
		{"sum NaN", histogram(func(p pmetric.HistogramDataPoint) { p.SetSum(math.NaN()) }), cumulative.Malformed},
		{"too many attributes", func(ms pmetric.MetricSlice) {
			p := number(ms, "a", "", delta, true, 1, nil)
			for i := range 65 {
				p.Attributes().PutInt(fmt.Sprint("k", i), 1)
			}
		}, cumulative.Malformed},
		{"no temporality", func(ms pmetric.MetricSlice) {
			m := ms.AppendEmpty()
			m.SetName("a")
			m.SetEmptySum().DataPoints().AppendEmpty()
		}, cumulative.Unsupported},
		{"exponential", func(ms pmetric.MetricSlice) {
			m := ms.AppendEmpty()
			m.SetName("a")
			m.SetEmptyExponentialHistogram().DataPoints().AppendEmpty()
		}, cumulative.Unsupported},
		{"endless name", func(ms pmetric.MetricSlice) { number(ms, strings.Repeat("n", 1<<20), "", none, false, 1, nil) }, cumulative.Conflict},
		{"name without a letter", func(ms pmetric.MetricSlice) { number(ms, "---", "", none, false, 1, nil) }, cumulative.Conflict},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := page(t, prompage.Options{})
			m, ms := service(nil)
			tc.points(ms)
			if d := cmp.Diff(cumulative.Left{tc.want: 1}, add(t, p, "1", m)); d != "" {
				t.Errorf("left out (-want +got):\n%s", d)
			}
			want(t, scrape(t, p))
		})
	}
}

func TestTemporalityOfASeriesIsKept(t *testing.T) {
	t.Parallel()
	p := page(t, prompage.Options{})
	m, ms := service(shop)
	number(ms, "a", "", delta, true, 1, nil)
	number(ms, "a", "", totals, true, 100, nil)
	if d := cmp.Diff(cumulative.Left{cumulative.Conflict: 1}, add(t, p, "1", m)); d != "" {
		t.Errorf("left out (-want +got):\n%s", d)
	}
	want(t, scrape(t, p), info, `a_total{`+from+`} 1`)
}

func TestBucketsThatChangeResetTheSeries(t *testing.T) {
	t.Parallel()
	p := page(t, prompage.Options{})
	m, ms := service(nil)
	duration(ms, nil, 5, 1, 1, 1)
	duration(ms, nil, 2, 0, 1)
	ms.At(1).Histogram().DataPoints().At(0).ExplicitBounds().FromRaw([]float64{7})
	if left := add(t, p, "1", m); left != nil {
		t.Errorf("left out: %v", left)
	}
	want(t, scrape(t, p),
		`http_server_request_duration_seconds_bucket{le="7"} 0`, `http_server_request_duration_seconds_bucket{le="+Inf"} 1`,
		`http_server_request_duration_seconds_sum 2`, `http_server_request_duration_seconds_count 1`)
}

func TestSeriesAreBounded(t *testing.T) {
	t.Parallel()
	// One resource, one histogram of two bounds (five series) and one counter fit.
	p := page(t, prompage.Options{Series: cumulative.Options{MaxSeries: 7}})
	m, ms := service(shop)
	duration(ms, nil, 1, 1, 0, 0)
	number(ms, "a", "", delta, true, 1, nil)
	number(ms, "b", "", delta, true, 1, nil)
	duration(ms, map[string]any{"x": "y"}, 1, 1, 0, 0)
	if d := cmp.Diff(cumulative.Left{cumulative.Overflow: 2}, add(t, p, "1", m)); d != "" {
		t.Errorf("left out (-want +got):\n%s", d)
	}
	if n := p.State().Series(); n != 7 {
		t.Errorf("%d series, want 7", n)
	}
	m, ms = service(map[string]any{"service.name": "other"})
	number(ms, "a", "", delta, true, 1, nil)
	if d := cmp.Diff(cumulative.Left{cumulative.Overflow: 1}, add(t, p, "2", m)); d != "" {
		t.Errorf("left out (-want +got):\n%s", d)
	}
	m, ms = service(shop) // what is there goes on
	duration(ms, nil, 1, 1, 0, 0)
	if left := add(t, p, "3", m); left != nil {
		t.Errorf("left out: %v", left)
	}
}

func TestEndedSeriesLeaveThePage(t *testing.T) {
	t.Parallel()
	p := page(t, prompage.Options{})
	m, ms := service(nil)
	number(ms, "a", "", none, false, 1, nil)
	add(t, p, "1", m)
	m, ms = service(nil)
	number(ms, "a", "", none, false, 0, nil).SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
	if left := add(t, p, "2", m); left != nil {
		t.Errorf("left out: %v", left)
	}
	want(t, scrape(t, p))
	m, ms = service(nil)
	number(ms, "a", "", none, false, 3, nil)
	add(t, p, "3", m)
	want(t, scrape(t, p), "a 3")
}

func TestResourceIsShownAsItIsNow(t *testing.T) {
	t.Parallel()
	p := page(t, prompage.Options{})
	for i, version := range []string{"1", "2"} {
		m, ms := service(map[string]any{"service.name": "shop", "service.version": version})
		number(ms, "a", "", none, false, 1, nil)
		add(t, p, fmt.Sprint(i), m)
	}
	want(t, scrape(t, p), `a{job="shop",service_name="shop"} 1`, `target_info{job="shop",service_name="shop",service_version="2"} 1`)
}

func TestGarbageIsRefused(t *testing.T) {
	t.Parallel()
	p := page(t, prompage.Options{})
	if _, _, err := p.State().Apply(message("1", []byte("no protobuf"))); err == nil {
		t.Error("no error")
	}
	want(t, scrape(t, p))
}

func TestAddressInUseIsNamed(t *testing.T) {
	t.Parallel()
	first := page(t, prompage.Options{})
	_, err := prompage.Listen(t.Context(), first.Address(), prompage.Options{}, slog.New(slog.DiscardHandler))
	want := "open Prometheus page on " + first.Address() + ": bind: address already in use"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// FuzzAdd holds that any request leaves a page that Prometheus can read, with each series once.
func FuzzAdd(f *testing.F) {
	m, ms := service(shop)
	duration(ms, map[string]any{"http.route": "/a"}, 1, 1, 2, 3)
	number(ms, "a", "s", delta, true, 1, map[string]any{"k": "v"})
	number(ms, "b", "By", none, false, 1, nil)
	f.Add(encode(f, m))
	m, ms = service(map[string]any{"service.name": "\xff"})
	number(ms, "a_total", "1/s", totals, true, 1, map[string]any{"le": "v", "_": "w"})
	f.Add(encode(f, m))
	p := page(f, prompage.Options{Series: cumulative.Options{MaxSeries: 100}})
	f.Fuzz(func(t *testing.T, request []byte) {
		if _, _, err := p.State().Apply(message(string(request), request)); err != nil {
			return
		}
		families, err := p.Gather()
		if err != nil {
			t.Fatal(err)
		}
		checkPage(t, families)
	})
}

// BenchmarkAdd takes in the batch of a busy service: 50 histograms of 15 buckets that are all known.
func BenchmarkAdd(b *testing.B) {
	p := page(b, prompage.Options{})
	m, ms := service(shop)
	for i := range 50 {
		duration(ms, map[string]any{
			"http.request.method": "GET", "http.response.status_code": 200, "http.route": fmt.Sprintf("/route/%d", i),
			"url.scheme": "http", "server.address": "shop", "server.port": 8080,
		}, 1)
		h := ms.At(i).Histogram().DataPoints().At(0)
		h.ExplicitBounds().FromRaw([]float64{0, .005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10})
		h.BucketCounts().FromRaw(make([]uint64, 16))
	}
	request := encode(b, m)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		if left, _, err := p.State().Apply(message(fmt.Sprint(i), request)); err != nil || left != nil {
			b.Fatal(left, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(i)/50, "ns/point")
}
