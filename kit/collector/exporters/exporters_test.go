// SPDX-License-Identifier: Apache-2.0

package exporters_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/goleak"

	"github.com/busbar/busbar/kit/collector"
	"github.com/busbar/busbar/kit/collector/exporters"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type settings = map[string]any

func start(t *testing.T, kind collector.ExporterKind, s settings, timeout time.Duration) (*collector.Exporter, error) {
	t.Helper()
	cfg, faults := kind.Decode(s)
	if faults != nil {
		t.Fatal(faults)
	}
	e, err := kind.Start(t.Context(), cfg, collector.ExporterSettings{
		Version: "test", Timeout: timeout, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err == nil {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := e.Shutdown(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	return e, err
}

// consume hands over a record of each signal and returns the errors, by signal.
func consume(t *testing.T, e *collector.Exporter) map[string]error {
	t.Helper()
	now := pcommon.NewTimestampFromTime(time.Now())
	td, md, ld := ptrace.NewTraces(), pmetric.NewMetrics(), plog.NewLogs()
	span := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetName("span")
	span.SetStartTimestamp(now)
	span.SetEndTimestamp(now)
	metric := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	metric.SetName("gauge")
	metric.SetEmptyGauge().DataPoints().AppendEmpty().SetTimestamp(now)
	record := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	record.SetTimestamp(now)
	record.Body().SetStr("line")
	return map[string]error{
		"traces":  e.ConsumeTraces(t.Context(), td),
		"metrics": e.ConsumeMetrics(t.Context(), md),
		"logs":    e.ConsumeLogs(t.Context(), ld),
	}
}

// closed is an address at which nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// silent is an address that takes connections and never says a word.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var held []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				for _, c := range held {
					_ = c.Close()
				}
				return
			}
			held = append(held, c)
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

// TestErrorsComeBack is what every hosted exporter must pass, at every change of its version: while the back end is away, silent or
// refusing, whoever hands data over gets an error. An exporter that returned nil would have its messages acknowledged and lost.
func TestErrorsComeBack(t *testing.T) {
	t.Parallel()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }))
	t.Cleanup(refusing.Close)
	for _, tc := range []struct {
		name     string
		kind     collector.ExporterKind
		settings func(address string) settings
		without  []string // signals that it does not take
	}{
		{"kafka", exporters.Kafka(), func(a string) settings { return settings{"brokers": []any{a}, "timeout": "500ms"} }, nil},
		{"clickhouse", exporters.ClickHouse(), func(a string) settings {
			return settings{"endpoint": "http://" + a + "?dial_timeout=500ms&read_timeout=500ms", "create_schema": false, "timeout": "500ms"}
		}, nil},
		{"clickhouse native", exporters.ClickHouse(), func(a string) settings {
			return settings{"endpoint": "tcp://" + a + "?dial_timeout=500ms&read_timeout=500ms", "create_schema": false, "timeout": "500ms"}
		}, nil},
		{"prometheusremotewrite", exporters.PrometheusRemoteWrite(), func(a string) settings { return settings{"endpoint": "http://" + a} }, []string{"traces", "logs"}},
	} {
		for state, address := range map[string]string{"away": closed(t), "silent": silent(t), "refusing": refusing.Listener.Addr().String()} {
			t.Run(tc.name+" "+state, func(t *testing.T) {
				t.Parallel()
				e, err := start(t, tc.kind, tc.settings(address), 500*time.Millisecond)
				if err != nil {
					return // it looks for its back end when it starts, and is started again
				}
				for signal, err := range consume(t, e) {
					var f *collector.Failure
					switch {
					case err == nil:
						t.Errorf("%s were taken by a back end that is %s", signal, state)
					case errors.Is(err, collector.ErrSignal):
						if !slices.Contains(tc.without, signal) {
							t.Errorf("%s are not taken at all", signal)
						}
					case !errors.As(err, &f):
						t.Errorf("%s: error %v is a %T", signal, err, err)
					case state == "refusing" && tc.name == "prometheusremotewrite" && (f.Answer == nil || f.Answer.Status != http.StatusInternalServerError):
						t.Errorf("%s: the answer is not known: %v", signal, f)
					}
				}
			})
		}
	}
}

// TestDebugTakesAll is the other half: data that is taken gives nil.
func TestDebugTakesAll(t *testing.T) {
	t.Parallel()
	e, err := start(t, exporters.Debug(), settings{"use_internal_logger": true}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for signal, err := range consume(t, e) {
		if err != nil {
			t.Errorf("%s: %v", signal, err)
		}
	}
}

func TestKafkaTakesAll(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "otlp_spans", "otlp_metrics", "otlp_logs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	e, err := start(t, exporters.Kafka(), settings{"brokers": []any{c.ListenAddrs()[0]}}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for signal, err := range consume(t, e) {
		if err != nil {
			t.Errorf("%s: %v", signal, err)
		}
	}
}
