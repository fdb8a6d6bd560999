// SPDX-License-Identifier: Apache-2.0

package exporter_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/exporter"
)

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "telemetry", "data.json")
	// A line that a crash tore was never acknowledged.
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(`{"resourceSpans":[{`), 0o600); err != nil {
		t.Fatal(err)
	}
	l := start(t, func(c *exporter.Config) {
		c.Paths = []string{resources(t, destination("disk", "file: {path: '"+path+"', create_directory: true}"))}
	})
	l.publish("disk", subject.Traces, 0, 40, spans(t))
	bustest.Eventually(t, "all is acknowledged", func() bool { return l.nats.Pending(t, root.OutStream("disk").Name, "exporter") == 0 })
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		td, err := new(ptrace.JSONUnmarshaler).UnmarshalTraces(lines.Bytes())
		if err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		got[td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Name()] = true
	}
	if len(got) != 40 || !got["39"] {
		t.Errorf("%d different spans in the file", len(got))
	}
}

func TestDebug(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "printed")
	l := start(t, func(c *exporter.Config) {
		c.Paths = []string{resources(t, destination("look", "debug: {verbosity: detailed, output_paths: ['"+path+"']}"))}
	})
	l.publish("look", subject.Traces, 7, 8, spans(t))
	bustest.Eventually(t, "it is acknowledged", func() bool { return l.nats.Pending(t, root.OutStream("look").Name, "exporter") == 0 })
	b, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(b, []byte("Span #0")) || !bytes.Contains(b, []byte("Name           : 7")) {
		t.Errorf("printed %s, error %v", b, err)
	}
}

// intake notes where requests went and what headers they had.
type intake struct {
	*httptest.Server
	mu  sync.Mutex
	got []string // guarded by mu
}

func newIntake(t testing.TB, headers ...string) *intake {
	i := new(intake)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		if _, err := io.Copy(io.Discard, z); err != nil {
			return // cut
		}
		line := r.URL.Path
		for _, name := range headers {
			line += " " + r.Header.Get(name)
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		i.got = append(i.got, line)
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *intake) requests() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	b, err := json.Marshal(i.got)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func TestDatadogAndElasticsearch(t *testing.T) {
	t.Parallel()
	datadog, elastic := newIntake(t, "dd-api-key", "dd-protocol", "dd-otlp-source"), newIntake(t, "Authorization")
	l := start(t, func(c *exporter.Config) {
		c.Paths = []string{resources(t,
			destination("dd", "datadog: {api: {key: secret}, otlp_source: shop, traces: {endpoint: '"+datadog.URL+"/v1/traces'}}")+
				destination("es", "elasticsearch: {endpoint: '"+elastic.URL+"', user: elastic, password: changeme}"))}
	})
	l.publish("dd", subject.Traces, 0, 1, spans(t))
	l.publish("es", subject.Metrics, 0, 1, counter(t))
	bustest.Eventually(t, "both have theirs", func() bool { return datadog.requests() != "null" && elastic.requests() != "null" })
	if d := cmp.Diff(`["/v1/traces secret otlp shop"]`, datadog.requests()); d != "" {
		t.Errorf("Datadog (-want +got):\n%s", d)
	}
	if d := cmp.Diff(`["/_otlp/v1/metrics Basic ZWxhc3RpYzpjaGFuZ2VtZQ=="]`, elastic.requests()); d != "" {
		t.Errorf("Elasticsearch (-want +got):\n%s", d)
	}
}

// TestRemoteWriteErrors holds that the answer decides, of which the exporter itself only logs.
func TestRemoteWriteErrors(t *testing.T) {
	t.Parallel()
	var answer atomic.Pointer[http.HandlerFunc]
	refuse := func(code int, text string, header ...string) {
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			status(code, header...)(w, "", nil)
			_, _ = io.WriteString(w, text)
		})
		answer.Store(&h)
	}
	refuse(http.StatusUnauthorized, "who are you")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*answer.Load())(w, r) }))
	defer server.Close()
	l := start(t, func(c *exporter.Config) {
		c.Paths = []string{resources(t, destination("prom", "prometheusremotewrite: {endpoint: '"+server.URL+"'}"))}
	})
	attempts := func(result string) func() bool {
		return func() bool { return l.metric("busbar_destination_attempts_total", "prom", result) > 0 }
	}
	l.publish("prom", subject.Metrics, 0, 1, func(int) []byte { return cumulative(t, time.Now(), 0, 1) })
	bustest.Eventually(t, "it is refused", l.state("prom", "refusing"))
	refuse(http.StatusTooManyRequests, "slowly", "Retry-After", "1")
	bustest.Eventually(t, "it is throttled", attempts("throttled"))
	refuse(http.StatusInternalServerError, "oh")
	bustest.Eventually(t, "it is unavailable", attempts("unavailable"))
	refuse(http.StatusBadRequest, "label names must be in order\n")
	bustest.Eventually(t, "it is given up", func() bool {
		return l.metric("busbar_destination_refused_samples_total", "prom", "http_400") == 3
	})
	bustest.Eventually(t, "the others go on", l.state("prom", "ok"))
	if letters := bustest.ReadAll(t, l.bus, root.DeadStream().Name, ""); len(letters) != 0 {
		t.Errorf("%d dead letters: what was added up is not lost", len(letters))
	}
}
