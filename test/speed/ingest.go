// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/busbar/busbar/test/internal/child"
)

// inflow is a way in: what is sent, and how.
type inflow struct {
	name    string
	process string  // whose CPU time counts
	per     string  // what a record is
	records int     // in a request
	target  float64 // µs a record; 0: none
	send    func(ctx context.Context, n int) error
}

// edge is what stands before the bus: a NATS server, and services that take data.
type edge struct {
	dir       string
	processes map[string]*child.Child
	nats      string
	otlp      [2]string    // addresses: gRPC, HTTP
	sent      atomic.Int64 // requests, so that none is like one of an earlier round
}

func newEdge(ctx context.Context, bin string) (*edge, error) {
	dir, err := os.MkdirTemp("", "busbar-ingest-")
	if err != nil {
		return nil, err
	}
	e := &edge{dir: dir, processes: map[string]*child.Child{}}
	if err := e.start(ctx, bin); err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

func (e *edge) start(ctx context.Context, bin string) error {
	at, err := child.Free(4)
	if err != nil {
		return err
	}
	e.nats, e.otlp = at[0], [2]string{at[1], at[2]}
	host, port, _ := strings.Cut(at[0], ":")
	if e.processes["nats-server"], err = child.Launch(ctx, filepath.Join(bin, "nats-server"), "-a", host, "-p", port, "-js", "-sd", filepath.Join(e.dir, "store")); err != nil {
		return err
	}
	if err := child.Listening(ctx, at[0]); err != nil {
		return err
	}
	e.processes["ingest-otlp"], err = child.Launch(ctx, filepath.Join(bin, "busbar-ingest-otlp"), "--nats-url", "nats://"+at[0], "--admin", at[3],
		"--grpc-listen", at[1], "--http-listen", at[2], "--queue-dir", filepath.Join(e.dir, "queue"))
	if err != nil {
		return err
	}
	return child.Ready(ctx, e.processes["ingest-otlp"], at[3])
}

func (e *edge) close() {
	for _, name := range []string{"ingest-otlp", "nats-server"} {
		if p := e.processes[name]; p != nil {
			p.Stop()
		}
	}
	_ = os.RemoveAll(e.dir)
}

// ingest measures what it takes to take data in, and writes that section of the page.
func ingest(ctx context.Context, out io.Writer, s settings, bodies [][]byte) error {
	e, err := newEdge(ctx, s.bin)
	if err != nil {
		return err
	}
	defer e.close()
	ways, err := e.otlpWays(bodies)
	if err != nil {
		return err
	}
	messages := int(s.window.Seconds()*float64(s.rate)) / spans
	took := map[string][2][]float64{}
	for i := range s.rounds + 1 {
		for _, w := range ways {
			if !s.chosen(w.name) {
				continue
			}
			own, bus, err := e.round(ctx, w, messages)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if t := took[w.name]; i > 0 { // the first one warms up
				took[w.name] = [2][]float64{append(t[0], own), append(t[1], bus)}
			}
		}
	}
	peak, err := child.PeakKiB(e.processes["ingest-otlp"].PID())
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s\nWritten by `make bench-ingest` on %s: %d processors, %s; %d rounds of %d requests each, %d at a time, the ways in turn. CPU time of the process that takes the data, from the socket to the acknowledgement of the bus, per record; medians, with quartiles, and what nats-server took for it.\n\n",
		ingestSection, time.Now().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), s.rounds, messages, senders)
	fmt.Fprint(out, "| way in | record | CPU/record, µs | target | bus |\n|---|---|---|---|---|\n")
	for _, w := range ways {
		t := took[w.name]
		if len(t[0]) == 0 {
			continue
		}
		target := ""
		if w.target > 0 {
			target = strconv.FormatFloat(w.target, 'f', 1, 64)
		}
		fmt.Fprintf(out, "| %s | %s | %.3f (%.3f-%.3f) | %s | %.3f |\n", w.name, w.per, median(t[0]), quartile(t[0], 0.25), quartile(t[0], 0.75), target, median(t[1]))
	}
	fmt.Fprintf(out, "\nPeak of what was resident of ingest-otlp meanwhile: %d MiB.\n", peak>>10)
	return e.crowd(ctx, out, ways[0])
}

// round sends requests, and returns what a record took of the service and of the bus.
func (e *edge) round(ctx context.Context, w inflow, messages int) (own, bus float64, err error) {
	cpu := func() (at [2]time.Duration) {
		for i, name := range []string{w.process, "nats-server"} {
			if err == nil {
				at[i], err = child.CPUTime(e.processes[name].PID())
			}
		}
		return at
	}
	before := cpu()
	var next atomic.Int64
	var once sync.Once
	var all sync.WaitGroup
	for range senders {
		all.Go(func() {
			for i := int(next.Add(1)); i <= messages; i = int(next.Add(1)) {
				if failure := w.send(ctx, i); failure != nil {
					once.Do(func() { err = failure })
					return
				}
			}
		})
	}
	all.Wait()
	after := cpu()
	each := func(i int) float64 { return (after[i] - before[i]).Seconds() * 1e6 / float64(messages*w.records) }
	return each(0), each(1), err
}

// otlpWays are those of OTLP. No two requests are the same, since the bus would store only one of them.
func (e *edge) otlpWays(bodies [][]byte) ([]inflow, error) {
	var first ptrace.Traces
	texts := make([][]byte, len(bodies))
	several := ptrace.NewTraces()
	for i, body := range bodies {
		request := ptraceotlp.NewExportRequest()
		if err := request.UnmarshalProto(body); err != nil {
			return nil, err
		}
		if first = request.Traces(); i < 4 {
			ss := first.ResourceSpans().At(0)
			ss.CopyTo(several.ResourceSpans().AppendEmpty())
			n := 0
			several.ResourceSpans().At(i).ScopeSpans().At(0).Spans().RemoveIf(func(ptrace.Span) bool { n++; return n > spans/4 })
		}
		var err error
		if texts[i], err = request.MarshalJSON(); err != nil {
			return nil, err
		}
	}
	four, err := ptraceotlp.NewExportRequestFromTraces(several).MarshalProto()
	if err != nil {
		return nil, err
	}
	sums, err := pmetricotlp.NewExportRequestFromMetrics(sums()).MarshalProto()
	if err != nil {
		return nil, err
	}
	const traces, metrics = "/opentelemetry.proto.collector.trace.v1.TraceService/Export", "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
	own := "ingest-otlp"
	ways := []inflow{
		{"OTLP/gRPC", own, "span", spans, 1, e.grpc(traces, "", bodies)},
		{"OTLP/gRPC, gzip", own, "span", spans, 0, e.grpc(traces, "gzip", bodies)},
		{"OTLP/HTTP", own, "span", spans, 1, e.http("application/x-protobuf", "", bodies)},
		{"OTLP/HTTP, gzip", own, "span", spans, 0, e.http("application/x-protobuf", "gzip", bodies)},
		{"OTLP/HTTP, zstd", own, "span", spans, 0, e.http("application/x-protobuf", "zstd", bodies)},
		{"OTLP/HTTP, JSON", own, "span", spans, 0, e.http("application/json", "", texts)},
		{"OTLP/HTTP, four services in a request", own, "span", spans / 4 * 4, 1, e.http("application/x-protobuf", "", [][]byte{four})},
		{"OTLP/gRPC, sums", own, "data point", spans, 0, e.grpc(metrics, "", [][]byte{sums})},
	}
	return ways, nil
}

const startOfSums = 1_700_000_000_000_000_000

// sums are data points as an SDK makes them.
func sums() pmetric.Metrics {
	m := pmetric.NewMetrics()
	rm := m.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", "shop")
	sm := rm.ScopeMetrics().AppendEmpty()
	for i := range spans / 5 {
		metric := sm.Metrics().AppendEmpty()
		metric.SetName(fmt.Sprint("shop.metric.", i))
		metric.SetEmptySum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		for j := range 5 {
			p := metric.Sum().DataPoints().AppendEmpty()
			p.SetIntValue(int64(i * j))
			p.SetStartTimestamp(startOfSums)
			p.SetTimestamp(startOfSums + 1e9)
			p.Attributes().PutStr("http.route", fmt.Sprintf("/api/v1/items/%d", j))
			p.Attributes().PutStr("http.request.method", "GET")
		}
	}
	return m
}

// another returns the n-th variation of a body: its first trace id, or without one a time, is another.
func another(body []byte, n int) []byte {
	b := bytes.Clone(body)
	mark := []byte{0x0a, 16} // field 1 of a span, 16 bytes
	if _, after, ok := bytes.Cut(b, []byte(`"traceId":"`)); ok {
		hex.Encode(after, fmt.Appendf(nil, "%08x", n))
		return b
	}
	if at := bytes.Index(b, mark); at >= 0 && !bytes.Contains(b, []byte("shop.metric.")) {
		copy(b[at+len(mark):], fmt.Appendf(nil, "%08x", n))
		return b
	}
	at := bytes.Index(b, binary.LittleEndian.AppendUint64([]byte{0x11}, startOfSums)) // field 2 of a data point
	binary.LittleEndian.PutUint64(b[at+1:], startOfSums+uint64(n))                    //nolint:gosec // Not negative.
	return b
}

func (e *edge) grpc(method, compression string, bodies [][]byte) func(context.Context, int) error {
	options := []grpc.CallOption{grpc.ForceCodecV2(raw{})}
	if compression != "" {
		options = append(options, grpc.UseCompressor(compression))
	}
	conn, err := grpc.NewClient(e.otlp[0], grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(options...))
	return func(ctx context.Context, n int) error {
		if err != nil {
			return err
		}
		body := another(bodies[n%len(bodies)], int(e.sent.Add(1)))
		var answer []byte
		return conn.Invoke(ctx, method, &body, &answer)
	}
}

// http sends spans.
func (e *edge) http(contentType, compression string, bodies [][]byte) func(context.Context, int) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders}}
	encode := encoder(compression)
	return func(ctx context.Context, n int) error {
		body := encode(another(bodies[n%len(bodies)], int(e.sent.Add(1))))
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+e.otlp[1]+"/v1/traces", bytes.NewReader(body))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", contentType)
		if compression != "" {
			r.Header.Set("Content-Encoding", compression)
		}
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		text, err := io.ReadAll(answer.Body)
		if err == nil && answer.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", answer.Status, text)
		}
		return err
	}
}

func encoder(compression string) func([]byte) []byte {
	switch compression {
	case "gzip":
		return func(b []byte) []byte {
			var buf bytes.Buffer
			w, _ := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
			_, _ = w.Write(b) // into memory
			_ = w.Close()
			return buf.Bytes()
		}
	case "zstd":
		z, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
		return func(b []byte) []byte { return z.EncodeAll(b, nil) }
	default:
		return func(b []byte) []byte { return b }
	}
}

// connections of the crowd.
const crowdSize = 10_000

// crowd opens connections that send a little and then nothing, and bombs, while others are served, and says what memory that took.
func (e *edge) crowd(ctx context.Context, out io.Writer, w inflow) error {
	pid := e.processes["ingest-otlp"].PID()
	before, err := child.ResidentKiB(pid)
	if err != nil {
		return err
	}
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for i := range crowdSize {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", e.otlp[i%2])
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		open = append(open, c)
		_, _ = io.WriteString(c, "POST /v1/traces HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-protobuf\r\nContent-Length: 30000000\r\n\r\nabc")
	}
	served := 0
	for i := range 200 {
		if w.send(ctx, i) == nil {
			served++
		}
	}
	during, err := child.ResidentKiB(pid)
	if err != nil {
		return err
	}
	bomb := encoder("gzip")(make([]byte, 1<<30))
	refused, err := e.bombs(ctx, bomb)
	if err != nil {
		return err
	}
	peak, err := child.PeakKiB(pid)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%d connections that send three bytes of thirty million and then nothing: %d MiB resident, %d before; %d of 200 other requests were taken meanwhile. "+
		"64 bodies of a gigabyte of zeros in a megabyte of gzip on top, 16 at a time: all refused (%s). Peak of all: %d MiB; target 256.\n",
		crowdSize, during>>10, before>>10, served, refused, peak>>10)
	return nil
}

// bombs sends a body that is small until it is decompressed, and tells the answers.
func (e *edge) bombs(ctx context.Context, bomb []byte) (string, error) {
	var mu sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for range senders {
		all.Go(func() {
			for range 4 {
				r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+e.otlp[1]+"/v1/traces", bytes.NewReader(bomb))
				if err != nil {
					return
				}
				r.Header.Set("Content-Type", "application/x-protobuf")
				r.Header.Set("Content-Encoding", "gzip")
				answer, err := http.DefaultClient.Do(r)
				if err != nil {
					return
				}
				_ = answer.Body.Close()
				mu.Lock()
				statuses[answer.StatusCode]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if statuses[http.StatusOK] > 0 {
		return "", fmt.Errorf("bombs were taken: %v", statuses)
	}
	return strings.Trim(fmt.Sprint(statuses), "map[]"), nil
}
