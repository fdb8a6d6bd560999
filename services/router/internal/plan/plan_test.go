// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/router/internal/otlp"
	"github.com/busbar/busbar/services/router/internal/plan"
)

// shop has spans GET /a, GET /b and an error of service shop, and GET /c of service stock.
func shop() otlp.Payload {
	t := ptrace.NewTraces()
	for service, names := range map[string][]string{"shop": {"GET /a", "GET /b", "broken"}, "stock": {"GET /c"}} {
		rs := t.ResourceSpans().AppendEmpty()
		rs.Resource().Attributes().PutStr("service.name", service)
		ss := rs.ScopeSpans().AppendEmpty()
		for i, name := range names {
			s := ss.Spans().AppendEmpty()
			s.SetName(name)
			s.SetTraceID(pcommon.TraceID{1, 15: byte(i)}) // as good as never sampled
			if name == "broken" {
				s.Status().SetCode(ptrace.StatusCodeError)
			}
		}
	}
	return otlp.FromTraces(t)
}

// message is from service shop of namespace eu.
func message(t testing.TB, p otlp.Payload) plan.Message {
	t.Helper()
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return plan.Message{
		Subject: subject.OTLPParts{Signal: p.Signal(), Tenant: "default", Namespace: "eu", Service: "shop_api"},
		Items:   p.Len(),
		Data:    func() ([]byte, error) { return b, nil },
	}
}

func unread(signal subject.Signal) plan.Message {
	return plan.Message{
		Subject: subject.OTLPParts{Signal: signal, Tenant: "default", Namespace: "eu", Service: "shop_api"},
		Items:   7,
		Data:    func() ([]byte, error) { panic("looked inside") },
	}
}

// describe shows a result in lines: what goes where, by which pipeline, and what does not.
func describe(t testing.TB, signal subject.Signal, r plan.Result) string {
	t.Helper()
	var lines []string
	for _, o := range r.Outputs {
		what := "as it came"
		if o.Data != nil {
			p, err := otlp.Decode(signal, o.Data)
			if err != nil || p.Len() != o.Items {
				t.Errorf("output %s has %d records of %d: %v", o.Part, p.Len(), o.Items, err)
			}
			what = fmt.Sprintf("%d of part %s", o.Items, o.Part)
		}
		lines = append(lines, o.Destination+": "+what)
	}
	for _, y := range r.Tallies {
		dropped := 0
		for _, n := range y.Effect.Dropped {
			dropped += n
		}
		if y.In+y.Effect.Made != y.Out+dropped {
			t.Errorf("%s: in %d, out %d, dropped %d", y.Pipeline, y.In, y.Out, dropped)
		}
		line := fmt.Sprintf("%s: in %d, out %d", y.Pipeline, y.In, y.Out)
		for _, counts := range []map[string]int{y.Effect.Dropped, y.Effect.Faults} {
			if len(counts) > 0 {
				line += " " + fmt.Sprint(counts)
			}
		}
		lines = append(lines, line)
	}
	if r.Unrouted+r.Ignored > 0 {
		lines = append(lines, fmt.Sprintf("unrouted %d, ignored %d", r.Unrouted, r.Ignored))
	}
	if r.Failed != nil {
		lines = append(lines, "failed")
	}
	return strings.Join(lines, "\n")
}

// pipelines writes resources: pairs of a name and the inside of a spec.
func pipelines(pairs ...string) string {
	yaml := page + tempo + strings.ReplaceAll(tempo, "tempo", "loki")
	for pair := range slices.Chunk(pairs, 2) {
		yaml += "\n---\napiVersion: busbar.dev/v1\nkind: Pipeline\nmetadata: {name: " + pair[0] + "}\nspec: {" + pair[1] + "}\n"
	}
	return yaml
}

func TestRoute(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		resources string
		message   plan.Message
		want      string
	}{
		{"no pipelines: every destination that takes it", pipelines(), unread(subject.Traces), `
tempo: as it came
loki: as it came
(implicit): in 7, out 7
(implicit): in 7, out 7`},
		{"a pipeline without steps does not look", pipelines("a", "to: [tempo]"), unread(subject.Logs), `
tempo: as it came
a: in 7, out 7`},
		{"two of them send it once", pipelines("a", "to: [tempo]", "b", "to: [tempo, loki]"), unread(subject.Logs), `
tempo: as it came
loki: as it came
a: in 7, out 7
b: in 7, out 7`},
		{"globs are over tokens", pipelines("a", `to: [tempo], tenants: ["def*"], namespaces: ["e?"], services: ["stock", "shop.*"]`), unread(subject.Traces), `
tempo: as it came
a: in 7, out 7`},
		{"no glob matches", pipelines("a", `to: [tempo], services: [shop]`), unread(subject.Traces), `
unrouted 7, ignored 0`},
		{"what subjects exclude is not looked into", pipelines(
			"t", `to: [tempo], tenants: [other], match: 'resource.attributes["a"] != nil'`,
			"n", `to: [tempo], namespaces: [us], steps: [{filter: 'span.name == "x"'}]`,
			"s", `to: [tempo], services: [stock], steps: [{redact: {emails: true}}]`,
			"l", `to: [tempo], signals: [logs], steps: [{filter: 'log.body == "x"'}]`,
			"o", `to: [loki], steps: [{filter: 'log.body == "x"'}]`,
		), unread(subject.Traces), `
loki: as it came
o: in 7, out 7`},
		{"a limit of records does not look", pipelines("a", `to: [tempo], steps: [{limit: {records: 1}}]`), unread(subject.Traces), `
tempo: as it came
a: in 7, out 7`},
		{"no destination takes the signal", pipelines("a", `to: [page]`), unread(subject.Traces), `
unrouted 0, ignored 7`},
		{"of those signals", pipelines("a", `to: [tempo], signals: [traces]`, "b", `to: [loki], signals: [logs]`), unread(subject.Logs), `
loki: as it came
b: in 7, out 7`},
		{"match of all", pipelines("a", `to: [tempo], match: 'resource.attributes["service.name"] != nil'`), message(t, shop()), `
tempo: as it came
a: in 4, out 4`},
		{"match of some", pipelines("a", `to: [tempo], match: 'resource.attributes["service.name"] == "shop"'`), message(t, shop()), `
tempo: 3 of part tempo/a/0-1
a: in 3, out 3
unrouted 1, ignored 0`},
		{"match of none", pipelines("a", `to: [tempo], match: 'resource.attributes["service.name"] == "x"'`), message(t, shop()), `
unrouted 4, ignored 0`},
		{
			"matches that complete each other", pipelines(
				"a", `to: [tempo], match: 'resource.attributes["service.name"] == "shop"'`,
				"b", `to: [tempo], match: 'resource.attributes["service.name"] == "stock"', steps: [{redact: {creditCards: true}}]`,
			), message(t, shop()), `
tempo: 3 of part tempo/a/0-1
tempo: 1 of part tempo/b/0-1
a: in 3, out 3
b: in 1, out 1`,
		},
		{"match that fails", pipelines("a", `to: [tempo], match: 'ParseJSON(resource.attributes["service.name"])["a"] == "shop"'`), message(t, shop()), `
a: in 0, out 0 map[match:2]
unrouted 4, ignored 0`},
		{"filter of none leaves it as it came", pipelines("a", `to: [tempo], steps: [{filter: 'span.name == "x"'}]`), message(t, shop()), `
tempo: as it came
a: in 4, out 4`},
		{"filter", pipelines("a", `to: [tempo, loki], steps: [{filter: ['span.name == "GET /a"', 'resource.attributes["service.name"] == "stock"']}]`), message(t, shop()), `
tempo: 2 of part tempo/a/0-1
loki: 2 of part loki/a/0-1
a: in 4, out 2 map[filter:2]`},
		{"filter of all", pipelines("a", `to: [tempo], steps: [{filter: 'span.name != ""'}, {transform: 'set(span.name, "x")'}]`), message(t, shop()), `
a: in 4, out 0 map[filter:4]`},
		{"filter of another signal", pipelines("a", `to: [tempo], steps: [{filter: 'log.body != ""'}]`), unread(subject.Traces), `
tempo: as it came
a: in 7, out 7`},
		{"filter that fails keeps", pipelines("a", `to: [tempo], steps: [{filter: 'ParseJSON(span.name)["a"] == "b"'}]`), message(t, shop()), `
tempo: as it came
a: in 4, out 4 map[steps[0].filter:4]`},
		{"transform", pipelines("a", `to: [tempo], steps: [{transform: 'set(span.attributes["team"], "x")'}]`), message(t, shop()), `
tempo: 4 of part tempo/a/0-1
a: in 4, out 4`},
		{"transform of none", pipelines("a", `to: [tempo], steps: [{transform: 'set(span.attributes["team"], "x") where span.name == "x"'}]`), message(t, shop()), `
tempo: as it came
a: in 4, out 4`},
		{"simple filter", pipelines("a", `to: [tempo], steps: [{filter: 'span.attributes["x"] == nil and resource.attributes["service.name"] == "stock"'}]`), message(t, shop()), `
tempo: 3 of part tempo/a/0-1
a: in 4, out 3 map[filter:1]`},
		{"simple filter of all", pipelines("a", `to: [tempo], steps: [{filter: 'span.attributes["x"] == nil'}, {redact: {emails: true}}]`), message(t, shop()), `
a: in 4, out 0 map[filter:4]`},
		{"simple filter, then what decodes", pipelines("a", `to: [tempo], signals: [traces], steps: [{filter: 'span.attributes["x"] == nil and resource.attributes["service.name"] == "stock"'}, {sample: {ratio: 0.1, keepErrors: true}}]`), message(t, shop()), `
tempo: 1 of part tempo/a/0-1
a: in 4, out 1 map[filter:1 sample:2]`},
		{"simple transform, then what decodes and drops nothing", pipelines("a", `to: [tempo], steps: [{transform: 'set(span.attributes["team"], "x")'}, {filter: 'span.name == "x"'}]`), message(t, shop()), `
tempo: 4 of part tempo/a/0-1
a: in 4, out 4`},
		{"simple steps see what those before did", pipelines("a", `to: [tempo], steps: [{transform: 'set(span.attributes["team"], "x") where resource.attributes["service.name"] == "shop"'}, {filter: 'span.attributes["team"] == "x"'}]`), message(t, shop()), `
tempo: 1 of part tempo/a/0-1
a: in 4, out 1 map[filter:3]`},
		{"a simple step changes no other pipeline's", pipelines(
			"a", `to: [tempo], steps: [{transform: 'set(span.attributes["team"], "x")'}]`,
			"b", `to: [loki], steps: [{filter: 'span.attributes["team"] == "x"'}]`,
		), message(t, shop()), `
tempo: 4 of part tempo/a/0-1
loki: as it came
a: in 4, out 4
b: in 4, out 4`},
		{"sample keeps errors", pipelines("a", `to: [tempo], signals: [traces], steps: [{sample: {ratio: 0.1, keepErrors: true}}]`), message(t, shop()), `
tempo: 1 of part tempo/a/0-1
a: in 4, out 1 map[sample:3]`},
		{"sample of all does not look", pipelines("a", `to: [tempo], signals: [traces], steps: [{sample: {ratio: 1}}]`), unread(subject.Traces), `
tempo: as it came
a: in 7, out 7`},
		{"order of steps: renamed, then filtered", pipelines("a", `to: [tempo], steps: [{transform: 'set(span.name, "x")'}, {filter: 'span.name == "GET /a"'}]`), message(t, shop()), `
tempo: 4 of part tempo/a/0-1
a: in 4, out 4`},
		{"pipelines do not see each other's changes", pipelines(
			"a", `to: [tempo], steps: [{transform: 'set(span.name, "x")'}]`,
			"b", `to: [loki], steps: [{filter: 'span.name == "x"'}]`,
			"c", `to: [loki], steps: [{filter: 'span.name == "GET /a"'}]`,
		), message(t, shop()), `
tempo: 4 of part tempo/a/0-1
loki: 3 of part loki/c/0-1
loki: as it came
a: in 4, out 4
b: in 4, out 4
c: in 4, out 3 map[filter:1]`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := compile(t, test.resources)
			got := describe(t, test.message.Subject.Signal, p.Route(t.Context(), test.message))
			if diff := cmp.Diff(strings.TrimPrefix(test.want, "\n"), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A limit counts what steps before it have left, and drops or puts off the message as a whole.
func TestLimit(t *testing.T) {
	t.Parallel()
	for over, want := range map[string]string{
		"drop": "drop: in 4, out 0 map[filter:1 limit:3]",
		"wait": "",
	} {
		for unit, limit := range map[string]string{"records": "records: 0.002, burst: 1000s", "bytes": "bytes: 3, burst: 1s"} {
			t.Run(over+" "+unit, func(t *testing.T) {
				t.Parallel()
				p := compile(t, pipelines(over, `to: [tempo], steps: [{filter: 'span.name == "GET /a"'}, {limit: {`+limit+`, over: `+over+`}}]`))
				m := message(t, shop())
				m.ID = "1"
				first := p.Route(t.Context(), m)
				if len(first.Outputs) != 1 || len(first.Paid) != 1 {
					t.Errorf("the first is not let through: %+v", first)
				}
				m.ID = "2"
				second := p.Route(t.Context(), m)
				if diff := cmp.Diff(want, describe(t, subject.Traces, second)); diff != "" {
					t.Error(diff)
				}
				if (second.Wait > 0) != (over == "wait") {
					t.Errorf("waits for %v", second.Wait)
				}
			})
		}
	}
}

func TestWhatCannotBeDecoded(t *testing.T) {
	t.Parallel()
	p := compile(t, pipelines(
		"steps", `to: [tempo], steps: [{filter: 'span.name == "x"'}]`,
		"match", `to: [tempo], match: 'resource.attributes["a"] == "b"'`,
		"pass", `to: [loki]`))
	for name, data := range map[string]func() ([]byte, error){
		"wire":        func() ([]byte, error) { return []byte("not protobuf"), nil },
		"records":     func() ([]byte, error) { return []byte{0x0a, 0x02, 0x12, 0x09}, nil },
		"compression": func() ([]byte, error) { return nil, errors.New("bad block") },
		"size":        func() ([]byte, error) { return make([]byte, 3<<20), nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := unread(subject.Traces)
			m.Data = data
			want := "loki: as it came\npass: in 7, out 7\nfailed"
			if diff := cmp.Diff(want, describe(t, subject.Traces, p.Route(t.Context(), m))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Values that are nested as deep as a message has room for must not exhaust the stack.
func TestDeepNesting(t *testing.T) {
	t.Parallel()
	data := nested(4 * plan.MaxOutput)
	p := compile(t, pipelines("a", `to: [tempo], steps: [{redact: {creditCards: true}}, {transform: 'set(log.attributes["a"], log.body)'}]`))
	m := unread(subject.Logs)
	m.Data = func() ([]byte, error) { return data, nil }
	p.Route(t.Context(), m)
}

// nested returns logs of at most size bytes with one record, whose body is lists in lists.
func nested(size int) []byte {
	b := make([]byte, size)
	at := size // written from the end, which is the inside
	put := func(field byte) {
		var length []byte
		length = binary.AppendUvarint(length, uint64(size-at))
		at -= len(length)
		copy(b[at:], length)
		at--
		b[at] = field<<3 | 2
	}
	for at > 64 {
		put(1) // ArrayValue.values
		put(5) // AnyValue.array_value
	}
	for _, field := range []byte{5, 2, 2, 1} { // body, log_records, scope_logs, resource_logs
		put(field)
	}
	return b[at:]
}

func TestTooLargeAfterTransform(t *testing.T) {
	t.Parallel()
	l := plog.NewLogs()
	sl := l.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty()
	for range 100 {
		sl.LogRecords().AppendEmpty().Body().SetStr(strings.Repeat("x", 3000))
	}
	for name, value := range map[string]string{"decoded": "log.body", "encoded": `"` + strings.Repeat("x", 3000) + `"`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := compile(t, pipelines("a", `to: [tempo], steps: [{transform: 'set(log.attributes["copy"], `+value+`)'}]`))
			res := p.Route(t.Context(), message(t, otlp.FromLogs(l)))
			want := "tempo: 50 of part tempo/a/0-2\ntempo: 50 of part tempo/a/1-2\na: in 100, out 100"
			if diff := cmp.Diff(want, describe(t, subject.Logs, res)); diff != "" {
				t.Error(diff)
			}
			for _, o := range res.Outputs {
				if len(o.Data) > plan.MaxOutput {
					t.Errorf("%d bytes", len(o.Data))
				}
			}
		})
	}
}

func TestMetricsAreFilteredByPoint(t *testing.T) {
	t.Parallel()
	m := pmetric.NewMetrics()
	points := m.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty().SetEmptyGauge().DataPoints()
	for i := range 3 {
		points.AppendEmpty().Attributes().PutInt("i", int64(i))
	}
	p := compile(t, pipelines("a", `to: [page], signals: [metrics], steps: [{filter: 'datapoint.attributes["i"] > 0'}]`))
	want := "page: 1 of part page/a/0-1\na: in 3, out 1 map[filter:2]"
	if diff := cmp.Diff(want, describe(t, subject.Metrics, p.Route(t.Context(), message(t, otlp.FromMetrics(m))))); diff != "" {
		t.Error(diff)
	}
}

func TestUnconditional(t *testing.T) {
	t.Parallel()
	always := []plan.Unconditional{{Destination: "otlp"}, {Destination: "numbers", Signals: []subject.Signal{subject.Metrics}}}
	p := compile(t, pipelines("a", "to: [tempo, otlp], services: [x]"), always...)
	want := "otlp: as it came\n(implicit): in 7, out 7"
	if diff := cmp.Diff(want, describe(t, subject.Traces, p.Route(t.Context(), unread(subject.Traces)))); diff != "" {
		t.Error(diff)
	}
	want = "otlp: as it came\nnumbers: as it came\n(implicit): in 7, out 7\n(implicit): in 7, out 7"
	if diff := cmp.Diff(want, describe(t, subject.Metrics, p.Route(t.Context(), unread(subject.Metrics)))); diff != "" {
		t.Error(diff)
	}
}

// Whatever comes, the books balance: what a pipeline took it handed on or dropped for a reason.
func FuzzRoute(f *testing.F) {
	p := compile(f, pipelines(
		"a", `to: [tempo], steps: [{filter: 'span.name == "GET /a"'}, {redact: {creditCards: true}}]`,
		"b", `to: [loki], match: 'resource.attributes["service.name"] == "shop"', signals: [traces, logs], steps: [{sample: {ratio: 0.5, keepErrors: true, keepSlowerThan: 1s}}]`,
		"c", `to: [loki], steps: [{transform: ['set(resource.attributes["a"], "b")', 'set(log.attributes["b"], log.body)', 'set(datapoint.attributes["a"], 1)', 'set(spanevent.name, span.name)']}]`,
	))
	add := func(p otlp.Payload) {
		b, err := p.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	add(shop())
	l := plog.NewLogs()
	l.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body().SetStr("a")
	add(otlp.FromLogs(l))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, signal := range subject.Signals() {
			m := unread(signal)
			m.Data = func() ([]byte, error) { return b, nil }
			res := p.Route(t.Context(), m)
			for _, y := range res.Tallies {
				dropped := 0
				for _, n := range y.Effect.Dropped {
					dropped += n
				}
				if y.In+y.Effect.Made != y.Out+dropped {
					t.Errorf("%s: in %d, out %d, dropped %d", y.Pipeline, y.In, y.Out, dropped)
				}
			}
		}
	})
}

// A panic in one pipeline leaves the others alone.
func TestPanic(t *testing.T) {
	t.Parallel()
	p := compile(t, pipelines("looks", `to: [tempo], steps: [{redact: {creditCards: true}}]`, "passes", `to: [loki]`))
	res := p.Route(t.Context(), unread(subject.Traces)) // whose payload panics when it is read
	if !errors.Is(res.Failed, plan.ErrPanic) || len(res.Outputs) != 1 || res.Outputs[0].Destination != "loki" {
		t.Errorf("%+v", res)
	}
}
