// SPDX-License-Identifier: Apache-2.0

package ottl_test

import (
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/busbar/busbar/services/router/internal/otlp"
	"github.com/busbar/busbar/services/router/internal/ottl"
)

func compiler(t testing.TB) *ottl.Compiler {
	t.Helper()
	c, err := ottl.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConditionFaults(t *testing.T) {
	t.Parallel()
	c := compiler(t)
	tests := []struct {
		name, text string
		offset     int
		reason     string
	}{
		{"syntax", `span.attributes["a"] = "/x"`, 21, "condition has invalid syntax near `= \"/x\"`: (expected <opcomparison> Value)"},
		{"second line", "span.name == \"a\" and\nspan.name = \"b\"", 31, "condition has invalid syntax near `= \"b\"`: (expected <opcomparison> Value)"},
		{"unclosed", `span.name == "`, 13, "condition has invalid syntax: invalid input text \"\\\"\""},
		{"no context", `1 == 1`, 0, "no path tells what this is about: begin paths with resource, scope, span, spanevent, metric, datapoint or log"},
		{"no such path", `span.attrs["a"] == "b"`, 0, ""},
		{"no such function", `IsNice(span.name)`, 0, `inferred context "span" does not support the function "IsNice"`},
		{"enum of another", `span.kind == STATUS_CODE_BAD`, 0, ""},
		{"bad pattern", `IsMatch(span.name, "(")`, 0, ""},
		{"number with text", `span.kind == "server"`, 0, "wrong type: span.kind is a number and is compared with a text (did you mean span.kind.string?)"},
		{"text with number", `true and span.name == 500`, 9, "wrong type: span.name is a text and is compared with a number"},
		{"bool as text", `IsInCIDR(true, ["10.0.0.0/8"]) and span.name == "x"`, 0, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, fault := c.Condition(test.text)
			if fault == nil {
				t.Fatal("compiled")
			}
			t.Logf("%d %s", fault.Offset, fault.Reason)
			if test.reason != "" && (fault.Reason != test.reason || fault.Offset != test.offset) {
				t.Errorf("got %d %s, want %d %s", fault.Offset, fault.Reason, test.offset, test.reason)
			}
		})
	}
}

func TestStatementFaults(t *testing.T) {
	t.Parallel()
	c := compiler(t)
	tests := []struct {
		name, text string
		offset     int
		reason     string
	}{
		{"syntax", `set(span.name, "a"`, 18, ""},
		{"condition alone", `span.name == "a"`, 4, ""},
		{"id from a text", `set(span.trace_id, "zz")`, 0, "wrong type: expects pcommon.TraceID but got string"},
		{"behind a condition", `set(span.trace_id, "zz") where span.name == "b"`, 0, "wrong type: expects pcommon.TraceID but got string"},
		{"in the condition", `set(span.name, "where a") where span.kind == "server"`, 32, ""},
		{"severity from a text", `set(log.severity_number, "high")`, 0, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, fault := c.Statement(test.text)
			if fault == nil {
				t.Fatal("compiled")
			}
			t.Logf("%d %s", fault.Offset, fault.Reason)
			if fault.Offset != test.offset || test.reason != "" && fault.Reason != test.reason {
				t.Errorf("got %d %s, want %d %s", fault.Offset, fault.Reason, test.offset, test.reason)
			}
		})
	}
}

// What is right for some data must be taken, whatever the samples are.
func TestRightStatements(t *testing.T) {
	t.Parallel()
	c := compiler(t)
	tests := map[string]ottl.Context{
		`set(resource.attributes["a"], "b")`:                                                                 ottl.Resource,
		`set(scope.name, "b") where scope.version == "1"`:                                                    ottl.Scope,
		`set(span.attributes["team"], "checkout")`:                                                           ottl.Span,
		`set(span.attributes["team"], resource.attributes["team"])`:                                          ottl.Span,
		`set(span.status.code, STATUS_CODE_ERROR) where span.attributes["http.response.status_code"] >= 500`: ottl.Span,
		`set(span.name, Concat([span.attributes["a"], "b"], " "))`:                                           ottl.Span,
		`set(span.trace_id, TraceID(0x00000000000000000000000000000001)) where IsRootSpan()`:                 ottl.Span,
		`merge_maps(log.attributes, ParseJSON(log.body), "upsert") where IsMatch(log.body, "^\\{")`:          ottl.Log,
		`set(log.attributes["x"], ParseJSON(log.body)["deep"]["er"])`:                                        ottl.Log,
		`set(log.severity_number, SEVERITY_NUMBER_ERROR)`:                                                    ottl.Log,
		`replace_pattern(span.attributes["url"], "/user/[0-9]+", "/user/{id}")`:                              ottl.Span,
		`set(span.attributes["n"], Int(span.attributes["s"]))`:                                               ottl.Span,
		`set(span.attributes["d"], Seconds(Duration(span.attributes["s"])))`:                                 ottl.Span,
		`set(datapoint.value_int, 3)`:                                                                        ottl.DataPoint,
		`set(datapoint.attributes["a"], datapoint.count)`:                                                    ottl.DataPoint,
		`set(metric.description, "a") where metric.type == METRIC_DATA_TYPE_SUM`:                             ottl.Metric,
		`set(metric.aggregation_temporality, AGGREGATION_TEMPORALITY_DELTA)`:                                 ottl.Metric,
		`set(spanevent.attributes["i"], spanevent.event_index)`:                                              ottl.SpanEvent,
		`keep_keys(span.attributes, ["a", "b"])`:                                                             ottl.Span,
		`delete_key(span.attributes["map"], "a")`:                                                            ottl.Span,
		`truncate_all(span.attributes, 100)`:                                                                 ottl.Span,
		`limit(resource.attributes, 10, ["a"])`:                                                              ottl.Resource,
		`set(span.attributes["list"], span.attributes["other"][0])`:                                          ottl.Span,
		`set(span.attributes["h"], SHA256(span.attributes["user"])) where span.attributes["user"] != nil`:    ottl.Span,
		`set(span.end_time_unix_nano, span.start_time_unix_nano + 1)`:                                        ottl.Span,
		`set(span.attributes["slow"], true) where span.end_time - span.start_time > Duration("500ms")`:       ottl.Span,
		`set(log.body["password"], "x") where IsMap(log.body)`:                                               ottl.Log,
		`append(log.attributes["tags"], values = ["a"])`:                                                     ottl.Log,
		`set(log.time, Time(log.attributes["at"], "%Y-%m-%d"))`:                                              ottl.Log,
		`set(span.attributes["x"], URL(span.attributes["u"])["url.path"])`:                                   ottl.Span,
		`flatten(log.body)`: ottl.Log,
	}
	for text, context := range tests {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			b, fault := c.Statement(text)
			if fault != nil {
				t.Fatal(fault.Reason)
			}
			if b.Context() != context {
				t.Errorf("is about %s, want %s", b.Context(), context)
			}
		})
	}
}

func TestJoin(t *testing.T) {
	t.Parallel()
	c := compiler(t)
	var blocks []ottl.Block
	for _, text := range []string{
		`set(span.name, "1")`, `set(span.name, Concat([span.name, "2"], ""))`, `set(resource.attributes["a"], "b")`, `set(span.kind, 9) where span.name == "12"`,
	} {
		b, fault := c.Statement(text)
		if fault != nil {
			t.Fatal(fault.Reason)
		}
		blocks = append(blocks, b)
	}
	if got := len(ottl.Join(blocks, true)); got != 2 {
		t.Errorf("%d blocks in any order, want 2", got)
	}
	inOrder := ottl.Join(blocks, false)
	if len(inOrder) != 3 {
		t.Fatalf("%d blocks in order, want 3", len(inOrder))
	}
	traces := ptrace.NewTraces()
	rs := traces.ResourceSpans().AppendEmpty()
	ss := rs.ScopeSpans().AppendEmpty()
	at := &otlp.Cursor{ResourceSpans: rs, Resource: rs.Resource(), ScopeSpans: ss, Scope: ss.Scope(), Span: ss.Spans().AppendEmpty()}
	changed, faults := inOrder[0].Apply(t.Context(), at)
	if !changed || faults != 0 || at.Span.Name() != "12" {
		t.Errorf("changed %t, %d faults, name %q", changed, faults, at.Span.Name())
	}
}
