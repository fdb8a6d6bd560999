// SPDX-License-Identifier: Apache-2.0

package ingestdatadog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.uber.org/goleak"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	ingestdatadog "github.com/busbar/busbar/services/ingest-datadog"
	"github.com/busbar/busbar/services/ingest-datadog/internal/capturetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write golden files anew")

// running is a service that runs, on a bus of its own.
type running struct {
	t      testing.TB
	server *bustest.Server
	bus    *bus.Bus
	url    string
	statsd string
	admin  *admin.Admin
	stop   func()
}

// start starts a service on a bus of its own. It ends with the test.
func start(t testing.TB, change func(*ingestdatadog.Config)) *running {
	t.Helper()
	return startOn(t, bustest.Start(t), change)
}

func startOn(t testing.TB, server *bustest.Server, change func(*ingestdatadog.Config)) *running {
	t.Helper()
	r := &running{t: t, server: server, bus: server.Connect(t, "reader"), admin: admin.New()}
	cfg := ingestdatadog.Default()
	cfg.Bus, cfg.Address, cfg.Statsd = server.Config("ingest-datadog"), "127.0.0.1:0", "127.0.0.1:0"
	cfg.Log, cfg.Admin, cfg.Instance = slog.New(slog.DiscardHandler), r.admin, "replica-1"
	type addresses struct{ intake, statsd net.Addr }
	ready := make(chan addresses, 1)
	cfg.Listening = func(intake, statsd net.Addr) { ready <- addresses{intake, statsd} }
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ingestdatadog.Run(ctx, cfg) }()
	ended := false
	r.stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() {
		r.stop()
		http.DefaultClient.CloseIdleConnections()
	})
	select {
	case a := <-ready:
		r.url = "http://" + a.intake.String()
		if a.statsd != nil {
			r.statsd = a.statsd.String()
		}
	case err := <-done:
		ended = true
		t.Fatal(err)
	}
	return r
}

// send sends a request and returns the answer and its body.
func (r *running) send(method, path string, headers map[string]string, body []byte) (*http.Response, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for k, v := range headers {
		if k != "Host" && k != "Content-Length" {
			req.Header.Set(k, v)
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(res.Body); err != nil {
		r.t.Fatal(err)
	}
	return res, text.String()
}

// stored returns what is on the bus as OTLP in JSON, by subject, in a fixed order and without the times at which it came.
func (r *running) stored() []byte {
	r.t.Helper()
	var all []any
	for _, d := range bustest.ReadAll(r.t, r.bus, subject.DefaultRoot.OTLPStream().Name, "") {
		data, err := d.Data()
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, map[string]any{"subject": d.Subject, "items": d.Items(), "data": decoded(r.t, d.Subject, data)})
	}
	slices.SortFunc(all, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	text, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		r.t.Fatal(err)
	}
	return append(text, '\n')
}

func decoded(t testing.TB, to string, data []byte) any {
	t.Helper()
	var text []byte
	var err error
	switch strings.Split(to, ".")[2] {
	case "traces":
		req := ptraceotlp.NewExportRequest()
		if err = req.UnmarshalProto(data); err == nil {
			text, err = req.MarshalJSON()
		}
	case "metrics":
		req := pmetricotlp.NewExportRequest()
		if err = req.UnmarshalProto(data); err == nil {
			text, err = req.MarshalJSON()
		}
	case "logs":
		req := plogotlp.NewExportRequest()
		if err = req.UnmarshalProto(data); err == nil {
			text, err = req.MarshalJSON()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return ordered(v)
}

// begun is when the tests began: captures are older.
var begun = strconv.FormatInt(time.Now().UnixNano(), 10)

// ordered sorts attributes, and takes out the times at which records came.
func ordered(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range []string{"observedTimeUnixNano", "timeUnixNano"} {
			if at, ok := v[k].(string); ok && at >= begun {
				v[k] = "now"
			}
		}
		for k := range v {
			v[k] = ordered(v[k])
			if list, ok := v[k].([]any); ok && k == "attributes" {
				slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			}
		}
	case []any:
		for i := range v {
			v[i] = ordered(v[i])
		}
	}
	return v
}

// golden compares with a file, or writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "otlp", name+".json")
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Error(d)
	}
}

// Every request of a real client is taken, answered as the client needs it, and becomes what the golden file says.
func TestCaptures(t *testing.T) {
	t.Parallel()
	for _, c := range capturetest.All(t, "testdata", "") {
		if c.Path == "" {
			continue // a packet
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			r := start(t, nil)
			res, text := r.send(c.Method, c.Path+query(c.Query), c.Headers, c.Wire)
			if c.Path == "/dogstatsd/v2/proxy" {
				if res.StatusCode != http.StatusOK {
					t.Errorf("status %d", res.StatusCode)
				}
				return // what becomes of it has times of now
			}
			if want := expected(c); res.StatusCode != want.status || strings.TrimSpace(text) != want.body && c.Path != "/info" {
				t.Errorf("answer %d %q, want %d %q", res.StatusCode, text, want.status, want.body)
			}
			if again, _ := r.send(c.Method, c.Path+query(c.Query), c.Headers, c.Wire); again.StatusCode != res.StatusCode {
				t.Errorf("the second time: %d", again.StatusCode)
			}
			golden(t, c.Name, r.stored())
		})
	}
}

func query(q string) string {
	if q == "" {
		return ""
	}
	return "?" + q
}

type answer struct {
	status int
	body   string
}

// expected is what the clients need to hear.
func expected(c capturetest.Request) answer {
	switch c.Path {
	case "/v0.4/traces", "/v0.5/traces", "/v1.0/traces":
		return answer{200, `{"rate_by_service":{"service:,env:":1}}`}
	case "/v0.6/stats":
		return answer{200, ""}
	case "/info":
		return answer{200, ""}
	case "/api/v1/validate":
		return answer{200, `{"valid":true}`}
	case "/api/v2/series", "/api/intake/metrics/v3/series":
		return answer{202, `{"errors":[]}`}
	case "/api/v2/logs":
		return answer{202, `{}`}
	}
	return answer{202, `{"status":"ok"}`}
}
