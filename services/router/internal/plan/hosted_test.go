// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/router/internal/otlp"
	"github.com/busbar/busbar/services/router/internal/pipeline"
	"github.com/busbar/busbar/services/router/internal/plan"
)

// gauges has data points 1, 2 and 3 of a metric, in a state each.
func gauges() otlp.Payload {
	m := pmetric.NewMetrics()
	one := m.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	one.SetName("memory")
	points := one.SetEmptyGauge().DataPoints()
	for i, state := range []string{"used", "free", "cached"} {
		p := points.AppendEmpty()
		p.SetIntValue(int64(i + 1))
		p.Attributes().PutStr("state", state)
	}
	return otlp.FromMetrics(m)
}

// Steps that are processors of the Collector do what it documents, and the balance holds whatever they drop and make.
func TestHostedProcessors(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, steps, want string }{
		{"attributes", `{attributes: {actions: [{key: n, action: insert, value: 7}]}}`,
			"tempo: 4 of part tempo/a/0-1\na: in 4, out 4"},
		{"resource", `{resource: {attributes: [{key: service.name, action: delete}]}}`,
			"tempo: 4 of part tempo/a/0-1\na: in 4, out 4"},
		{"redaction", `{redaction: {allow_all_keys: true, blocked_values: [shop]}}`,
			"tempo: 4 of part tempo/a/0-1\na: in 4, out 4"},
		{"sampler", `{probabilistic_sampler: {sampling_percentage: 0}}`,
			"a: in 4, out 0 map[sample:4]"},
		{"filter", `{filter: {error_mode: ignore, traces: {span: ['name == "GET /a"']}}}`,
			"tempo: 3 of part tempo/a/0-1\na: in 4, out 3 map[filter:1]"},
		{"filter of all", `{filter: {trace_conditions: ['span.name != ""']}}`,
			"a: in 4, out 0 map[filter:4]"},
		{"transform", `{transform: {trace_statements: ['set(span.name, "x")']}}, {filter: 'span.name != "x"'}`,
			"tempo: 4 of part tempo/a/0-1\na: in 4, out 4"},
		{"between others", `{filter: 'span.name == "GET /b"'}, {attributes: {actions: [{key: n, action: insert, value: 7}]}}, {filter: 'span.attributes["n"] != 7'}`,
			"tempo: 3 of part tempo/a/0-1\na: in 4, out 3 map[filter:1]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := compile(t, pipelines("a", `to: [tempo], signals: [traces], steps: [`+test.steps+`]`))
			for range 2 {
				got := describe(t, subject.Traces, p.Route(t.Context(), message(t, shop())))
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestMetricsTransform(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ step, want string }{
		"fewer": {`metricstransform: {transforms: [{include: memory, action: update, operations: [{action: aggregate_labels, label_set: [], aggregation_type: sum}]}]}`,
			"tempo: 1 of part tempo/a/0-1\na: in 3, out 1 map[metricstransform:2]"},
		"more": {`metrics_transform: {transforms: [{include: memory, action: insert, new_name: copy}]}`,
			"tempo: 6 of part tempo/a/0-1\na: in 3, out 6"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := compile(t, pipelines("a", `to: [tempo], steps: [{`+test.step+`}]`))
			if diff := cmp.Diff(test.want, describe(t, subject.Metrics, p.Route(t.Context(), message(t, gauges())))); diff != "" {
				t.Error(diff)
			}
			// It is not about other signals, which it does not look into either.
			if diff := cmp.Diff("tempo: as it came\na: in 7, out 7", describe(t, subject.Logs, p.Route(t.Context(), unread(subject.Logs)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHostedProcessorFails(t *testing.T) {
	t.Parallel()
	p := compile(t, pipelines(
		"fails", `to: [tempo], signals: [traces], steps: [{transform: {error_mode: propagate, trace_statements: ['set(span.attributes["n"], Int(span.name) / 0)']}}]`,
		"passes", `to: [loki]`))
	res := p.Route(t.Context(), message(t, shop()))
	if !errors.Is(res.Failed, pipeline.ErrStep) || len(res.Outputs) != 1 || res.Outputs[0].Destination != "loki" {
		t.Errorf("%+v", res)
	}
}

// What a whole number in the resource says is a whole number in the data.
func TestSettingsKeepTheirTypes(t *testing.T) {
	t.Parallel()
	p := compile(t, pipelines("a", `to: [tempo], steps: [{attributes: {actions: [
		{key: int, action: insert, value: 7}, {key: float, action: insert, value: 7.5}, {key: bool, action: insert, value: true}, {key: text, action: insert, value: "7"}]}}]`))
	traces := ptrace.NewTraces()
	traces.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	res := p.Route(t.Context(), message(t, otlp.FromTraces(traces)))
	if len(res.Outputs) != 1 {
		t.Fatalf("%+v", res)
	}
	var u ptrace.ProtoUnmarshaler
	out, err := u.UnmarshalTraces(res.Outputs[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	got := out.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes().AsRaw()
	if diff := cmp.Diff(map[string]any{"int": int64(7), "float": 7.5, "bool": true, "text": "7"}, got); diff != "" {
		t.Error(diff)
	}
}

// A plan that is retired ends with its last use, and is not begun again.
func TestLife(t *testing.T) {
	t.Parallel()
	p, faults := plan.Compile(load(t, pipelines("a", `to: [tempo], steps: [{attributes: {actions: [{key: a, action: delete}]}}]`)), nil, plan.Environment{})
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	if p.Enter() {
		t.Error("in use before it is started")
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !p.Enter() {
		t.Fatal("not in use once it is started")
	}
	if err := p.Retire(); err != nil {
		t.Error(err)
	}
	if !p.Enter() { // by who has seen it before it was retired, while another one uses it
		t.Error("ended while in use")
	}
	if err := errors.Join(p.Leave(), p.Leave()); err != nil {
		t.Error(err)
	}
	if p.Enter() {
		t.Error("in use after its end")
	}
}
