// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
)

const testRoot = subject.DefaultRoot

// noEnv is an empty environment.
func noEnv(string) string { return "" }

// samples are messages of every sort: with and without headers, compressed, undecodable, of no known sort.
func samples(t *testing.T) []bus.Msg {
	t.Helper()
	exchanges, err := proto.Marshal(&eventv1.ExchangeBatch{
		Origin:    &eventv1.Origin{Node: "n1", Run: "r1", Sequence: 7},
		Addresses: [][]byte{{127, 0, 0, 1}, {0xfe, 0x80, 15: 1}},
		Exchanges: []*eventv1.Exchange{{SpanId: []byte{0xab, 7: 1}, Protocol: &eventv1.Exchange_Http{Http: &eventv1.Http{Method: "GET", Path: "/" + strings.Repeat("x", 1000)}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	td := ptrace.NewTraces()
	td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty().SetName("GET /<&>")
	traces, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	return []bus.Msg{
		{Subject: testRoot.RawExchange("n1"), ID: "n1/r1/7", Items: 1, Data: exchanges, Header: map[string]string{subject.HeaderSchema: subject.SchemaExchanges}},
		{Subject: testRoot.OTLP(subject.Traces, "default", "", "shop"), Data: traces},
		{Subject: testRoot.OTLP(subject.Metrics, "default", "", "liar"), ID: "garbage", Data: []byte("garbage")},
		{Subject: testRoot.RawExchange("n1"), Data: []byte("not s2"), Encoding: "s2"},
		{Subject: testRoot.Dead("router", "subject"), Data: []byte{1}},
	}
}

func tapServer(t *testing.T) (*bustest.Server, *bus.Bus) {
	t.Helper()
	server := bustest.Listen(t)
	b := server.Connect(t, "test")
	for _, s := range []subject.Stream{testRoot.RawStream(), testRoot.OTLPStream(), testRoot.DeadStream()} {
		if err := b.Provision(t.Context(), bus.StreamSpec(s)); err != nil {
			t.Fatal(err)
		}
	}
	return server, b
}

func printed(t *testing.T, out string) []line {
	t.Helper()
	var lines []line
	for text := range strings.Lines(out) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("tap printed %q: %v", text, err)
		}
		lines = append(lines, l)
	}
	return lines
}

func TestTapPrintsStoredMessages(t *testing.T) {
	t.Parallel()
	server, b := tapServer(t)
	if err := b.Publish(t.Context(), samples(t)...); err != nil {
		t.Fatal(err)
	}
	stored := func(args ...string) []line {
		var out bytes.Buffer
		args = append([]string{"tap", "--stored", "--nats-url", server.URL()}, args...)
		if err := program(t.Context(), args, noEnv, &out, io.Discard); err != nil {
			t.Fatalf("busbar %v: %v", args, err)
		}
		return printed(t, out.String())
	}

	raw := stored("raw.>")
	if len(raw) != 2 {
		t.Fatalf("%d raw messages, want 2", len(raw))
	}
	var batch struct {
		Origin    struct{ Sequence string }
		Addresses []string
		Exchanges []struct {
			SpanID string
			HTTP   struct{ Method string }
		}
	}
	if err := json.Unmarshal(raw[0].Payload, &batch); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(batch); got != "{{7} [127.0.0.1 fe80::1] [{ab00000000000001 {GET}}]}" {
		t.Errorf("payload %s is read as %s", raw[0].Payload, got)
	}
	want := map[string]string{
		"Nats-Msg-Id": "n1/r1/7", "Busbar-Items": "1", "Content-Encoding": "s2", "Busbar-Schema": subject.SchemaExchanges,
	}
	if d := cmp.Diff(want, raw[0].Headers); d != "" || raw[0].Time == nil {
		t.Errorf("headers (-want +got):\n%s\ntime %v", d, raw[0].Time)
	}
	if raw[1].Error == "" || raw[1].Payload != nil || string(raw[1].Data) != "not s2" {
		t.Errorf("message that is not s2: %+v", raw[1])
	}

	otlp := stored("busbar.otlp.*.default.>")
	if len(otlp) != 2 || !bytes.Contains(otlp[0].Payload, []byte(`"name":"GET /<&>"`)) {
		t.Errorf("OTLP %+v", otlp)
	} else if otlp[1].Error == "" || string(otlp[1].Data) != "garbage" {
		t.Errorf("garbage %+v", otlp[1])
	}

	if dead := stored("dead.>"); len(dead) != 1 || !strings.Contains(dead[0].Error, "neither header Busbar-Schema nor subject") {
		t.Errorf("dead letters %+v", dead)
	}
	if some := stored("--count", "1", "--raw", "raw.>"); len(some) != 1 || some[0].Data == nil || some[0].Payload != nil || some[0].Error != "" {
		t.Errorf("raw %+v", some)
	}
}

// tapWriter tells when a tap has written.
type tapWriter struct {
	wrote chan []byte
}

func (w tapWriter) Write(p []byte) (int, error) {
	w.wrote <- bytes.Clone(p)
	return len(p), nil
}

func TestTapPrintsMessagesAsTheyPass(t *testing.T) {
	t.Parallel()
	server, b := tapServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, ended := tapWriter{make(chan []byte, 100)}, make(chan error, 1)
	go func() {
		ended <- program(ctx, []string{"tap", "raw.>"}, func(name string) string {
			return map[string]string{"BUSBAR_NATS_URL": server.URL()}[name]
		}, out, io.Discard)
	}()
	var first []byte
	bustest.Eventually(t, "tap prints", func() bool { // it sees what is published once it has subscribed
		if err := b.Publish(t.Context(), samples(t)[3]); err != nil {
			t.Fatal(err)
		}
		select {
		case first = <-out.wrote:
		default:
		}
		return first != nil
	})
	if got := printed(t, string(first)); got[0].Subject != "busbar.raw.exchange.n1" || got[0].Time != nil {
		t.Errorf("printed %s", first)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("an interrupted tap ends with %v", err)
	}
}

func TestTapRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "want one SUBJECT"},
		{[]string{"a", "b"}, "got 2"},
		{[]string{"a..b"}, `"a..b" is not a subject`},
		{[]string{"a.>.b"}, `"a.>.b" is not a subject`},
		{[]string{"a", "--nats-url", "nats://127.0.0.1:1"}, "connect to NATS at nats://127.0.0.1:1: "},
	} {
		t.Run(fmt.Sprint(tc.args), func(t *testing.T) {
			t.Parallel()
			err := program(t.Context(), append([]string{"tap"}, tc.args...), noEnv, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestStreamOf(t *testing.T) {
	t.Parallel()
	for filter, want := range map[string]string{
		"lab.raw.>": "LAB_RAW", "lab.otlp.traces.>": "LAB_OTLP", "lab.dead.*.x": "LAB_DEAD", "lab.out.tempo.>": "LAB_OUT_tempo",
		"lab.out.>": "", "lab.out": "", "lab.>": "", "lab.beat.>": "",
	} {
		if got, err := streamOf("lab", filter); got != want || (err == nil) != (want != "") {
			t.Errorf("streamOf(%s) = %q, %v; want %q", filter, got, err, want)
		}
	}
}

// Whatever a message claims to be, decoding it gives JSON or an error and never panics.
func FuzzDecode(f *testing.F) {
	schemas := []string{"", subject.SchemaExchanges, subject.SchemaProcesses, schemaHeartbeat, subject.SchemaTraces, subject.SchemaMetrics, subject.SchemaLogs}
	for i := range schemas {
		f.Add(i, []byte{0x0a, 0x02, 0x08, 0x01})
	}
	f.Fuzz(func(t *testing.T, schema int, data []byte) {
		out, err := decode(schemas[uint(schema)%uint(len(schemas))], data)
		if (err == nil) == (out == nil) || out != nil && !json.Valid(out) {
			t.Errorf("decode gives %q and %v", out, err)
		}
	})
}
