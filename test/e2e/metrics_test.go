// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// telemetry asks for all metrics of the two programs of the test, as Beyla has them.
const telemetry = `
apiVersion: busbar.dev/v1
kind: Telemetry
metadata: {name: truth}
spec:
  services: ["truth-*"]
  metrics: [requests, spans, spanSizes, serviceGraph, info]
  compat: beyla-v2
`

// TestMetricsEqualTruth: what metrics say is what the load generator did, to the request, the byte and the nanosecond, at an OTLP back
// end and on the Prometheus page; and the queries of Beyla's dashboards have answers.
func TestMetricsEqualTruth(t *testing.T) {
	needRoot(t)
	b := newBackend(t)
	config := filepath.Join(t.TempDir(), "telemetry.yaml")
	write(t, config, telemetry)
	s := allInOne(t, "--otlp", "http://"+b.http, "--config", config)
	p := newPrometheus(t, s.page)
	server := server{"truth-server", freeAddress(t)}
	start(t, []string{"OTEL_SERVICE_NAME=" + server.service}, "goserver", "-listen", server.address)
	wait(t, 30*time.Second, "the server to listen", func() bool { return dials(server.address) })
	ask, done := asker(t, "truth-client")
	var sent []request
	for range 3 { // first it is learned what things are called; then counters rise while Prometheus looks
		requests := mix(server, "truth-client", 300)
		sent = append(sent, requests...)
		ask(requests)
		for _, metric := range []string{`http_server_request_duration_seconds_count{service_name="truth-server"}`, `http_client_request_duration_seconds_count{service_name="truth-client"}`} {
			wait(t, 60*time.Second, "Prometheus to have counted all", func() bool { return p.sum(metric) == float64(len(sent)) })
		}
	}
	done()
	settle(t, func() int { _, points, _ := b.received(); return int(total(points, "http.client.request.duration")) }) //nolint:gosec // a count
	spans, points, _ := b.received()
	compareTotals(t, sent, points)
	compareSums(t, sent, spans, points)
	comparePage(t, p, points)
	compareDashboards(t, p)
}

// asker starts a client that makes requests until it is done.
func asker(t *testing.T, service string) (ask func([]request), done func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "goclient"))
	cmd.Env = append(os.Environ(), "OTEL_SERVICE_NAME="+service)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ask = func(rs []request) {
		for _, r := range rs {
			if err := json.NewEncoder(in).Encode(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	done = func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", service, err)
		}
	}
	return ask, done
}

// mix lays out n requests by 4 routes, 4 methods and 5 statuses. Bodies are small enough to come in one piece, so that their size on
// the wire is their size.
func mix(s server, client string, n int) []request {
	methods, statuses := []string{"GET", "POST", "PUT", "DELETE"}, []int64{200, 200, 201, 404, 500}
	rs := make([]request, n)
	for i := range rs {
		r := request{server: s.service, client: client, Method: methods[i%4], status: statuses[i%5], KeepAlive: i%7 > 0}
		r.path = fmt.Sprintf("/%s/%d", []string{"orders", "users", "cart", "items"}[i/4%4], 1000+i)
		r.URL = fmt.Sprintf("http://%s%s?code=%d&size=%d", s.address, r.path, r.status, i)
		if r.Method == "POST" || r.Method == "PUT" {
			r.Body = strings.Repeat("b", 1+2*i)
		}
		rs[i] = r
	}
	return rs
}

// total is what all series of a metric of the two programs count.
func total(points map[series]point, metric string) (n uint64) {
	for k, p := range points {
		if k.metric == metric && strings.HasPrefix(k.service, "truth-") {
			n += p.count
		}
	}
	return n
}

// compareTotals holds the counts per method, route and status, and the bytes, against what was sent.
func compareTotals(t *testing.T, sent []request, points map[series]point) {
	t.Helper()
	want := map[series]point{}
	count := func(k series, sum int64) {
		p := want[k]
		want[k] = point{p.count + 1, p.sum + sum*1e9}
	}
	for _, r := range sent {
		k := series{"", "", r.Method, r.path[:strings.LastIndexByte(r.path, '/')] + "/*", r.status}
		address, _ := url.Parse(r.URL)
		size, _ := strconv.ParseInt(address.Query().Get("size"), 10, 64)
		for side, service := range map[string]string{"server": r.server, "client": r.client} {
			k.service = service
			k.metric = "http." + side + ".request.duration"
			count(k, 0)
			k.metric = "http." + side + ".request.body.size"
			count(k, int64(len(r.Body)))
			k.metric = "http." + side + ".response.body.size"
			count(k, size)
		}
	}
	got := map[series]point{}
	for k, p := range points {
		if _, ok := want[k]; ok || strings.HasPrefix(k.service, "truth-") && strings.HasPrefix(k.metric, "http.") {
			if strings.HasSuffix(k.metric, "duration") {
				p.sum = 0 // nobody but the probe knows how long requests took
			}
			got[k] = p
		}
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(series{}, point{})); d != "" {
		t.Errorf("series (-want +got):\n%s", head(d, 60))
	}
}

// compareSums holds the durations of metrics against those of the spans.
func compareSums(t *testing.T, sent []request, spans []span, points map[series]point) {
	t.Helper()
	want, got := map[string]point{}, map[string]point{}
	for _, s := range spans {
		if !strings.HasPrefix(s.service, "truth-") {
			continue
		}
		for _, metric := range []string{"http." + strings.ToLower(s.kind) + ".request.duration", "traces.span.metrics.duration", "traces_spanmetrics_latency", "traces_service_graph_request_" + strings.ToLower(s.kind)} {
			p := want[s.service+" "+metric]
			want[s.service+" "+metric] = point{p.count + 1, p.sum + s.nanos}
		}
	}
	for k, p := range points {
		if name := k.service + " " + k.metric; want[name].count > 0 {
			got[name] = point{got[name].count + p.count, got[name].sum + p.sum}
		}
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(point{})); d != "" || want["truth-server http.server.request.duration"].count != uint64(len(sent)) {
		t.Errorf("%d requests, durations (-want +got):\n%s", len(sent), d)
	}
}

// comparePage holds the page, as Prometheus reads it, against what the OTLP back end got.
func comparePage(t *testing.T, p *prometheus, points map[series]point) {
	t.Helper()
	for k, want := range points {
		if !strings.HasPrefix(k.service, "truth-") || !strings.HasPrefix(k.metric, "http.") {
			continue
		}
		unit := map[bool]string{true: "_seconds", false: "_bytes"}[strings.HasSuffix(k.metric, "duration")]
		of := func(suffix string) float64 {
			return p.sum(fmt.Sprintf(`%s%s{service_name=%q,http_request_method=%q,http_route=%q,http_response_status_code="%d"}`,
				strings.ReplaceAll(k.metric, ".", "_"), unit+suffix, k.service, k.method, k.route, k.status))
		}
		if count, sum := of("_count"), of("_sum"); count != float64(want.count) || math.Abs(sum*1e9-float64(want.sum)) > 1 {
			t.Errorf("the page has %v and %v of %+v, want %d and %v", count, sum, k, want.count, float64(want.sum)/1e9)
		}
	}
}

// prometheus is a server that scrapes the page.
type prometheus struct {
	t       *testing.T
	address string
}

func newPrometheus(t *testing.T, page string) *prometheus {
	t.Helper()
	target, err := url.Parse(page)
	if err != nil {
		t.Fatal(err)
	}
	p := &prometheus{t, freeAddress(t)}
	config := filepath.Join(t.TempDir(), "prometheus.yml")
	write(t, config, "global: {scrape_interval: 500ms}\nscrape_configs: [{job_name: page, honor_labels: true, static_configs: [{targets: ['"+target.Host+"']}]}]\n")
	start(t, nil, "prometheus", "--config.file="+config, "--storage.tsdb.path="+t.TempDir(), "--web.listen-address="+p.address)
	wait(t, 60*time.Second, "Prometheus to be ready", func() bool {
		code, _ := get(t, "http://"+p.address+"/-/ready")
		return code == http.StatusOK
	})
	return p
}

// values are those of an instant query.
func (p *prometheus) values(query string) []float64 {
	p.t.Helper()
	code, body := get(p.t, "http://"+p.address+"/api/v1/query?"+url.Values{"query": {query}}.Encode())
	var answer struct {
		Data struct{ Result []struct{ Value [2]any } }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || code != http.StatusOK {
		p.t.Fatalf("query %s: %d %v %s", query, code, err, body)
	}
	var values []float64
	for _, r := range answer.Data.Result {
		v, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			p.t.Fatal(err)
		}
		values = append(values, v)
	}
	return values
}

// sum is that of the values of a query.
func (p *prometheus) sum(query string) (sum float64) {
	for _, v := range p.values(query) {
		sum += v
	}
	return sum
}
