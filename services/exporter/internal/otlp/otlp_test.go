// SPDX-License-Identifier: Apache-2.0

package otlp_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/status"
	_ "google.golang.org/grpc/encoding/gzip" // for the servers of these tests
	"google.golang.org/protobuf/proto"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/exporter/internal/otlp"
)

func TestMain(m *testing.M) {
	registerCodecs()
	goleak.VerifyTestMain(m)
}

// requests returns one request of each signal, whose service is named like the signal.
func requests(t testing.TB) map[subject.Signal]otlp.Request {
	t.Helper()
	td, md, ld := ptrace.NewTraces(), pmetric.NewMetrics(), plog.NewLogs()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "traces")
	rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty().SetName("GET /")
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", "metrics")
	rl := ld.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutStr("service.name", "logs")
	out := make(map[subject.Signal]otlp.Request)
	for signal, marshal := range map[subject.Signal]func() ([]byte, error){
		subject.Traces:  ptraceotlp.NewExportRequestFromTraces(td).MarshalProto,
		subject.Metrics: pmetricotlp.NewExportRequestFromMetrics(md).MarshalProto,
		subject.Logs:    plogotlp.NewExportRequestFromLogs(ld).MarshalProto,
	} {
		body, err := marshal()
		if err != nil {
			t.Fatal(err)
		}
		out[signal] = otlp.Request{Signal: signal, ID: "id-" + string(signal), Body: body}
	}
	return out
}

func httpSender(t testing.TB, url string, change func(*otlp.HTTPConfig)) *otlp.HTTP {
	t.Helper()
	cfg := otlp.HTTPConfig{
		URLs: map[subject.Signal]string{
			subject.Traces: url + "/v1/traces", subject.Metrics: url + "/v1/metrics", subject.Logs: url + "/v1/logs",
		},
		Compression: otlp.Gzip, Timeout: 10 * time.Second, UserAgent: "busbar/test",
	}
	if change != nil {
		change(&cfg)
	}
	sender, err := otlp.NewHTTP(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sender.Close)
	return sender
}

// received is what a receiver of a test saw.
type received struct {
	Path, Key, Agent, Encoding, Tenant string
	Body                               string
}

func TestHTTPForwardsBytes(t *testing.T) {
	t.Parallel()
	for _, compression := range otlp.HTTPCompressions() {
		t.Run(string(compression), func(t *testing.T) {
			t.Parallel()
			got := make(chan received, 1)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var body io.Reader = r.Body
				switch r.Header.Get("Content-Encoding") {
				case "gzip":
					body, _ = gzip.NewReader(r.Body)
				case "zstd":
					d, _ := zstd.NewReader(r.Body)
					defer d.Close()
					body = d
				case "x-snappy-framed":
					body = snappy.NewReader(r.Body)
				case "snappy":
					packed, _ := io.ReadAll(r.Body)
					plain, _ := snappy.Decode(nil, packed)
					body = bytes.NewReader(plain)
				case "zlib", "deflate":
					body, _ = zlib.NewReader(r.Body)
				}
				b, err := io.ReadAll(body)
				if err != nil {
					t.Error(err)
				}
				got <- received{
					Path: r.URL.Path, Key: r.Header.Get("Idempotency-Key"), Agent: r.Header.Get("User-Agent"),
					Encoding: r.Header.Get("Content-Encoding"), Tenant: r.Header.Get("X-Scope-OrgID"), Body: string(b),
				}
				w.Header().Set("Content-Type", "application/x-protobuf")
			}))
			t.Cleanup(server.Close)
			sender := httpSender(t, server.URL, func(c *otlp.HTTPConfig) {
				c.Compression = compression
				c.Header = http.Header{"X-Scope-Orgid": {"shop"}}
			})
			for signal, r := range requests(t) {
				rejected, err := sender.Send(t.Context(), r)
				if err != nil || rejected != (otlp.Rejected{}) {
					t.Fatalf("rejected %v, error %v", rejected, err)
				}
				want := received{
					Path: "/v1/" + string(signal), Key: r.ID, Agent: "busbar/test", Encoding: string(compression), Tenant: "shop", Body: string(r.Body),
				}
				if compression == otlp.None {
					want.Encoding = ""
				}
				if d := cmp.Diff(want, <-got); d != "" {
					t.Errorf("received (-want +got):\n%s", d)
				}
			}
		})
	}
}

func statusBody(message string) string {
	b, _ := proto.Marshal(&status.Status{Code: 3, Message: message})
	return string(b)
}

func TestHTTPAnswers(t *testing.T) {
	t.Parallel()
	partial := ptraceotlp.NewExportResponse()
	partial.PartialSuccess().SetRejectedSpans(7)
	partial.PartialSuccess().SetErrorMessage("too\nold")
	partialBody, _ := partial.MarshalProto()
	type result struct {
		Rejected otlp.Rejected
		Class    string
		After    time.Duration
		Reason   string
		Err      string
	}
	const protobuf, html, text = "application/x-protobuf", "text/html; charset=utf-8", "text/plain"
	for _, tc := range []struct {
		name   string
		code   int
		header map[string]string
		body   string
		want   result
	}{
		{"accepted", 200, map[string]string{"Content-Type": protobuf}, "", result{}},
		{"accepted without a type", 202, nil, "", result{}},
		{"garbage is accepted", 200, map[string]string{"Content-Type": protobuf}, "\xff\xff", result{}},
		{"partial", 200, map[string]string{"Content-Type": protobuf}, string(partialBody), result{Rejected: otlp.Rejected{Records: 7, Message: "too old"}}},
		{"partial in JSON", 200, map[string]string{"Content-Type": "application/json"}, `{"partialSuccess":{"rejectedDataPoints":"3","errorMessage":"no"}}`,
			result{Rejected: otlp.Rejected{Records: 3, Message: "no"}}},
		{"web page", 200, map[string]string{"Content-Type": html}, "<!doctype html><p>Hello", result{Class: "refused", Err: "/v1/traces answers with a web page, which is no OTLP endpoint"}},
		{"bad data", 400, map[string]string{"Content-Type": protobuf}, statusBody("span id is empty"), result{Class: "invalid", Reason: "http_400", Err: "400 Bad Request: span id is empty"}},
		{"too large", 413, nil, "", result{Class: "invalid", Reason: "http_413", Err: "413 Request Entity Too Large"}},
		{"unprocessable", 422, map[string]string{"Content-Type": text}, "no\x00\r\n", result{Class: "invalid", Reason: "http_422", Err: "422 Unprocessable Entity: no"}},
		{"credentials", 401, map[string]string{"Content-Type": text}, "who?", result{Class: "refused", Err: "401 Unauthorized: who?"}},
		{"permission", 403, nil, "", result{Class: "refused", Err: "403 Forbidden"}},
		{"path", 404, map[string]string{"Content-Type": html}, "<html>not here</html>", result{Class: "refused", Err: "404 Not Found"}},
		{"moved", 307, map[string]string{"Location": "https://user:pw@other/x?key=1"}, "", result{Class: "refused", Err: "307 Temporary Redirect: redirects to https://other/x"}},
		{"quota", 429, map[string]string{"Retry-After": "7"}, "", result{Class: "throttled", After: 7 * time.Second, Err: "429 Too Many Requests"}},
		{"quota without a time", 429, nil, "", result{Class: "throttled", Err: "429 Too Many Requests"}},
		{"quota with a date", 429, map[string]string{"Date": "Sun, 06 Nov 1994 08:49:37 GMT", "Retry-After": "Sun, 06 Nov 1994 08:49:40 GMT"}, "",
			result{Class: "throttled", After: 3 * time.Second, Err: "429 Too Many Requests"}},
		{"endless quota", 429, map[string]string{"Retry-After": "86400"}, "", result{Class: "throttled", After: 10 * time.Minute, Err: "429 Too Many Requests"}},
		{"senseless quota", 429, map[string]string{"Retry-After": "-5"}, "", result{Class: "throttled", Err: "429 Too Many Requests"}},
		{"busy", 503, map[string]string{"Retry-After": "2"}, "", result{Class: "throttled", After: 2 * time.Second, Err: "503 Service Unavailable"}},
		{"down", 503, map[string]string{"Retry-After": "soon"}, "", result{Class: "unavailable", Err: "503 Service Unavailable"}},
		{"broken", 500, map[string]string{"Content-Type": text}, strings.Repeat("x", 1000), result{Class: "unavailable", Err: "500 Internal Server Error: " + strings.Repeat("x", 300) + "…"}},
		{"slow", 408, nil, "", result{Class: "unavailable", Err: "408 Request Timeout"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range tc.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(tc.code)
				_, _ = io.WriteString(w, tc.body)
			}))
			t.Cleanup(server.Close)
			rejected, err := httpSender(t, server.URL, nil).Send(t.Context(), requests(t)[subject.Traces])
			got := result{Rejected: rejected}
			if err != nil {
				e := otlp.AsError(err)
				got = result{Class: e.Class.String(), After: e.After, Reason: e.Reason, Err: e.Error()}
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("result (-want +got):\n%s", d)
			}
		})
	}
}

func TestHTTPWithoutAnswer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	_ = listener.Close()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = nil
	secure.StartTLS()
	t.Cleanup(secure.Close)
	for _, tc := range []struct{ name, url, want string }{
		{"refused connection", "http://" + closed, "dial tcp " + closed + ": connect: connection refused"},
		{"silence", server.URL, strings.TrimPrefix(server.URL, "http://") + ": no answer within 50ms"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			sender := httpSender(t, tc.url, func(c *otlp.HTTPConfig) { c.Timeout = 50 * time.Millisecond })
			_, err := sender.Send(t.Context(), requests(t)[subject.Traces])
			if e := otlp.AsError(err); err == nil || e.Class != otlp.Unavailable || err.Error() != tc.want {
				t.Errorf("error %v, want %s", err, tc.want)
			}
		})
	}
	t.Run("unknown authority", func(t *testing.T) {
		t.Parallel()
		sender := httpSender(t, secure.URL, nil)
		_, err := sender.Send(t.Context(), requests(t)[subject.Traces])
		if e := otlp.AsError(err); err == nil || e.Class != otlp.Unavailable || !strings.Contains(err.Error(), "unknown authority") {
			t.Errorf("error %v", err)
		}
	})
}

func TestHTTPOverTLSWithCredentials(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "me" || password != "pw" || r.ProtoMajor != 2 {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	sender := httpSender(t, strings.Replace(server.URL, "://", "://me:pw@", 1), func(c *otlp.HTTPConfig) {
		c.TLS = server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		c.TLS.NextProtos = nil
	})
	if _, err := sender.Send(t.Context(), requests(t)[subject.Traces]); err != nil {
		t.Error(err)
	}
}

func TestHTTPHasNoPlaceForASignal(t *testing.T) {
	t.Parallel()
	sender := httpSender(t, "http://127.0.0.1:1", func(c *otlp.HTTPConfig) { delete(c.URLs, subject.Logs) })
	_, err := sender.Send(t.Context(), requests(t)[subject.Logs])
	if e := otlp.AsError(err); err == nil || e.Class != otlp.Invalid || e.Reason != "signal" {
		t.Errorf("error %v", err)
	}
}

func BenchmarkHTTP(b *testing.B) {
	for _, compression := range []otlp.Compression{otlp.None, otlp.Gzip} {
		b.Run(string(compression), func(b *testing.B) {
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
			b.Cleanup(server.Close)
			sender := httpSender(b, server.URL, func(c *otlp.HTTPConfig) { c.Compression = compression })
			benchmark(b, sender.Send)
		})
	}
}

// benchmark sends 500 spans at a time; the receiver's work is in the figures.
func benchmark(b *testing.B, send func(context.Context, otlp.Request) (otlp.Rejected, error)) {
	b.Helper()
	td := ptrace.NewTraces()
	spans := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
	for i := range 500 {
		s := spans.AppendEmpty()
		s.SetName("GET /users/{id}")
		s.SetTraceID([16]byte{byte(i), byte(i >> 8), 3, 4, 5, byte(i * 7), 7, 8})
		s.SetSpanID([8]byte{byte(i * 3), byte(i), 3})
		s.Attributes().PutStr("http.request.method", "GET")
		s.Attributes().PutStr("http.route", "/users/{id}")
		s.Attributes().PutStr("url.path", "/users/"+string(rune('a'+i%26)))
		s.Attributes().PutInt("http.response.status_code", 200)
	}
	body, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := send(b.Context(), otlp.Request{Signal: subject.Traces, ID: "x", Body: body}); err != nil {
			b.Fatal(err)
		}
	}
}
