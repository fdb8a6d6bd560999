// SPDX-License-Identifier: Apache-2.0

package prompage_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/goleak"

	"github.com/busbar/busbar/services/exporter/internal/cumulative"
	"github.com/busbar/busbar/services/exporter/internal/prompage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start is an arbitrary time: pages are told the time of each request.
var start = time.Unix(1_800_000_000, 0)

// page opens a page on a free port and serves it for the length of the test.
func page(t testing.TB, o prompage.Options) *prompage.Page {
	t.Helper()
	o.Series.Expiration, o.Series.Window = cumulative.DefaultExpiration, cumulative.DefaultWindow
	if o.Series.MaxSeries == 0 {
		o.Series.MaxSeries = cumulative.DefaultMaxSeries
	}
	p, err := prompage.Listen(t.Context(), "127.0.0.1:0", o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p.State().Own(0, 0)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return p
}

// service begins a request with one resource.
func service(attributes map[string]any) (pmetric.Metrics, pmetric.MetricSlice) {
	m := pmetric.NewMetrics()
	rm := m.ResourceMetrics().AppendEmpty()
	_ = rm.Resource().Attributes().FromRaw(attributes)
	return m, rm.ScopeMetrics().AppendEmpty().Metrics()
}

var shop = map[string]any{
	"service.name": "shop", "service.namespace": "prod", "service.instance.id": "node:1", "host.name": "node", "telemetry.sdk.language": "go",
}

// duration adds a delta histogram with the usual name.
func duration(ms pmetric.MetricSlice, attributes map[string]any, sum float64, counts ...uint64) {
	m := ms.AppendEmpty()
	m.SetName("http.server.request.duration")
	m.SetUnit("s")
	m.SetDescription("Duration of HTTP server requests.")
	h := m.SetEmptyHistogram()
	h.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	p := h.DataPoints().AppendEmpty()
	_ = p.Attributes().FromRaw(attributes)
	p.ExplicitBounds().FromRaw([]float64{0.1, 1})
	p.BucketCounts().FromRaw(counts)
	total := uint64(0)
	for _, n := range counts {
		total += n
	}
	p.SetCount(total)
	p.SetSum(sum)
}

// number adds a sum or, with the temporality unspecified, a gauge.
func number(ms pmetric.MetricSlice, name, unit string, t pmetric.AggregationTemporality, monotonic bool, v float64, attributes map[string]any) pmetric.NumberDataPoint {
	m := ms.AppendEmpty()
	m.SetName(name)
	m.SetUnit(unit)
	var p pmetric.NumberDataPoint
	if t == pmetric.AggregationTemporalityUnspecified {
		p = m.SetEmptyGauge().DataPoints().AppendEmpty()
	} else {
		s := m.SetEmptySum()
		s.SetAggregationTemporality(t)
		s.SetIsMonotonic(monotonic)
		p = s.DataPoints().AppendEmpty()
	}
	p.SetDoubleValue(v)
	_ = p.Attributes().FromRaw(attributes)
	return p
}

func encode(t testing.TB, m pmetric.Metrics) []byte {
	t.Helper()
	b, err := new(pmetric.ProtoMarshaler).MarshalMetrics(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sequence is that of the last message of all tests.
var sequence atomic.Uint64

// message is the next one of a stream.
func message(id string, data []byte) cumulative.Message {
	return cumulative.Message{Sequence: sequence.Add(1), ID: id, Time: start, Data: data}
}

// add hands a request to the page and returns what was left out.
func add(t testing.TB, p *prompage.Page, id string, m pmetric.Metrics) cumulative.Left {
	t.Helper()
	left, _, err := p.State().Apply(message(id, encode(t, m)))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// get scrapes the page.
func get(t testing.TB, p *prompage.Page, accept string) (body, contentType string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.Address()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("scrape: %s: %v\n%s", response.Status, err, b)
	}
	return string(b), response.Header.Get("Content-Type")
}

// scrape returns the samples of the page, sorted, after it has been parsed as Prometheus would.
func scrape(t testing.TB, p *prompage.Page) []string {
	t.Helper()
	text, _ := get(t, p, "text/plain")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	seen := make(map[string]bool)
	var samples []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
			continue
		}
		if id := line[:strings.LastIndexByte(line, ' ')]; seen[id] {
			t.Errorf("twice on the page: %s", id)
		} else {
			seen[id] = true
		}
		samples = append(samples, line)
	}
	if len(samples) > 0 && len(families) == 0 {
		t.Errorf("no families in:\n%s", text)
	}
	slices.Sort(samples)
	return samples
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("samples (-want +got):\n%s", d)
	}
}

const (
	delta  = pmetric.AggregationTemporalityDelta
	totals = pmetric.AggregationTemporalityCumulative
	none   = pmetric.AggregationTemporalityUnspecified

	from = `instance="node:1",job="prod/shop",service_name="shop",service_namespace="prod"`
	info = `target_info{host_name="node",` + from + `,telemetry_sdk_language="go"} 1`
)

func checkPage(t *testing.T, families []*dto.MetricFamily) {
	t.Helper()
	var text strings.Builder
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			t.Fatal(err)
		}
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	if _, err := parser.TextToMetricFamilies(strings.NewReader(text.String())); err != nil {
		t.Fatalf("%v:\n%s", err, text.String())
	}
	seen := make(map[string]bool)
	for line := range strings.Lines(text.String()) {
		id := line[:max(strings.LastIndexByte(line, ' '), 0)]
		if !strings.HasPrefix(line, "#") && seen[id] {
			t.Fatalf("twice on the page: %s", id)
		}
		seen[id] = true
	}
}
