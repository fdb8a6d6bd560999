// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/router/internal/limit"
	"github.com/busbar/busbar/services/router/internal/otlp"
	"github.com/busbar/busbar/services/router/internal/ottl"
	"github.com/busbar/busbar/services/router/internal/pipeline"
)

func compile(t testing.TB, signals []subject.Signal, steps ...*configv1.Step) *pipeline.Pipeline {
	t.Helper()
	c, err := ottl.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	return pipeline.Compiler{Language: c, Limiter: limit.New(nil, nil)}.Compile(pipeline.Source{
		Name: "test", Spec: &configv1.Pipeline{Steps: steps},
		Report: func(path string, _ int, format string, args ...any) { t.Fatalf(path+": "+format, args...) },
	}, signals)
}

func sample(s *configv1.Sample) *configv1.Step {
	return &configv1.Step{Step: &configv1.Step_Sample{Sample: s}}
}

// traceID has the given share of all randomness: 0 is dropped first, 1 never.
func traceID(random float64) pcommon.TraceID {
	id := pcommon.TraceID{1}
	binary.BigEndian.PutUint64(id[8:], uint64(min(random*(1<<56), 1<<56-1)))
	return id
}

func TestSampleSpans(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		random float64
		state  string
		change func(ptrace.Span)
		kept   bool
		want   string // tracestate after
	}{
		{name: "below", random: 0.7},
		{name: "above", random: 0.8, kept: true, want: "ot=th:c"},
		{name: "states of others stay", random: 0.8, state: "a=b,c=d", kept: true, want: "ot=th:c,a=b,c=d"},
		{name: "explicit randomness goes first", random: 0.8, state: "ot=rv:00000000000000"},
		{name: "and stays", random: 0.1, state: "ot=rv:d0000000000000;x:y", kept: true, want: "ot=rv:d0000000000000;th:c;x:y"},
		{name: "sampled less before", random: 0.8, state: "ot=th:8", kept: true, want: "ot=th:c"},
		{name: "sampled more before", random: 0.99, state: "ot=th:f", kept: true, want: "ot=th:f"},
		{name: "sampled twice", random: 0.8, state: "ot=th:c", kept: true, want: "ot=th:c"},
		{name: "malformed state is not touched", random: 0.8, state: "=;", kept: true, want: "=;"},
		{name: "nor does it save", random: 0.1, state: "=;"},
		{name: "errors are kept for certain", random: 0.1, change: func(s ptrace.Span) { s.Status().SetCode(ptrace.StatusCodeError) }, kept: true},
		{name: "also those that would have been kept", random: 0.9, change: func(s ptrace.Span) { s.Status().SetCode(ptrace.StatusCodeError) }, kept: true},
		{name: "slow", random: 0.1, change: func(s ptrace.Span) { s.SetEndTimestamp(pcommon.Timestamp(time.Second)) }, kept: true},
		{name: "not slow enough", random: 0.1, change: func(s ptrace.Span) { s.SetEndTimestamp(pcommon.Timestamp(time.Second - 1)) }},
		{name: "ends before it begins", random: 0.1, change: func(s ptrace.Span) { s.SetStartTimestamp(math.MaxUint64) }},
		{name: "without a trace id", random: 0, change: func(s ptrace.Span) { s.SetTraceID(pcommon.TraceID{}) }, kept: true},
	}
	p := compile(t, []subject.Signal{subject.Traces}, sample(&configv1.Sample{Ratio: 0.25, KeepErrors: true, KeepSlowerThan: "1s"}))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			traces := ptrace.NewTraces()
			span := traces.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
			span.SetTraceID(traceID(test.random))
			span.TraceState().FromRaw(test.state)
			if test.change != nil {
				test.change(span)
			}
			effect, err := p.Run(t.Context(), pipeline.Message{}, otlp.FromTraces(traces), 0)
			if err != nil {
				t.Fatal(err)
			}
			if kept := traces.SpanCount() == 1; kept != test.kept {
				t.Fatalf("kept %t", kept)
			}
			if !test.kept {
				if diff := cmp.Diff(map[string]int{pipeline.Sampled: 1}, effect.Dropped); diff != "" {
					t.Error(diff)
				}
				return
			}
			after := traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).TraceState().AsRaw()
			if after != test.want {
				t.Errorf("tracestate %q, want %q", after, test.want)
			}
			if effect.Changed != (after != test.state) {
				t.Errorf("changed %t", effect.Changed)
			}
		})
	}
}

func TestSampleKeepsItsShare(t *testing.T) {
	t.Parallel()
	const n = 10_000
	for _, ratio := range []float64{0, 0.001, 0.2, 0.5, 0.999} {
		p := compile(t, []subject.Signal{subject.Traces, subject.Logs}, sample(&configv1.Sample{Ratio: ratio}))
		traces, logs := ptrace.NewTraces(), plog.NewLogs()
		spans := traces.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
		records := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
		records.AppendEmpty() // of no trace
		for i := range n {
			id := traceID((float64(i) + 0.5) / n)
			spans.AppendEmpty().SetTraceID(id)
			records.AppendEmpty().SetTraceID(id)
		}
		if _, err := p.Run(t.Context(), pipeline.Message{}, otlp.FromTraces(traces), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Run(t.Context(), pipeline.Message{}, otlp.FromLogs(logs), 0); err != nil {
			t.Fatal(err)
		}
		if got := traces.SpanCount(); math.Abs(float64(got)-ratio*n) > 2 {
			t.Errorf("%v of %d is %d", ratio, n, got)
		}
		if logs.LogRecordCount() != traces.SpanCount()+1 {
			t.Errorf("%d logs of %d traces", logs.LogRecordCount(), traces.SpanCount())
		}
	}
}

func TestStatementsRunInOrder(t *testing.T) {
	t.Parallel()
	statements := []string{
		`set(resource.attributes["a"], "1")`,
		`set(span.attributes["a"], resource.attributes["a"])`,
		`set(span.attributes["b"], "2")`,
		`set(resource.attributes["a"], span.attributes["b"])`,
		`set(span.attributes["c"], resource.attributes["a"])`,
		`set(spanevent.attributes["a"], span.attributes["c"])`,
		`set(log.body, "not about spans")`,
	}
	p := compile(t, subject.Signals(), &configv1.Step{Step: &configv1.Step_Transform{Transform: &configv1.Transform{Statements: statements}}})
	traces := ptrace.NewTraces()
	rs := traces.ResourceSpans().AppendEmpty()
	span := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	event := span.Events().AppendEmpty()
	effect, err := p.Run(t.Context(), pipeline.Message{}, otlp.FromTraces(traces), 0)
	if err != nil || !effect.Changed || effect.Faults != nil {
		t.Errorf("%+v", effect)
	}
	got := []map[string]any{rs.Resource().Attributes().AsRaw(), span.Attributes().AsRaw(), event.Attributes().AsRaw()}
	want := []map[string]any{{"a": "2"}, {"a": "1", "b": "2", "c": "2"}, {"a": "2"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
