// SPDX-License-Identifier: Apache-2.0

package ingestotlp_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/grpc/encoding"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	ingestotlp "github.com/busbar/busbar/services/ingest-otlp"
)

const root = subject.DefaultRoot

// lab is a service with a bus of its own.
type lab struct {
	server     *bustest.Server
	bus        *bus.Bus
	admin      *admin.Admin
	grpc, http string // addresses
	stop       func()
}

func start(t testing.TB, change func(*ingestotlp.Config)) *lab {
	t.Helper()
	l := &lab{server: bustest.Start(t), admin: admin.New()}
	l.run(t, change)
	l.bus = l.server.Connect(t, "test")
	return l
}

// run runs a service on the bus of the lab, until stop is called.
func (l *lab) run(t testing.TB, change func(*ingestotlp.Config)) {
	t.Helper()
	cfg := ingestotlp.Default()
	cfg.Bus = l.server.Config("busbar-ingest-otlp")
	cfg.GRPC, cfg.HTTP, cfg.Admin, cfg.Log = "127.0.0.1:0", "127.0.0.1:0", l.admin, slog.New(slog.DiscardHandler)
	listening := make(chan []string, 1)
	cfg.Listening = func(addresses []string) { listening <- addresses }
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- ingestotlp.Run(ctx, cfg) }()
	select {
	case addresses := <-listening:
		l.grpc, l.http = addresses[0], addresses[1]
	case err := <-ended:
		cancel()
		t.Fatal(err)
	}
	l.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(l.stop)
}

// stored returns the records on the bus, by subject.
func (l *lab) stored(t testing.TB) map[string]int {
	t.Helper()
	got := map[string]int{}
	for _, d := range bustest.ReadAll(t, l.bus, root.OTLPStream().Name, "") {
		if d.Header(subject.HeaderSource) != ingestotlp.Service {
			t.Errorf("source %q", d.Header(subject.HeaderSource))
		}
		got[d.Subject] += items(t, d)
	}
	return got
}

func (l *lab) total(t testing.TB) (n int) {
	t.Helper()
	for _, items := range l.stored(t) {
		n += items
	}
	return n
}

// items counts the records in a message and compares that with what its header says.
func items(t testing.TB, d *bus.Delivery) int {
	t.Helper()
	data, err := d.Data()
	if err != nil {
		t.Fatal(err)
	}
	n := -1
	switch d.Header(subject.HeaderSchema) {
	case subject.SchemaTraces:
		x, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(data)
		if err != nil {
			t.Fatal(err)
		}
		n = x.SpanCount()
	case subject.SchemaMetrics:
		x, err := (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(data)
		if err != nil {
			t.Fatal(err)
		}
		n = x.DataPointCount()
	case subject.SchemaLogs:
		x, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(data)
		if err != nil {
			t.Fatal(err)
		}
		n = x.LogRecordCount()
	}
	if d.Header(subject.HeaderItems) != fmt.Sprint(n) {
		t.Errorf("%s holds %d records and says %s", d.Subject, n, d.Header(subject.HeaderItems))
	}
	return n
}

// value is the sum of a metric of which the labels contain all the given values.
func (l *lab) value(t testing.TB, name string, labels ...string) (sum float64) {
	t.Helper()
	families, err := l.admin.Gatherer().(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var has []string
			for _, pair := range m.GetLabel() {
				has = append(has, pair.GetValue())
			}
			if f.GetName() == name && !slices.ContainsFunc(labels, func(v string) bool { return !slices.Contains(has, v) }) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// spans makes n spans of each service; they differ by the number of the request.
func spans(request, n int, services ...string) ptrace.Traces {
	t := ptrace.NewTraces()
	for _, service := range services {
		rs := t.ResourceSpans().AppendEmpty()
		rs.Resource().Attributes().PutStr("service.name", service)
		ss := rs.ScopeSpans().AppendEmpty()
		for i := range n {
			s := ss.Spans().AppendEmpty()
			s.SetName(fmt.Sprint("span ", request, " ", i))
			s.SetTraceID(pcommon.TraceID{1, byte(i), byte(i >> 8), byte(request), byte(request >> 8)})
			s.SetSpanID(pcommon.SpanID{2, byte(i)})
			s.Attributes().PutStr("http.request.method", "GET")
		}
	}
	return t
}

func tracesBody(t ptrace.Traces) []byte {
	b, _ := (&ptrace.ProtoMarshaler{}).MarshalTraces(t)
	return b
}

func points(n int) pmetric.Metrics {
	m := pmetric.NewMetrics()
	rm := m.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", "shop")
	rm.Resource().Attributes().PutStr("service.namespace", "eu")
	sum := rm.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	sum.SetName("orders")
	sum.SetEmptySum().SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	for i := range n {
		sum.Sum().DataPoints().AppendEmpty().SetIntValue(int64(i))
	}
	return m
}

func lines(n int) plog.Logs {
	l := plog.NewLogs()
	sl := l.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty()
	for i := range n {
		sl.LogRecords().AppendEmpty().Body().SetStr(fmt.Sprint("line ", i))
	}
	return l
}

// compressed compresses a body as an encoding of HTTP.
func compressed(t testing.TB, name string, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	var w io.WriteCloser
	switch name {
	case "gzip":
		w = gzip.NewWriter(&buf)
	case "zstd":
		w, _ = zstd.NewWriter(&buf, zstd.WithEncoderConcurrency(1))
	case "deflate":
		w = zlib.NewWriter(&buf)
	case "snappy":
		return snappy.Encode(nil, data)
	case "x-snappy-framed":
		w = snappy.NewBufferedWriter(&buf)
	default:
		return data
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

func (l *lab) post(t testing.TB, path string, header map[string]string, body []byte) answer {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, "http://"+l.http+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	for name, value := range header {
		r.Header.Set(name, value)
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{got.StatusCode, got.Header, string(text)}
}

// codec is a compressor of a gRPC client that its library does not bring.
type codec struct{ name string }

func (c codec) Name() string { return c.name }

func (c codec) Compress(w io.Writer) (io.WriteCloser, error) {
	if c.name == "zstd" {
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	}
	return snappy.NewBufferedWriter(w), nil
}

func (c codec) Decompress(r io.Reader) (io.Reader, error) {
	if c.name == "zstd" {
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	}
	return snappy.NewReader(r), nil
}

func registerCodecs() {
	encoding.RegisterCompressor(codec{"zstd"})
	encoding.RegisterCompressor(codec{"snappy"})
}

func sorted(m map[string]int) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		all = append(all, fmt.Sprint(k, " ", m[k]))
	}
	return strings.Join(all, "\n")
}
