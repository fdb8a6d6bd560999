// SPDX-License-Identifier: Apache-2.0

package shortcut

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/router/internal/otlp"
	"github.com/busbar/busbar/services/router/internal/ottl"
)

// What is of our shapes and what is left to the language, which has compiled it before.
func TestShapes(t *testing.T) {
	t.Parallel()
	for text, ours := range map[string]bool{
		`set(span.attributes["a"], "b")`:                                                              true,
		"set ( span . attributes [ \"a\" ] ,\n 17 )":                                                  true,
		`set(log.attributes["a"], true) where log.attributes["b"] != nil`:                             true,
		`delete_key(span.attributes, "a") where resource.attributes["b"] == "c"`:                      true,
		`span.attributes["a"] == "b" and span.attributes["c"] != 4 and span.attributes["d"] == false`: true,
		`log.attributes["a"] == "b" or resource.attributes["a"] == "c"`:                               true,

		`set(span.attributes["a"], nil)`:                                    false,
		`set(span.attributes["a"], -1)`:                                     false,
		`set(span.attributes["a"], 1.5)`:                                    false,
		`set(span.attributes["a"], 99999999999999999999)`:                   false,
		`set(span.attributes["a"], "q\"q")`:                                 false,
		`set(span.attributes["a"], span.name)`:                              false,
		`set(span.attributes["a"]["b"], "c")`:                               false,
		`set(span.name, "c")`:                                               false,
		`set(resource.attributes["a"], "b")`:                                false,
		`set(span.attributes["a"], Concat(["a"], ""))`:                      false,
		`resource.attributes["a"] == "b"`:                                   false,
		`span.attributes["a"] == "b" and span.attributes["c"] == 1 or true`: false,
		`span.attributes["a"] == "b" and log.attributes["c"] == 1`:          false,
		`span.attributes["a"] < 3`:                                          false,
		`not span.attributes["a"] == "b"`:                                   false,
		`(span.attributes["a"] == "b")`:                                     false,
		`"b" == span.attributes["a"]`:                                       false,
		`span.attributes["a"] == STATUS_CODE_ERROR`:                         false,
		`span.attributes["a"] == 0x00`:                                      false,
		`span.attributes["a"] == "b" extra`:                                 false,
		`span.attributes["a"] == "b`:                                        false,
		``:                                                                  false,
	} {
		signal := subject.Traces
		if strings.Contains(text, "log.") && !strings.Contains(text, "span.") {
			signal = subject.Logs
		}
		_, condition := Conditions(signal, []string{text})
		_, statement := Statements(signal, []string{text})
		if (condition || statement) != ours || condition && statement {
			t.Errorf("%s: condition %t, statement %t", text, condition, statement)
		}
	}
	if _, ok := Statements(subject.Metrics, []string{`set(span.attributes["a"], "b")`}); ok {
		t.Error("metrics have no spans")
	}
	if _, ok := Conditions(subject.Traces, nil); ok {
		t.Error("nothing is no program")
	}
}

// source makes what tests try, out of few words, so that things meet.
type source struct{ *rand.Rand }

func (s source) one(of ...string) string { return of[s.IntN(len(of))] }

func (s source) key() string { return s.one("a", "b", "c", "http.route", "") }

func (s source) literal() string {
	return s.one(`"x"`, `"y"`, `""`, `"/healthz"`, "0", "1", "200", "9007199254740993", "true", "false")
}

func (s source) condition(context string) string {
	word, n := s.one(" and ", " or "), 1+s.IntN(3)
	terms := make([]string, n)
	for i := range terms {
		of, value := context, s.literal()
		if i > 0 && s.IntN(3) == 0 {
			of = "resource"
		}
		if s.IntN(4) == 0 {
			value = "nil"
		}
		terms[i] = fmt.Sprintf("%s.attributes[%q] %s %s", of, s.key(), s.one("==", "!="), value)
	}
	return strings.Join(terms, word)
}

func (s source) statement(context string) string {
	text := fmt.Sprintf("set(%s.attributes[%q], %s)", context, s.key(), s.literal())
	if s.IntN(4) == 0 {
		text = fmt.Sprintf("delete_key(%s.attributes, %q)", context, s.key())
	}
	if s.IntN(3) > 0 {
		text += " where " + s.condition(context)
	}
	return text
}

func (s source) attributes(m pcommon.Map) {
	for range s.IntN(5) {
		switch v := m.PutEmpty(s.one("a", "b", "c", "http.route", "", "other")); s.IntN(9) {
		case 0:
			v.SetInt(int64(s.IntN(3)) * 100)
		case 1:
			v.SetBool(s.IntN(2) == 0)
		case 2:
			v.SetDouble([]float64{0, 1, 200, 0.5, 9007199254740992}[s.IntN(5)])
		case 3:
			v.SetEmptyBytes().FromRaw([]byte("x"))
		case 4:
			v.SetEmptySlice().AppendEmpty().SetStr("x")
		case 5:
			v.SetEmptyMap().PutStr("a", "x")
		case 6: // nothing
		default:
			v.SetStr(s.one("x", "y", "", "/healthz"))
		}
	}
}

func (s source) payload(signal subject.Signal) otlp.Payload {
	if signal == subject.Logs {
		l := plog.NewLogs()
		for range 1 + s.IntN(3) {
			rl := l.ResourceLogs().AppendEmpty()
			s.attributes(rl.Resource().Attributes())
			for range 1 + s.IntN(2) {
				sl := rl.ScopeLogs().AppendEmpty()
				sl.Scope().SetName("scope")
				for range 1 + s.IntN(4) {
					r := sl.LogRecords().AppendEmpty()
					r.Body().SetStr("body")
					s.attributes(r.Attributes())
				}
			}
		}
		return otlp.FromLogs(l)
	}
	t := ptrace.NewTraces()
	for range 1 + s.IntN(3) {
		rs := t.ResourceSpans().AppendEmpty()
		rs.SetSchemaUrl("schema")
		s.attributes(rs.Resource().Attributes())
		for range 1 + s.IntN(2) {
			ss := rs.ScopeSpans().AppendEmpty()
			for range 1 + s.IntN(4) {
				span := ss.Spans().AppendEmpty()
				span.SetName("name")
				span.SetTraceID([16]byte{1, byte(s.IntN(256))})
				s.attributes(span.Attributes())
				s.attributes(span.Events().AppendEmpty().Attributes())
			}
		}
	}
	return otlp.FromTraces(t)
}

// language does to a payload what the language says about the texts.
func language(t *testing.T, p otlp.Payload, texts []string, statements bool) {
	t.Helper()
	c, err := ottl.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	var blocks []ottl.Block
	for _, text := range texts {
		compile := c.Condition
		if statements {
			compile = c.Statement
		}
		b, fault := compile(text)
		if fault != nil {
			t.Fatalf("%s: %+v", text, fault)
		}
		blocks = append(blocks, b)
	}
	for _, b := range ottl.Join(blocks, !statements) {
		p.Walk(otlp.Walk{Record: func(at *otlp.Cursor) bool {
			if statements {
				if _, faults := b.Apply(context.Background(), at); faults > 0 {
					t.Errorf("%v: %d faults", texts, faults)
				}
				return false
			}
			drop, faults := b.Test(context.Background(), at)
			if faults > 0 {
				t.Errorf("%v: %d faults", texts, faults)
			}
			return drop
		}})
	}
}

// plain is a payload as it can be compared: the order of attributes does not count.
func plain(t *testing.T, p otlp.Payload) (lines []string) {
	t.Helper()
	p.Walk(otlp.Walk{Record: func(at *otlp.Cursor) bool {
		line := fmt.Sprint(at.Resource.Attributes().AsRaw(), at.Scope.Name())
		if p.Signal() == subject.Logs {
			line += fmt.Sprint(at.Log.Body().Str(), at.Log.Attributes().AsRaw())
		} else {
			line += fmt.Sprint(at.ResourceSpans.SchemaUrl(), at.Span.TraceID(), at.Span.Name(), at.Span.Attributes().AsRaw(), at.Span.Events().Len())
		}
		lines = append(lines, line)
		return false
	}})
	return lines
}

// compare runs a program and the language on the same payload.
func compare(t *testing.T, s source, signal subject.Signal, statements bool) {
	t.Helper()
	context, compile, text := "span", Conditions, s.condition
	if signal == subject.Logs {
		context = "log"
	}
	if statements {
		compile, text = Statements, s.statement
	}
	texts := make([]string, 1+s.IntN(3))
	for i := range texts {
		texts[i] = text(context)
	}
	program, ok := compile(signal, texts)
	if !ok {
		t.Fatalf("%v is not of our shapes", texts)
	}
	want := s.payload(signal)
	encoded, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	before := want.Len()
	o, ok := program.Run(encoded)
	if !ok {
		t.Fatalf("%v: refuses a sound payload", texts)
	}
	language(t, want, texts, statements)
	if o.Data == nil {
		o = Outcome{Data: encoded, In: before, Out: before}
	}
	got, err := otlp.Decode(signal, o.Data)
	if err != nil {
		t.Fatalf("%v: %v", texts, err)
	}
	if o.In != before || o.Out != want.Len() || got.Len() != want.Len() {
		t.Errorf("%v: %d in, %d out, %d there, want %d and %d", texts, o.In, o.Out, got.Len(), before, want.Len())
	}
	if diff := cmp.Diff(plain(t, want), plain(t, got)); diff != "" {
		t.Errorf("%v: -language +shortcut\n%s", texts, diff)
	}
}

// TestAgainstTheLanguage holds programs against the language they stand for, on payloads of all kinds of values.
func TestAgainstTheLanguage(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		s := source{rand.New(rand.NewPCG(seed, 7))}
		for _, signal := range []subject.Signal{subject.Traces, subject.Logs} {
			compare(t, s, signal, true)
			compare(t, s, signal, false)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// What decoding refuses or merges is left to it.
func TestLeftToDecoding(t *testing.T) {
	t.Parallel()
	program, _ := Statements(subject.Traces, []string{`set(span.attributes["a"], "b") where span.attributes["c"] != 7 and resource.attributes["r"] == nil`})
	field := func(number byte, content ...byte) []byte {
		return append([]byte{number<<3 | 2, byte(len(content))}, content...)
	}
	request := func(span []byte) []byte { return field(1, field(2, field(2, span...)...)...) }
	attribute := func(kv ...byte) []byte { return request(field(9, kv...)) }
	kv := append(field(1, 'a'), field(2, field(1, 'x')...)...)
	for name, payload := range map[string][]byte{
		"cut off":                   attribute(kv...)[:9],
		"span that is a number":     field(1, field(2, 0x10, 1)...),
		"scope that is a number":    field(1, 0x10, 1),
		"attribute is a number":     request([]byte{9 << 3, 1}),
		"key twice":                 attribute(append(field(1, 'a'), kv...)...),
		"value twice":               attribute(append(field(2, field(1, 'x')...), kv...)...),
		"key is a number":           attribute(8, 1),
		"attribute twice":           request(append(field(9, kv...), field(9, kv...)...)),
		"value is of wrong kind":    attribute(append(field(1, 'c'), field(2, 8, 1)...)...),
		"value is cut off":          attribute(append(field(1, 'c'), field(2, 10, 9)...)...),
		"two resources":             field(1, append(append(field(1), field(1)...), field(2, field(2)...)...)...),
		"resource is a number":      field(1, append([]byte{8, 1}, field(2, field(2)...)...)...),
		"group":                     request([]byte{0x0b, 0x0c}),
		"number without an end":     request([]byte{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}),
		"field number zero":         request([]byte{0x00, 0x00}),
		"longer than what holds it": {0x0a, 0x7f, 0x00},
	} {
		if o, ok := program.Run(payload); ok {
			t.Errorf("%s: %+v", name, o)
		}
	}
	if o, ok := program.Run(attribute(append(field(1, 'z'), 0x78, 1)...)); !ok || o.Out != 1 {
		t.Errorf("a field of a later version: %+v, %t", o, ok)
	}
}

// FuzzRun has a program and the language work on any bytes: where the program says it can do it, decoding can, and the outcome is the same.
func FuzzRun(f *testing.F) {
	s := source{rand.New(rand.NewPCG(1, 2))}
	for range 20 {
		b, err := s.payload(subject.Traces).Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	texts := []string{`set(span.attributes["a"], "x") where span.attributes["b"] != 1 or resource.attributes["c"] == "y"`, `delete_key(span.attributes, "c") where span.attributes["a"] == "x"`}
	program, ok := Statements(subject.Traces, texts)
	if !ok {
		f.Fatal("not of our shapes")
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		o, ok := program.Run(payload)
		want, err := otlp.Decode(subject.Traces, payload)
		if !ok || err != nil || o.Data == nil {
			return // decoding looks at more than a program is about
		}
		language(t, want, texts, true)
		got, err := otlp.Decode(subject.Traces, o.Data)
		if err != nil {
			t.Fatalf("what was sound is no more: %v", err)
		}
		if diff := cmp.Diff(plain(t, want), plain(t, got)); diff != "" {
			t.Errorf("-language +shortcut\n%s", diff)
		}
	})
}

func BenchmarkStatement(b *testing.B) {
	s := source{rand.New(rand.NewPCG(1, 2))}
	t := ptrace.NewTraces()
	spans := t.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
	const n = 500
	for range n {
		span := spans.AppendEmpty()
		span.SetName("GET /users/{id}")
		for i := range 8 {
			span.Attributes().PutStr(fmt.Sprint("http.request.attribute.", i), s.one("GET", "/users/{id}", "shop.example"))
		}
	}
	payload, err := otlp.FromTraces(t).Encode()
	if err != nil {
		b.Fatal(err)
	}
	program, _ := Statements(subject.Traces, []string{`set(span.attributes["team"], "checkout") where span.attributes["http.request.attribute.3"] != nil`})
	b.ReportAllocs()
	for b.Loop() {
		if o, ok := program.Run(payload); !ok || o.Out != n {
			b.Fatal(o, ok)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/span")
}
