// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// service is one in this process with OpenTelemetry's SDK for Go.
type service struct {
	tracer   trace.Tracer
	orders   metric.Int64Counter
	shutdown func(ctx context.Context) error // sends what there is
}

// newService makes one that exports over gRPC or HTTP.
func newService(t *testing.T, name, protocol, address string) *service {
	t.Helper()
	ctx := t.Context()
	var (
		spans  sdktrace.SpanExporter
		points sdkmetric.Exporter
		err    error
	)
	if protocol == "grpc" {
		spans, err = otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(address), otlptracegrpc.WithInsecure())
		if err == nil {
			points, err = otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpoint(address), otlpmetricgrpc.WithInsecure(), otlpmetricgrpc.WithCompressor("gzip"))
		}
	} else {
		spans, err = otlptracehttp.New(ctx, otlptracehttp.WithEndpoint(address), otlptracehttp.WithInsecure(), otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
		if err == nil {
			points, err = otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpoint(address), otlpmetrichttp.WithInsecure())
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	res := resource.NewSchemaless(attribute.String("service.name", name))
	// Whatever was made waits until it is sent: an application that makes more than its queue holds would lose it by itself.
	tp := sdktrace.NewTracerProvider(sdktrace.WithResource(res), sdktrace.WithBatcher(spans, sdktrace.WithBlocking(), sdktrace.WithBatchTimeout(50*time.Millisecond)))
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithResource(res), sdkmetric.WithReader(sdkmetric.NewPeriodicReader(points, sdkmetric.WithInterval(200*time.Millisecond))))
	orders, err := mp.Meter("e2e").Int64Counter("orders", metric.WithUnit("{order}"))
	if err != nil {
		t.Fatal(err)
	}
	return &service{tracer: tp.Tracer("e2e"), orders: orders, shutdown: func(ctx context.Context) error {
		if err := tp.Shutdown(ctx); err != nil {
			return err
		}
		return mp.Shutdown(ctx)
	}}
}

// call makes a request in a span of its own below another, and counts.
func (c *service) call(t *testing.T, url string) {
	t.Helper()
	ctx, root := c.tracer.Start(t.Context(), "order")
	defer root.End()
	ctx, span := c.tracer.Start(ctx, "GET", trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(request.Header))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	c.orders.Add(ctx, 3, metric.WithAttributes(attribute.String("order.kind", "book")))
}

// sdkOfNode is the folder of OpenTelemetry's SDK for Node.js, installed once.
func sdkOfNode(t *testing.T) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "../../hack/deps", "otel-js")
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("hack/deps otel-js: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// sample is the value of a counter of a service on a Prometheus page, -1 if it is not there.
func sample(t *testing.T, page, metric, job string) int {
	t.Helper()
	_, text := get(t, page)
	m := regexp.MustCompile(`(?m)^` + metric + `\{[^}]*job="` + job + `"[^}]*\} (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		return -1
	}
	value, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(value)
}

// TestOTelSDKs: what services with OpenTelemetry's SDKs made arrives, exactly, and their traces are whole. Go services call Node.js services in every
// protocol that either SDK has.
func TestOTelSDKs(t *testing.T) {
	t.Parallel()
	b, js := newBackend(t), sdkOfNode(t)
	grpc, plain := freeAddress(t), freeAddress(t)
	s := allInOne(t, "--no-probe", "--otlp", "http://"+b.http, "--otlp-grpc-listen", grpc, "--otlp-http-listen", plain)
	const calls = 300
	servers := map[string]*process{}
	for _, protocol := range []string{"grpc", "http/protobuf", "http/json"} {
		name, at, to := "node-"+strings.ReplaceAll(protocol, "/", "-"), freeAddress(t), plain
		if protocol == "grpc" {
			to = grpc
		}
		_, port, _ := strings.Cut(at, ":")
		servers[name] = start(t, []string{
			"OTEL_JS=" + js, "OTEL_SERVICE_NAME=" + name, "OTEL_EXPORTER_OTLP_ENDPOINT=http://" + to, "OTEL_EXPORTER_OTLP_PROTOCOL=" + protocol,
			"OTEL_TRACES_EXPORTER=otlp", "OTEL_METRICS_EXPORTER=otlp", "OTEL_METRIC_EXPORT_INTERVAL=200", "OTEL_METRIC_EXPORT_TIMEOUT=200", "OTEL_LOGS_EXPORTER=none",
			"OTEL_EXPORTER_OTLP_COMPRESSION=gzip",
		}, "node", "testdata/otel.mjs", port)
		wait(t, 60*time.Second, name+" to listen", func() bool { return dials(at) })
		for _, protocol := range []string{"grpc", "http"} {
			to := map[string]string{"grpc": grpc, "http": plain}[protocol]
			c := newService(t, "go-"+protocol+"-to-"+name, protocol, to)
			for range calls {
				c.call(t, "http://"+at)
			}
			if err := c.shutdown(t.Context()); err != nil {
				t.Errorf("%s: %v", protocol, err)
			}
		}
	}
	for _, p := range servers {
		p.end(t, syscall.SIGTERM)
	}
	want := 3 * calls * 2 * 4 // the root of Go, its client span, the server span of Node.js and the one below
	wait(t, 60*time.Second, "every span", func() bool { return b.count() >= want })
	if got := b.count(); got != want {
		t.Errorf("%d spans, want %d", got, want)
	}
	trees := b.trees()
	for name := range servers {
		for _, protocol := range []string{"grpc", "http"} {
			tree := fmt.Sprintf("go-%[1]s-to-%[2]s order < go-%[1]s-to-%[2]s GET < %[2]s GET / < %[2]s look up", protocol, name)
			if trees[tree] != calls {
				t.Errorf("%d traces are %s, want %d; there are %v", trees[tree], tree, calls, trees)
			}
			client := "go-" + protocol + "-to-" + name
			wait(t, 60*time.Second, "the counter of "+client, func() bool { return sample(t, s.page, "orders_total", client) == 3*calls })
		}
		wait(t, 60*time.Second, "the counter of "+name, func() bool { return sample(t, s.page, "orders_total", name) == 2*2*calls })
	}
}

// count returns how many spans came.
func (b *backend) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.spans)
}

// trees returns the traces that are chains, as "service name" from the root down, and how many of each there are.
func (b *backend) trees() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	below := map[string]span{} // by trace and parent
	for _, s := range b.spans {
		below[s.trace+s.parent] = s
	}
	trees := map[string]int{}
	for _, s := range b.spans {
		if s.parent != "" {
			continue
		}
		names := []string{s.service + " " + s.name}
		for at, ok := below[s.trace+s.id]; ok; at, ok = below[s.trace+at.id] {
			names = append(names, at.service+" "+at.name)
		}
		trees[strings.Join(names, " < ")]++
	}
	return trees
}

// TestIngestOTLPKilled: clients with OpenTelemetry's SDK lose nothing when the service that they export to is killed again and again and the bus is away
// for a while, and nothing that it acknowledged is missing.
func TestIngestOTLPKilled(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	nats, address, data, queue := freeAddress(t), freeAddress(t), t.TempDir(), t.TempDir()
	host, port, _ := strings.Cut(nats, ":")
	bus := func() *process {
		p := start(t, nil, "nats-server", "-a", host, "-p", port, "-js", "-sd", data)
		wait(t, 20*time.Second, "nats-server to listen", func() bool { return dials(nats) })
		return p
	}
	server := bus()
	config := filepath.Join(t.TempDir(), "resources.yaml")
	write(t, config, "apiVersion: busbar.dev/v1\nkind: Destination\nmetadata: {name: end}\nspec: {otlp_http: {endpoint: \"http://"+b.http+"\"}}\n---\n"+
		"apiVersion: busbar.dev/v1\nkind: Pipeline\nmetadata: {name: all}\nspec: {to: [end]}\n")
	common := []string{"--nats-url", "nats://" + nats, "--nats-wait", "1m", "--admin"}
	for _, name := range []string{"busbar-router", "busbar-exporter"} {
		admin := freeAddress(t)
		waitReady(t, start(t, nil, name, append(common, admin, "--config", config)...), "http://"+admin)
	}
	ingest := func() *process {
		admin := freeAddress(t)
		p := start(t, nil, "busbar-ingest-otlp", append(common, admin, "--grpc-listen", address, "--http-listen", "off", "--queue-dir", queue)...)
		waitReady(t, p, "http://"+admin)
		return p
	}
	in := ingest()
	c := newService(t, "shop", "grpc", address)
	var made atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.NewTicker(time.Millisecond); ctx.Err() == nil; <-tick.C {
			_, span := c.tracer.Start(ctx, "work")
			span.End()
			made.Add(1)
		}
	}()
	more := func(n int64) {
		goal := made.Load() + n
		wait(t, 120*time.Second, "spans to be made", func() bool { return made.Load() >= goal })
	}
	for range 4 {
		more(300)
		in.end(t, syscall.SIGKILL)
		in = ingest()
	}
	server.end(t, syscall.SIGKILL)
	gone := time.Second
	if text := os.Getenv("BUS_GONE"); text != "" { // longer, by hand
		var err error
		if gone, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	more(gone.Milliseconds())
	in.end(t, syscall.SIGKILL) // with what it has on disk; the next one waits for the bus
	bus()
	ingest()
	more(300)
	stop()
	<-ended
	if err := c.shutdown(t.Context()); err != nil {
		t.Errorf("the SDK gave up: %v", err)
	}
	wait(t, 60*time.Second, "every span", func() bool { return b.distinct() >= int(made.Load()) })
	if got := b.distinct(); got != int(made.Load()) {
		t.Errorf("%d spans arrived of %d", got, made.Load())
	}
	t.Logf("%d spans made, %d arrived, %d of them twice", made.Load(), b.count(), b.count()-b.distinct())
}

// distinct returns how many spans came, each once.
func (b *backend) distinct() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	ids := map[string]bool{}
	for _, s := range b.spans {
		ids[s.trace+s.id] = true
	}
	return len(ids)
}
