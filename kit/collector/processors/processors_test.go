// SPDX-License-Identifier: Apache-2.0

package processors_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pipeline"
	"go.opentelemetry.io/collector/processor"
	"go.uber.org/goleak"

	"github.com/busbar/busbar/kit/collector"
	"github.com/busbar/busbar/kit/collector/processors"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type settings = map[string]any

// kinds are settings for each kind with which it works, and leaves what data returns.
func kinds() map[string]settings {
	transforms := settings{"transforms": []any{settings{"include": "m", "action": "update", "new_name": "n"}}}
	return map[string]settings{
		"attributes":            {"actions": []any{settings{"key": "k", "action": "insert", "value": 7}}},
		"filter":                {"error_mode": "ignore", "traces": settings{"span": []any{`name == "x"`}}},
		"metrics_transform":     transforms,
		"metricstransform":      transforms,
		"probabilistic_sampler": {"sampling_percentage": 100},
		"redaction":             {"allow_all_keys": true, "blocked_values": []any{"secret"}},
		"resource":              {"attributes": []any{settings{"key": "k", "action": "upsert", "value": "v"}}},
		"transform":             {"trace_statements": []any{`set(span.name, "y")`}},
	}
}

func traces() ptrace.Traces {
	t := ptrace.NewTraces()
	s := t.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	s.SetTraceID([16]byte{1})
	s.SetName("a")
	return t
}

func metrics() pmetric.Metrics {
	m := pmetric.NewMetrics()
	one := m.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	one.SetName("m")
	one.SetEmptyGauge().DataPoints().AppendEmpty().SetIntValue(1)
	return m
}

func logs() plog.Logs {
	l := plog.NewLogs()
	r := l.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	r.SetTraceID([16]byte{1})
	r.Body().SetStr("a")
	return l
}

// Whoever acknowledges a message when Consume returns nil relies on it: each processor returns the error of what is behind it.
func TestErrorsOfTheNextComeBack(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	next := consumertest.NewErr(broken)
	for name, k := range processors.Kinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, faults := k.Decode(kinds()[name])
			if faults != nil {
				t.Fatal(faults)
			}
			set := processor.Settings{ID: component.NewID(k.Factory.Type()), TelemetrySettings: componenttest.NewNopTelemetrySettings()}
			consume := map[string]func(context.Context) error{}
			start := func(signal string, c component.Component, err error, run func(context.Context) error) {
				if errors.Is(err, pipeline.ErrSignalNotSupported) {
					return
				}
				if err == nil {
					err = c.Start(t.Context(), componenttest.NewNopHost())
				}
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = c.Shutdown(context.Background()) })
				consume[signal] = run
			}
			ts, err := k.Factory.CreateTraces(t.Context(), set, cfg, next)
			start("traces", ts, err, func(ctx context.Context) error { return ts.ConsumeTraces(ctx, traces()) })
			ms, err := k.Factory.CreateMetrics(t.Context(), set, cfg, next)
			start("metrics", ms, err, func(ctx context.Context) error { return ms.ConsumeMetrics(ctx, metrics()) })
			ls, err := k.Factory.CreateLogs(t.Context(), set, cfg, next)
			start("logs", ls, err, func(ctx context.Context) error { return ls.ConsumeLogs(ctx, logs()) })
			if len(consume) == 0 {
				t.Fatal("takes no signal")
			}
			for signal, run := range consume {
				if err := run(t.Context()); !errors.Is(err, broken) {
					t.Errorf("%s: %v", signal, err)
				}
			}
		})
	}
}

func create(t *testing.T, name string, s settings) *collector.Processor {
	t.Helper()
	k := processors.Kinds()[name]
	cfg, faults := k.Decode(s)
	if faults != nil {
		t.Fatal(faults)
	}
	p, err := k.Create(t.Context(), cfg, collector.ProcessorSettings{Name: "test", Version: "1", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p
}

// Each processor hands on what it was given, by the call that gave it.
func TestEachHandsOn(t *testing.T) {
	t.Parallel()
	for name, s := range kinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := create(t, name, s)
			got := map[string]int{}
			if p.TakesTraces() {
				out, err := p.Traces(t.Context(), traces())
				if got["traces"] = out.SpanCount(); err != nil {
					t.Error(err)
				}
			}
			if p.TakesMetrics() {
				out, err := p.Metrics(t.Context(), metrics())
				if got["metrics"] = out.DataPointCount(); err != nil {
					t.Error(err)
				}
			}
			if p.TakesLogs() {
				out, err := p.Logs(t.Context(), logs())
				if got["logs"] = out.LogRecordCount(); err != nil {
					t.Error(err)
				}
			}
			want := map[string]int{"traces": 1, "metrics": 1, "logs": 1}
			switch name {
			case "metrics_transform", "metricstransform":
				want = map[string]int{"metrics": 1}
			case "probabilistic_sampler":
				want = map[string]int{"traces": 1, "logs": 1}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A processor that drops everything hands on nothing.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	p := create(t, "filter", settings{"traces": settings{"span": []any{`name == "a"`}}})
	out, err := p.Traces(t.Context(), traces())
	if err != nil || out.SpanCount() != 0 {
		t.Errorf("%d spans, %v", out.SpanCount(), err)
	}
	if _, err := create(t, "metricstransform", kinds()["metricstransform"]).Traces(t.Context(), traces()); !errors.Is(err, collector.ErrSignal) {
		t.Errorf("traces of a processor for metrics: %v", err)
	}
}

func TestFaultsHavePaths(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		settings settings
		want     string
	}{
		{"attributes", settings{"action": []any{}}, ".action"},
		{"attributes", settings{"actions": []any{settings{"kex": "k"}}}, ".actions[0].kex"},
		{"redaction", settings{"allow_all_keys": "perhaps"}, ".allow_all_keys"},
		{"transform", settings{"trace_statements": []any{`set(span.name "x")`}}, ""},
		{"probabilistic_sampler", settings{"sampling_percentage": -1}, ""},
		{"resource", settings{}, ""},
	} {
		t.Run(tc.name+" "+tc.want, func(t *testing.T) {
			t.Parallel()
			_, faults := processors.Kinds()[tc.name].Decode(tc.settings)
			if len(faults) != 1 || faults[0].Path != tc.want || faults[0].Reason == "" {
				t.Errorf("%+v, want one at %q", faults, tc.want)
			}
		})
	}
}
