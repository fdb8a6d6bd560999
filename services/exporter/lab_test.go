// SPDX-License-Identifier: Apache-2.0

package exporter_test

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // for the servers of these tests

	fleetv1 "github.com/busbar/busbar/contract/fleet/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/exporter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const root = subject.DefaultRoot

// lab is a bus with one exporter on it.
type lab struct {
	t     testing.TB
	nats  *bustest.Server
	bus   *bus.Bus // of the test
	admin *admin.Admin
	stop  func() error // stops the exporter and returns how it ended
}

// start runs an exporter until the test ends.
func start(t testing.TB, change func(*exporter.Config)) *lab {
	t.Helper()
	l := &lab{t: t, nats: bustest.Start(t)}
	l.bus = l.nats.Connect(t, "test")
	l.run(change)
	return l
}

func (l *lab) run(change func(*exporter.Config)) {
	l.t.Helper()
	cfg := exporter.Default()
	cfg.Bus = l.nats.Config("")
	l.admin = admin.New()
	cfg.Admin = l.admin
	cfg.Log = slog.New(slog.NewTextHandler(l.t.Output(), nil))
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- exporter.Run(ctx, cfg) }()
	l.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	l.t.Cleanup(func() {
		if err := l.stop(); err != nil {
			l.t.Error(err)
		}
	})
}

// publish puts messages on the stream of a destination. Each is named by its place among them.
func (l *lab) publish(destination string, signal subject.Signal, from, to int, body func(i int) []byte) {
	l.t.Helper()
	if err := l.bus.Provision(l.t.Context(), bus.StreamSpec(root.OutStream(destination))); err != nil {
		l.t.Fatal(err)
	}
	var msgs []bus.Msg
	for i := from; i < to; i++ {
		shard := i % subject.Shards
		if signal == subject.Metrics {
			shard = subject.Shard(subject.DefaultTenant, "", "shop") // a series has one
		}
		msgs = append(msgs, bus.Msg{
			Subject: root.Out(destination, signal, shard), ID: fmt.Sprintf("%s-%d", signal, i), Items: 1, Data: body(i),
		})
	}
	if err := l.bus.Publish(l.t.Context(), msgs...); err != nil {
		l.t.Fatal(err)
	}
}

// beats listens to heartbeats of the exporter, and returns what returns the last one.
func (l *lab) beats() func() *fleetv1.Heartbeat {
	l.t.Helper()
	var mu sync.Mutex
	last := new(fleetv1.Heartbeat)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- l.bus.Subscribe(ctx, string(root)+".beat.exporter.*", func(d *bus.Delivery) {
			h := new(fleetv1.Heartbeat)
			if err := h.UnmarshalVT(d.Raw()); err != nil {
				l.t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			last = h
		})
	}()
	l.t.Cleanup(func() { cancel(); <-ended })
	return func() *fleetv1.Heartbeat {
		mu.Lock()
		defer mu.Unlock()
		return last
	}
}

// metric reads a metric of the process, 0 if it is not there.
func (l *lab) metric(name string, labels ...string) float64 {
	l.t.Helper()
	families, err := l.admin.Gatherer().Gather()
	if err != nil {
		l.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			var values []string
			for _, p := range m.Label {
				values = append(values, p.GetValue())
			}
			if f.GetName() == name && slices.Equal(values, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

func (l *lab) state(destination, state string) func() bool {
	return func() bool { return l.metric("busbar_destination_state", destination, state) == 1 }
}

func spans(t testing.TB) func(int) []byte {
	return func(i int) []byte {
		td := ptrace.NewTraces()
		td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty().SetName(fmt.Sprint(i))
		b, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
		if err != nil {
			t.Error(err)
		}
		return b
	}
}

// backend is an OTLP/HTTP receiver that can be taken away, come back at the same address, and misbehave.
type backend struct {
	t       testing.TB
	address string
	server  *http.Server
	done    chan struct{}

	mu     sync.Mutex
	got    map[string]int // requests by idempotency key
	total  int            // of all requests, also those that were refused
	refuse func(w http.ResponseWriter, key string, body []byte) bool
}

func newBackend(t testing.TB) *backend {
	t.Helper()
	b := &backend{t: t, address: "127.0.0.1:0", got: make(map[string]int)}
	b.up()
	t.Cleanup(b.down)
	return b
}

func (b *backend) up() {
	b.t.Helper()
	listener, err := net.Listen("tcp", b.address)
	if err != nil {
		b.t.Fatal(err)
	}
	b.address, b.done = listener.Addr().String(), make(chan struct{})
	b.server = &http.Server{Handler: http.HandlerFunc(b.take), ReadHeaderTimeout: time.Minute}
	go func(s *http.Server, done chan struct{}) { defer close(done); _ = s.Serve(listener) }(b.server, b.done)
}

// down closes the port and cuts all connections.
func (b *backend) down() {
	_ = b.server.Close()
	<-b.done
}

func (b *backend) take(w http.ResponseWriter, r *http.Request) {
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	body, err := io.ReadAll(z)
	if err != nil {
		return // cut
	}
	key := r.Header.Get("Idempotency-Key")
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total++
	if b.refuse == nil || !b.refuse(w, key, body) {
		b.got[key]++
	}
}

// refusing sets what is refused.
func (b *backend) refusing(f func(w http.ResponseWriter, key string, body []byte) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuse = f
}

func (b *backend) distinct() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.got)
}

func (b *backend) requests() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}

func status(code int, header ...string) func(http.ResponseWriter, string, []byte) bool {
	return func(w http.ResponseWriter, _ string, _ []byte) bool {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		return true
	}
}

// resources writes a file and returns its path.
func resources(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "resources.yaml")
	write(t, path, text)
	return path
}

// write replaces a file as an editor does.
func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func destination(name, spec string) string {
	return "---\napiVersion: busbar.dev/v1\nkind: Destination\nmetadata: {name: " + name + "}\nspec: {" + spec + "}\n"
}

// traces is an OTLP/gRPC receiver that notes the names of spans.
type traces struct {
	ptraceotlp.UnimplementedGRPCServer
	mu   sync.Mutex
	seen map[string]bool
}

func (r *traces) Export(_ context.Context, q ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[q.Traces().ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Name()] = true
	return ptraceotlp.NewExportResponse(), nil
}

func (r *traces) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen)
}

func (r *traces) serve(t testing.TB, address string) (actual string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(server, r)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	return listener.Addr().String(), func() { server.Stop(); <-done }
}

func counter(t testing.TB) func(int) []byte {
	return func(int) []byte {
		m := pmetric.NewMetrics()
		rm := m.ResourceMetrics().AppendEmpty()
		rm.Resource().Attributes().PutStr("service.name", "shop")
		metric := rm.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
		metric.SetName("calls")
		s := metric.SetEmptySum()
		s.SetIsMonotonic(true)
		s.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
		s.DataPoints().AppendEmpty().SetIntValue(1)
		b, err := new(pmetric.ProtoMarshaler).MarshalMetrics(m)
		if err != nil {
			t.Error(err)
		}
		return b
	}
}

// sample scrapes a page and returns the value of a counter, -1 when the page does not answer.
func sample(t testing.TB, address, name string) float64 {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/plain")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		return -1
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families[name].GetMetric() {
		return m.GetCounter().GetValue()
	}
	return 0
}

// freePort returns an address that nobody listens on.
func freePort(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
