// SPDX-License-Identifier: Apache-2.0

package exporter_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/exporter"
)

// backendProgram returns the path of a back end in the folder BUSBAR_BACKENDS, or skips the test.
func backendProgram(t testing.TB, name string) string {
	t.Helper()
	folder := os.Getenv("BUSBAR_BACKENDS")
	if folder == "" {
		t.Skip("BUSBAR_BACKENDS is not set: make backends runs this")
	}
	return filepath.Join(folder, name)
}

// freePorts returns as many addresses that nobody listens on, no two the same.
func freePorts(t testing.TB, n int) []string {
	t.Helper()
	var at []string
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		at = append(at, listener.Addr().String())
	}
	return at
}

// fetch reads JSON and tells whether there was any.
func fetch(t testing.TB, address string, header http.Header, into any) bool {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK && (into == nil || json.NewDecoder(response.Body).Decode(into) == nil)
}

// jaegerTrace is what Jaeger's query API says of a trace, as far as it is compared.
type jaegerTrace struct {
	Data []struct {
		Spans []struct {
			SpanID        string
			OperationName string
			StartTime     int64 // µs
			Duration      int64 // µs
			References    []struct{ SpanID string }
			Tags          []struct {
				Key   string
				Value any
			}
			ProcessID string
		}
		Processes map[string]struct{ ServiceName string }
	}
}

func TestJaeger(t *testing.T) {
	t.Parallel()
	program := backendProgram(t, "jaeger-v1.62.0")
	at := freePorts(t, 8)
	runServer(t, program, "--collector.otlp.grpc.host-port="+at[0], "--collector.otlp.http.host-port="+at[1],
		"--query.http-server.host-port="+at[2], "--query.grpc-server.host-port="+at[3], "--admin.http.host-port="+at[4],
		"--collector.http-server.host-port="+at[5], "--collector.grpc-server.host-port="+at[6], "--http-server.host-port="+at[7],
		"--processor.jaeger-binary.server-host-port=127.0.0.1:0", "--processor.jaeger-compact.server-host-port=127.0.0.1:0",
		"--processor.zipkin-compact.server-host-port=127.0.0.1:0", "--log-level=error")
	bustest.Eventually(t, "Jaeger is ready", func() bool { return fetch(t, "http://"+at[4]+"/", nil, nil) })
	l := start(t, func(c *exporter.Config) {
		c.Paths = []string{resources(t, destination("grpc", "otlp_grpc: {endpoint: '"+at[0]+"', tls: {insecure: true}}")+
			destination("http", "otlp_http: {endpoint: 'http://"+at[1]+"', compression: zstd}"))}
	})
	begin := time.Now().Add(-time.Minute).Truncate(time.Microsecond)
	for i, name := range []string{"grpc", "http"} {
		l.publish(name, subject.Traces, i, i+1, func(int) []byte { return callAndQuery(t, begin, byte(i+1)) })
	}
	want := []string{
		fmt.Sprintf("shop: 0000000000000001 GET /cart at %d for 250000 under [] with http.response.status_code=200 internal=false ratio=0.5 url.path=/cart", begin.UnixMicro()),
		fmt.Sprintf("shop: 0000000000000002 SELECT at %d for 1000 under [0000000000000001] with ", begin.UnixMicro()+1000),
	}
	for i := range 2 {
		var got []string
		bustest.Eventually(t, "the trace can be read", func() bool {
			var trace jaegerTrace
			fetch(t, fmt.Sprintf("http://%s/api/traces/%02x%030d", at[2], i+1, 0), nil, &trace)
			got = trace.lines()
			return len(got) == 2
		})
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("trace %d in Jaeger (-want +got):\n%s", i+1, d)
		}
	}
}

// lines writes each span on a line, without the tags that Jaeger adds.
func (j jaegerTrace) lines() []string {
	var out []string
	for _, trace := range j.Data {
		for _, s := range trace.Spans {
			tags := make(map[string]any)
			for _, tag := range s.Tags {
				tags[tag.Key] = tag.Value
			}
			text := ""
			for _, key := range []string{"http.response.status_code", "internal", "ratio", "url.path"} {
				if v, ok := tags[key]; ok {
					text += fmt.Sprintf(" %s=%v", key, v)
				}
			}
			parents := []string{}
			for _, r := range s.References {
				parents = append(parents, r.SpanID)
			}
			out = append(out, fmt.Sprintf("%s: %s %s at %d for %d under %v with %s", trace.Processes[s.ProcessID].ServiceName, s.SpanID,
				s.OperationName, s.StartTime, s.Duration, parents, strings.TrimSpace(text)))
		}
	}
	slices.Sort(out)
	return out
}

// callAndQuery is a trace of a server span and the database call within it.
func callAndQuery(t testing.TB, begin time.Time, trace byte) []byte {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "shop")
	all := rs.ScopeSpans().AppendEmpty().Spans()
	server := all.AppendEmpty()
	server.SetTraceID(pcommon.TraceID{trace})
	server.SetSpanID(pcommon.SpanID{7: 1})
	server.SetName("GET /cart")
	server.SetKind(ptrace.SpanKindServer)
	server.SetStartTimestamp(pcommon.NewTimestampFromTime(begin))
	server.SetEndTimestamp(pcommon.NewTimestampFromTime(begin.Add(250 * time.Millisecond)))
	server.Attributes().PutInt("http.response.status_code", 200)
	server.Attributes().PutBool("internal", false)
	server.Attributes().PutDouble("ratio", 0.5)
	server.Attributes().PutStr("url.path", "/cart")
	query := all.AppendEmpty()
	query.SetTraceID(pcommon.TraceID{trace})
	query.SetSpanID(pcommon.SpanID{7: 2})
	query.SetParentSpanID(server.SpanID())
	query.SetName("SELECT")
	query.SetStartTimestamp(pcommon.NewTimestampFromTime(begin.Add(time.Millisecond)))
	query.SetEndTimestamp(pcommon.NewTimestampFromTime(begin.Add(2 * time.Millisecond)))
	b, err := new(ptrace.ProtoMarshaler).MarshalTraces(td)
	if err != nil {
		t.Error(err)
	}
	return b
}

func TestLoki(t *testing.T) {
	t.Parallel()
	program := backendProgram(t, "loki-v3.7.8")
	at := freePorts(t, 2)
	_, web, _ := net.SplitHostPort(at[0])
	_, rpc, _ := net.SplitHostPort(at[1])
	folder := t.TempDir()
	configuration := filepath.Join(folder, "loki.yaml")
	write(t, configuration, `
auth_enabled: true
analytics: {reporting_enabled: false}
server: {http_listen_address: 127.0.0.1, http_listen_port: `+web+`, grpc_listen_address: 127.0.0.1, grpc_listen_port: `+rpc+`, log_level: error}
common:
  instance_addr: 127.0.0.1
  path_prefix: `+folder+`
  replication_factor: 1
  storage: {filesystem: {chunks_directory: `+folder+`/chunks, rules_directory: `+folder+`/rules}}
  ring: {kvstore: {store: inmemory}}
ingester: {lifecycler: {min_ready_duration: 0s}}
schema_config:
  configs: [{from: "2024-01-01", store: tsdb, object_store: filesystem, schema: v13, index: {prefix: index_, period: 24h}}]
`)
	runServer(t, program, "-config.file="+configuration)
	tenant := http.Header{"X-Scope-Orgid": {"busbar"}}
	bustest.Eventually(t, "Loki is ready", func() bool { return fetch(t, "http://"+at[0]+"/ready", nil, nil) })
	l := start(t, func(c *exporter.Config) {
		c.Paths = []string{resources(t, destination("loki", "otlphttp: {endpoint: 'http://"+at[0]+"/otlp', headers: {X-Scope-OrgID: busbar}}"))}
	})
	begin := time.Now().Add(-time.Minute)
	l.publish("loki", subject.Logs, 0, 5, func(i int) []byte { return logLine(t, begin.Add(time.Duration(i)*time.Second), i) })
	var answer struct {
		Data struct {
			Result []struct {
				Stream map[string]string
				Values [][]string
			}
		}
	}
	query := url.Values{
		"query": {`{service_name="shop"}`}, "limit": {"100"}, "direction": {"forward"},
		"start": {strconv.FormatInt(begin.Add(-time.Second).UnixNano(), 10)},
	}
	got := map[string]string{}
	bustest.Eventually(t, "the lines can be read", func() bool {
		clear(got)
		if !fetch(t, "http://"+at[0]+"/loki/api/v1/query_range?"+query.Encode(), tenant, &answer) {
			return false
		}
		for _, r := range answer.Data.Result {
			for _, v := range r.Values {
				got[v[0]] = fmt.Sprintf("%s, order %s, severity %s", v[1], r.Stream["order"], r.Stream["severity_text"])
			}
		}
		return len(got) == 5
	})
	want := map[string]string{}
	for i := range 5 {
		want[strconv.FormatInt(begin.Add(time.Duration(i)*time.Second).UnixNano(), 10)] = fmt.Sprintf("line %d, order %d, severity WARN", i, i)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("lines in Loki (-want +got):\n%s", d)
	}
}

// logLine is a request with one record.
func logLine(t testing.TB, at time.Time, i int) []byte {
	ld := plog.NewLogs()
	rl := ld.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutStr("service.name", "shop")
	r := rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	r.SetTimestamp(pcommon.NewTimestampFromTime(at))
	r.Body().SetStr(fmt.Sprintf("line %d", i))
	r.SetSeverityText("WARN")
	r.SetSeverityNumber(plog.SeverityNumberWarn)
	r.Attributes().PutInt("order", int64(i))
	b, err := new(plog.ProtoMarshaler).MarshalLogs(ld)
	if err != nil {
		t.Error(err)
	}
	return b
}
