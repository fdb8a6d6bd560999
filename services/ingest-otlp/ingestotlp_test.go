// SPDX-License-Identifier: Apache-2.0

package ingestotlp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/busbar/busbar/contract"
	"github.com/busbar/busbar/kit/bus/bustest"
	ingestotlp "github.com/busbar/busbar/services/ingest-otlp"
)

func dial(t testing.TB, address string) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// The library's client is served in every compression and for every signal.
func TestGRPC(t *testing.T) {
	registerCodecs()
	l := start(t, nil)
	c := dial(t, l.grpc)
	for i, name := range []string{"", "gzip", "zstd", "snappy"} {
		var options []grpc.CallOption
		if name != "" {
			options = append(options, grpc.UseCompressor(name))
		}
		answer, err := ptraceotlp.NewGRPCClient(c).Export(t.Context(), ptraceotlp.NewExportRequestFromTraces(spans(i, 100, "shop", "bank")), options...)
		if err != nil || answer.PartialSuccess().RejectedSpans() != 0 {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := pmetricotlp.NewGRPCClient(c).Export(t.Context(), pmetricotlp.NewExportRequestFromMetrics(points(10+i)), options...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := plogotlp.NewGRPCClient(c).Export(t.Context(), plogotlp.NewExportRequestFromLogs(lines(20+i)), options...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	want := `busbar.otlp.logs.default._.unknown_service 86
busbar.otlp.metrics.default.eu.shop 46
busbar.otlp.traces.default._.bank 400
busbar.otlp.traces.default._.shop 400`
	if got := sorted(l.stored(t)); got != want {
		t.Errorf("stored:\n%s", got)
	}
	if got := l.value(t, "busbar_ingest_requests_total", "grpc_traces", "200"); got != 4 {
		t.Errorf("%v requests counted", got)
	}
	if got := l.value(t, "busbar_ingest_accepted_records_total", "bus"); got != 86+46+800 {
		t.Errorf("%v records counted", got)
	}
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	l := start(t, nil)
	for i, encoding := range []string{"", "identity", "gzip", "zstd", "deflate", "snappy", "x-snappy-framed"} {
		header := map[string]string{}
		if encoding != "" {
			header["Content-Encoding"] = encoding
		}
		metrics, _ := (&pmetric.ProtoMarshaler{}).MarshalMetrics(points(10 + i))
		logs, _ := (&plog.ProtoMarshaler{}).MarshalLogs(lines(20 + i))
		for path, body := range map[string][]byte{"/v1/traces": tracesBody(spans(i, 100, "shop", "bank")), "/v1/metrics": metrics, "/v1/logs": logs} {
			got := l.post(t, path, header, compressed(t, encoding, body))
			if got.status != 200 || got.header.Get("Content-Type") != "application/x-protobuf" || got.body != "" {
				t.Errorf("%s %s: %+v", path, encoding, got)
			}
		}
	}
	want := `busbar.otlp.logs.default._.unknown_service 161
busbar.otlp.metrics.default.eu.shop 91
busbar.otlp.traces.default._.bank 700
busbar.otlp.traces.default._.shop 700`
	if got := sorted(l.stored(t)); got != want {
		t.Errorf("stored:\n%s", got)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	l := start(t, nil)
	traces, _ := (&ptrace.JSONMarshaler{}).MarshalTraces(spans(1, 50, "shop"))
	metrics, _ := (&pmetric.JSONMarshaler{}).MarshalMetrics(points(5))
	logs, _ := (&plog.JSONMarshaler{}).MarshalLogs(lines(7))
	for path, body := range map[string][]byte{"/v1/traces": traces, "/v1/metrics": metrics, "/v1/logs": logs} {
		header := map[string]string{"Content-Type": "application/json; charset=utf-8", "Content-Encoding": "gzip"}
		got := l.post(t, path, header, compressed(t, "gzip", body))
		if got.status != 200 || got.header.Get("Content-Type") != "application/json" || got.body != "{}" {
			t.Errorf("%s: %+v", path, got)
		}
	}
	want := "busbar.otlp.logs.default._.unknown_service 7\nbusbar.otlp.metrics.default.eu.shop 5\nbusbar.otlp.traces.default._.shop 50"
	if got := sorted(l.stored(t)); got != want {
		t.Errorf("stored:\n%s", got)
	}
}

// What a client sends again since it did not hear the answer is stored once; what it sends next is not taken for the same.
func TestRepeated(t *testing.T) {
	t.Parallel()
	l := start(t, nil)
	for range 3 {
		l.post(t, "/v1/traces", nil, tracesBody(spans(1, 10, "shop", "bank")))
		l.post(t, "/v1/traces", map[string]string{"Content-Encoding": "gzip"}, compressed(t, "gzip", tracesBody(spans(1, 10, "shop", "bank"))))
	}
	l.post(t, "/v1/traces", nil, tracesBody(spans(2, 10, "shop")))
	if got := sorted(l.stored(t)); got != "busbar.otlp.traces.default._.bank 10\nbusbar.otlp.traces.default._.shop 20" {
		t.Errorf("stored:\n%s", got)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	l := start(t, func(c *ingestotlp.Config) { c.Intake.Limits.Received, c.Intake.Limits.Decoded = 100<<10, 200<<10 })
	good := tracesBody(spans(1, 1, "shop"))
	large := tracesBody(spans(1, 5000, "shop"))
	for _, tc := range []struct {
		name, path string
		header     map[string]string
		body       []byte
		status     int
		code       codes.Code
		text       string
	}{
		{"path", "/v1/trace", nil, good, 404, codes.Unimplemented, "/v1/traces"},
		{"content type", "/v1/traces", map[string]string{"Content-Type": "text/plain"}, good, 415, codes.Unimplemented, "application/x-protobuf"},
		{"no content type", "/v1/traces", map[string]string{"Content-Type": ""}, good, 415, codes.Unimplemented, "application/x-protobuf"},
		{"encoding", "/v1/traces", map[string]string{"Content-Encoding": "br"}, good, 415, codes.Unimplemented, `"br"`},
		{"no gzip", "/v1/traces", map[string]string{"Content-Encoding": "gzip"}, good, 400, codes.InvalidArgument, "not gzip"},
		{"malformed", "/v1/traces", nil, good[:len(good)-1], 400, codes.InvalidArgument, "malformed protobuf: ExportTraceServiceRequest, field 1 at byte 0"},
		{"another signal", "/v1/logs", nil, tracesBody(spans(1, 2, "shop")), 400, codes.InvalidArgument, "malformed protobuf: LogRecord, field"},
		{"too long", "/v1/traces", nil, large, 413, codes.ResourceExhausted, "longer than 102400 bytes"},
		{"too long inside", "/v1/traces", map[string]string{"Content-Encoding": "gzip"}, compressed(t, "gzip", large), 413, codes.ResourceExhausted, "longer than 204800 bytes"},
		{"no JSON", "/v1/traces", map[string]string{"Content-Type": "application/json"}, []byte(`{"resourceSpans":[{]`), 400, codes.InvalidArgument, "malformed JSON"},
		{"deep JSON", "/v1/traces", map[string]string{"Content-Type": "application/json"}, []byte(strings.Repeat("[", 90000)), 400, codes.InvalidArgument, "nested more than"},
		{"JSON of the wrong type", "/v1/traces", map[string]string{"Content-Type": "application/json"}, []byte(`{"resourceSpans":7}`), 400, codes.InvalidArgument, "malformed JSON"},
	} {
		got := l.post(t, tc.path, tc.header, tc.body)
		var said rpcstatus.Status
		if got.header.Get("Content-Type") == "application/x-protobuf" {
			if err := proto.Unmarshal([]byte(got.body), &said); err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
		} else if err := json.Unmarshal([]byte(got.body), &said); err != nil {
			t.Errorf("%s: %v in %s", tc.name, err, got.body)
		}
		if got.status != tc.status || codes.Code(said.GetCode()) != tc.code || !strings.Contains(said.GetMessage(), tc.text) || got.header.Get("Retry-After") != "" {
			t.Errorf("%s: %d %v %s", tc.name, got.status, codes.Code(said.GetCode()), said.GetMessage())
		}
	}
	if len(l.stored(t)) != 0 {
		t.Error("something is stored")
	}
	c := dial(t, l.grpc)
	_, err := ptraceotlp.NewGRPCClient(c).Export(t.Context(), ptraceotlp.NewExportRequestFromTraces(spans(1, 5000, "shop")))
	if status.Code(err) != codes.ResourceExhausted || len(status.Convert(err).Details()) != 0 {
		t.Errorf("too long by gRPC: %v", err)
	}
	if err := c.Invoke(t.Context(), "/opentelemetry.proto.collector.trace.v1.TraceService/Import", &rpcstatus.Status{}, &rpcstatus.Status{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("another method: %v", err)
	}
	bad := &rpcstatus.Status{Code: 1, Message: "no span with a % and an ä"}
	if err := c.Invoke(t.Context(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export", bad, &rpcstatus.Status{}); status.Code(err) != codes.InvalidArgument ||
		!strings.Contains(err.Error(), "malformed protobuf: ExportTraceServiceRequest, field 1 at byte 0: it is of the wrong type") {
		t.Errorf("malformed by gRPC: %v", err)
	}
}

// A record that is too long for a message is told of; the others are stored.
func TestPartialSuccess(t *testing.T) {
	t.Parallel()
	l := start(t, nil)
	large := func(request int) ptrace.Traces {
		all := spans(request, 3, "shop")
		all.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(1).Attributes().PutStr("sql", strings.Repeat("x", 600<<10))
		return all
	}
	got := l.post(t, "/v1/traces", nil, tracesBody(large(1)))
	said := ptraceotlp.NewExportResponse()
	if err := said.UnmarshalProto([]byte(got.body)); err != nil || got.status != 200 || said.PartialSuccess().RejectedSpans() != 1 ||
		said.PartialSuccess().ErrorMessage() != "1 records are longer than 524288 bytes" {
		t.Errorf("%d %q, %v", got.status, got.body, err)
	}
	text, _ := (&ptrace.JSONMarshaler{}).MarshalTraces(large(2))
	got = l.post(t, "/v1/traces", map[string]string{"Content-Type": "application/json"}, text)
	if err := said.UnmarshalJSON([]byte(got.body)); err != nil || got.status != 200 || said.PartialSuccess().RejectedSpans() != 1 {
		t.Errorf("%d %q, %v", got.status, got.body, err)
	}
	said, err := ptraceotlp.NewGRPCClient(dial(t, l.grpc)).Export(t.Context(), ptraceotlp.NewExportRequestFromTraces(large(3)))
	if err != nil || said.PartialSuccess().RejectedSpans() != 1 {
		t.Errorf("gRPC: %v", err)
	}
	if l.total(t) != 6 || l.value(t, "busbar_dropped_records_total", "ingest-otlp", "too_large") != 3 {
		t.Errorf("%d stored, %v lost", l.total(t), l.value(t, "busbar_dropped_records_total", "too_large"))
	}
}

func TestTenants(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("secret-1 shop\nsecret-2 bank\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := start(t, func(c *ingestotlp.Config) { c.Intake.Keys = keys })
	body := tracesBody(spans(1, 1, "api"))
	for i, tc := range []struct {
		name, value string
		status      int
	}{
		{"Authorization", "Bearer secret-1", 200}, {"Api-Key", "secret-2", 200}, {"X-Api-Key", "secret-2", 200}, {"authorization", "secret-1", 200},
		{"Authorization", "Bearer secret-3", 403}, {"X", "secret-1", 401},
	} {
		if got := l.post(t, "/v1/traces", map[string]string{tc.name: tc.value}, body); got.status != tc.status || strings.Contains(got.body, "secret") {
			t.Errorf("%d: %+v", i, got)
		}
	}
	client := ptraceotlp.NewGRPCClient(dial(t, l.grpc))
	for key, want := range map[string]codes.Code{"Bearer secret-2": codes.OK, "Bearer x": codes.PermissionDenied, "": codes.Unauthenticated} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", key)
		if _, err := client.Export(ctx, ptraceotlp.NewExportRequestFromTraces(spans(2, 1, "api"))); status.Code(err) != want {
			t.Errorf("%q: %v", key, err)
		}
	}
	if got := sorted(l.stored(t)); got != "busbar.otlp.traces.bank._.api 2\nbusbar.otlp.traces.shop._.api 1" {
		t.Errorf("stored:\n%s", got)
	}
}

// In the all-in-one a destination that leads back in is refused, so that the exporter says so and keeps the data.
func TestCircle(t *testing.T) {
	t.Parallel()
	body := tracesBody(spans(1, 1, "api"))
	for refuse, want := range map[bool]int{true: 403, false: 200} {
		l := start(t, func(c *ingestotlp.Config) { c.RefuseOwn = refuse })
		if got := l.post(t, "/v1/traces", map[string]string{"User-Agent": contract.UserAgent + "v1"}, body); got.status != want {
			t.Errorf("own: %+v", got)
		}
		if got := l.post(t, "/v1/traces", map[string]string{"User-Agent": "OTel"}, body); got.status != 200 {
			t.Errorf("others: %+v", got)
		}
	}
}

// While the bus is away what comes waits on disk, also for the next process; beyond what the disk may hold clients are told when to
// come again, and lose nothing by doing so.
func TestBusIsAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	small := func(c *ingestotlp.Config) {
		c.Intake.QueueDir, c.Intake.QueueBytes, c.Intake.Within = dir, 32<<10, 500*time.Millisecond
	}
	l := start(t, small)
	l.server.Stop()
	client := ptraceotlp.NewGRPCClient(dial(t, l.grpc))
	var sent, refused int
	var last error
	for refused < 5 && sent < 1000 {
		if _, err := client.Export(t.Context(), ptraceotlp.NewExportRequestFromTraces(spans(sent, 10, "shop"))); err != nil {
			last = err
			refused++
			continue
		}
		sent++
	}
	info := new(errdetails.RetryInfo)
	for _, detail := range status.Convert(last).Details() {
		info, _ = detail.(*errdetails.RetryInfo)
	}
	if sent < 2 || status.Code(last) != codes.Unavailable || info.GetRetryDelay().AsDuration() < time.Second {
		t.Errorf("after %d requests: %v, again after %v", sent, last, info.GetRetryDelay().AsDuration())
	}
	got := l.post(t, "/v1/traces", nil, tracesBody(spans(sent, 10, "shop")))
	if got.status != 503 || got.header.Get("Retry-After") != "5" {
		t.Errorf("by HTTP: %+v", got)
	}
	l.stop()
	l.server.Start()
	l.run(t, small)
	bustest.Eventually(t, "what was acknowledged is stored", func() bool { return l.bus.Ready() == nil && l.total(t) == 10*sent })
	if got := l.post(t, "/v1/traces", nil, tracesBody(spans(sent, 10, "shop"))); got.status != 200 {
		t.Errorf("sent again: %+v", got)
	}
	bustest.Eventually(t, "what was refused is stored at the second try", func() bool { return l.total(t) == 10*sent+10 })
}

// Hostile senders on many connections are refused, and others are served meanwhile.
func TestHostileSenders(t *testing.T) {
	t.Parallel()
	l := start(t, func(c *ingestotlp.Config) { c.Intake.Limits.Patience = time.Second })
	zeros := make([]byte, 100<<20)
	bombs := map[string][]byte{}
	for _, encoding := range []string{"gzip", "zstd", "deflate", "x-snappy-framed"} {
		bombs[encoding] = compressed(t, encoding, zeros)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var senders sync.WaitGroup
	for encoding, bomb := range bombs {
		senders.Go(func() {
			for range 3 {
				got := l.post(t, "/v1/metrics", map[string]string{"Content-Encoding": encoding}, bomb)
				if got.status != 413 && got.status != 429 && got.status != 503 {
					t.Errorf("a bomb of %s: %d", encoding, got.status)
				}
			}
		})
	}
	for range 300 { // say a gigabyte and send a little
		c, err := net.Dial("tcp", l.http)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /v1/traces HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-protobuf\r\nTransfer-Encoding: chunked\r\n\r\n40000000\r\nabc")
	}
	client := ptraceotlp.NewGRPCClient(dial(t, l.grpc))
	for i := range 20 {
		for {
			_, err := client.Export(ctx, ptraceotlp.NewExportRequestFromTraces(spans(i, 10, "shop")))
			if err == nil {
				break
			}
			if c := status.Code(err); c != codes.ResourceExhausted && c != codes.Unavailable {
				t.Fatal(err)
			}
		}
	}
	senders.Wait()
	if l.total(t) != 200 {
		t.Errorf("%d spans stored", l.total(t))
	}
	bustest.Eventually(t, "all slow senders are cut off, and nothing is held", func() bool {
		return l.value(t, "busbar_ingest_refused_requests_total", "slow") == 300 && l.value(t, "busbar_ingest_held_bytes") == 0
	})
}

func TestRunFailsAtOnce(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for what, change := range map[string]func(*ingestotlp.Config){
		taken.Addr().String():   func(c *ingestotlp.Config) { c.GRPC = taken.Addr().String() },
		"nats://127.0.0.1:1":    func(c *ingestotlp.Config) { c.Bus.InProcess, c.Bus.URL = nil, "nats://127.0.0.1:1" },
		"no/keys":               func(c *ingestotlp.Config) { c.Intake.Keys = "/no/keys" },
		"go together":           func(c *ingestotlp.Config) { c.Intake.TLS.Cert = "/no/cert" },
		"neither gRPC nor HTTP": func(c *ingestotlp.Config) { c.GRPC, c.HTTP = ingestotlp.Off, ingestotlp.Off },
		`tenant "a.b"`:          func(c *ingestotlp.Config) { c.Intake.Tenant = "a.b" },
	} {
		cfg := ingestotlp.Default()
		cfg.Bus, cfg.GRPC, cfg.HTTP = bustest.Start(t).Config("test"), "127.0.0.1:0", "127.0.0.1:0"
		change(&cfg)
		if err := ingestotlp.Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
