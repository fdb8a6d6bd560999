// SPDX-License-Identifier: Apache-2.0

package exporter_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/exporter"
)

// prometheus is a server that takes remote writes.
type prometheus struct {
	t       testing.TB
	address string
}

// startPrometheus runs a server until the test ends. It scrapes what is asked for, often.
func startPrometheus(t testing.TB, scrape ...string) *prometheus {
	t.Helper()
	p := &prometheus{t: t, address: freePort(t)}
	targets, err := json.Marshal(scrape)
	if err != nil {
		t.Fatal(err)
	}
	configuration := filepath.Join(t.TempDir(), "prometheus.yml")
	write(t, configuration, "global: {scrape_interval: 500ms}\nscrape_configs: [{job_name: page, honor_labels: true, static_configs: [{targets: "+string(targets)+"}]}]\n")
	runServer(t, "prometheus", "--config.file="+configuration, "--storage.tsdb.path="+t.TempDir(),
		"--web.listen-address="+p.address, "--web.enable-remote-write-receiver")
	bustest.Eventually(t, "Prometheus is ready", func() bool { return p.get("/-/ready", nil) != nil })
	return p
}

// runServer runs a program until the test ends, and skips the test where there is none.
func runServer(t testing.TB, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%v: hack/deps test installs it", err)
	}
	said := new(bytes.Buffer)
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // t.Context has ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, said)
		}
	})
}

// get returns the body of an answer, nil if there is none or it is no success.
func (p *prometheus) get(path string, query url.Values) []byte {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://"+p.address+path+"?"+query.Encode(), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(response.Body); err != nil || response.StatusCode != http.StatusOK {
		return nil
	}
	return b.Bytes()
}

// query returns the values of an instant query by the labels of their series.
func (p *prometheus) query(expression string) map[string]string {
	p.t.Helper()
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	body := p.get("/api/v1/query", url.Values{"query": {expression}})
	if err := json.Unmarshal(body, &answer); err != nil {
		p.t.Fatalf("query %s: %v: %s", expression, err, body)
	}
	out := make(map[string]string)
	for _, r := range answer.Data.Result {
		out[fmt.Sprint(r.Metric)] = fmt.Sprint(r.Value[1])
	}
	return out
}

func TestRemoteWriteToPrometheus(t *testing.T) {
	t.Parallel()
	p := startPrometheus(t)
	l := start(t, func(c *exporter.Config) {
		c.Paths = []string{resources(t, destination("prom", "prometheusremotewrite: {endpoint: 'http://"+p.address+"/api/v1/write', external_labels: {region: north}}"))}
	})
	begin := time.Now().Add(-time.Minute)
	l.publish("prom", subject.Metrics, 0, 10, func(i int) []byte { return cumulative(t, begin, time.Duration(i)*time.Second, i+1) })
	series := "map[__name__:calls_total job:shop method:GET region:north]"
	bustest.Eventually(t, "all is there", func() bool { return p.query("calls_total")[series] == "10" })
	got := map[string]string{}
	for _, expression := range []string{
		`calls_total{region="north"}`, `queue_length`, `took_seconds_count`, `took_seconds_sum`, `took_seconds_bucket{le="0.5"}`, `took_seconds_bucket{le="+Inf"}`,
	} {
		for _, value := range p.query(expression) {
			got[expression] = value
		}
	}
	want := map[string]string{
		`calls_total{region="north"}`: "10", `queue_length`: "-10", `took_seconds_count`: "30", `took_seconds_sum`: "15.5",
		`took_seconds_bucket{le="0.5"}`: "10", `took_seconds_bucket{le="+Inf"}`: "30",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("values in Prometheus (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]string{series: "10"}, p.query("calls_total")); d != "" {
		t.Errorf("series in Prometheus (-want +got):\n%s", d)
	}

	// A total that is older than what was written says nothing new.
	l.publish("prom", subject.Metrics, 10, 11, func(int) []byte { return cumulative(t, begin, time.Second, 100) })
	l.publish("prom", subject.Metrics, 11, 12, func(i int) []byte { return cumulative(t, begin, time.Duration(i)*time.Second, 12) })
	bustest.Eventually(t, "the last one is there", func() bool { return p.query("calls_total")[series] == "12" })
	if n := l.metric("busbar_destination_refused_samples_total", "prom", "out_of_order"); n != 0 {
		t.Errorf("Prometheus has refused %v samples", n)
	}
}

// cumulative is a request with a counter that is n, a gauge that is -n, and a histogram with 3n observations, n of them quick, at a
// time after the beginning.
func cumulative(t testing.TB, begin time.Time, after time.Duration, n int) []byte {
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", "shop")
	metrics := rm.ScopeMetrics().AppendEmpty().Metrics()
	start, at := pcommon.NewTimestampFromTime(begin), pcommon.NewTimestampFromTime(begin.Add(after))
	m := metrics.AppendEmpty()
	m.SetName("calls")
	sum := m.SetEmptySum()
	sum.SetIsMonotonic(true)
	sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	point := sum.DataPoints().AppendEmpty()
	point.SetIntValue(int64(n))
	point.SetStartTimestamp(start)
	point.SetTimestamp(at)
	point.Attributes().PutStr("method", "GET")
	m = metrics.AppendEmpty()
	m.SetName("queue.length")
	point = m.SetEmptyGauge().DataPoints().AppendEmpty()
	point.SetDoubleValue(float64(-n))
	point.SetTimestamp(at)
	m = metrics.AppendEmpty()
	m.SetName("took")
	m.SetUnit("s")
	h := m.SetEmptyHistogram()
	h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	hp := h.DataPoints().AppendEmpty()
	hp.SetStartTimestamp(start)
	hp.SetTimestamp(at)
	hp.SetCount(uint64(3 * n))
	hp.SetSum(15.5)
	hp.ExplicitBounds().FromRaw([]float64{0.5, 1})
	hp.BucketCounts().FromRaw([]uint64{uint64(n), uint64(n), uint64(n)})
	b, err := new(pmetric.ProtoMarshaler).MarshalMetrics(md)
	if err != nil {
		t.Error(err)
	}
	return b
}

func TestPrometheusScrapesThePage(t *testing.T) {
	t.Parallel()
	page := freePort(t)
	l := start(t, func(c *exporter.Config) {
		c.Paths = []string{resources(t, destination("page", "prometheus: {endpoint: '"+page+"'}"))}
	})
	l.publish("page", subject.Metrics, 0, 50, counter(t))
	p := startPrometheus(t, page)
	bustest.Eventually(t, "the sum is scraped", func() bool {
		for _, value := range p.query("calls_total") {
			return value == "50"
		}
		return false
	})
}
