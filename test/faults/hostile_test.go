// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/test/internal/child"
)

const everyStep = `apiVersion: busbar.dev/v1
kind: Destination
metadata: {name: tried}
spec: {otlp_http: {endpoint: "http://%s"}}
---
apiVersion: busbar.dev/v1
kind: Destination
metadata: {name: other}
spec: {otlp_grpc: {endpoint: "%s", tls: {insecure: true}}}
---
apiVersion: busbar.dev/v1
kind: Destination
metadata: {name: page}
spec: {prometheus: {endpoint: "${env:FAULTS_PAGE}"}}
---
apiVersion: busbar.dev/v1
kind: Pipeline
metadata: {name: steps}
spec:
  to: [tried, page]
  match: 'resource.attributes["host.name"] != "canary"'
  steps:
    - limit: {records: 1000000, bytes: 1GiB, per: service, over: drop}
    - redact: {creditCards: true, emails: true, bearerTokens: true, keys: ["*.password"], patterns: [{name: ssn, regex: '\d{3}-\d{2}-\d{4}'}]}
    - filter: 'span.name == "GET /healthz"'
    - transform: ['set(span.attributes["team"], "checkout")', 'set(datapoint.attributes["team"], "checkout")', 'set(log.attributes["text"], log.body)']
---
apiVersion: busbar.dev/v1
kind: Pipeline
metadata: {name: samples}
spec: {to: [tried], signals: [traces], steps: [{sample: {ratio: 0.5, keepErrors: true, keepSlowerThan: 1s}}]}
---
apiVersion: busbar.dev/v1
kind: Pipeline
metadata: {name: pass}
spec: {to: [other]}
`

// hostile is what somebody may put on the bus by mistake or by intent, by name; the records of some are fine.
func hostile(t *testing.T) map[string]bus.Msg {
	t.Helper()
	traces := root.OTLP(subject.Traces, subject.DefaultTenant, "", "hostile")
	metrics := root.OTLP(subject.Metrics, subject.DefaultTenant, "", "hostile")
	logs := root.OTLP(subject.Logs, subject.DefaultTenant, "", "hostile")
	sound, err := spans(0, 0, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	packed := func(b []byte) bus.Msg {
		return bus.Msg{Subject: traces, Data: s2.Encode(nil, b), Encoding: bus.EncodingS2}
	}
	span := func(change func(ptrace.Span)) bus.Msg {
		td := ptrace.NewTraces()
		s := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
		s.SetSpanID(spanID(1 << 20))
		change(s)
		b, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
		if err != nil {
			t.Fatal(err)
		}
		return packed(b)
	}
	return map[string]bus.Msg{
		"nothing":                 {Subject: traces},
		"garbage":                 {Subject: traces, Data: []byte("no OTLP at all")},
		"garbage of logs":         {Subject: logs, Data: []byte("no OTLP at all")},
		"garbage of metrics":      {Subject: metrics, Data: []byte("no OTLP at all")},
		"cut":                     {Subject: traces, Data: sound.Data[:len(sound.Data)-7]},
		"another signal":          {Subject: metrics, Data: sound.Data},
		"no s2":                   {Subject: traces, Data: []byte("no s2"), Encoding: bus.EncodingS2},
		"no zstd":                 {Subject: traces, Data: []byte("no zstd"), Encoding: bus.EncodingZstd},
		"unknown encoding":        {Subject: traces, Data: sound.Data, Encoding: "lzma"},
		"64 MiB when unpacked":    packed(make([]byte, 64<<20)),
		"unknown signal":          {Subject: string(root) + ".otlp.profiles.default._.hostile", Data: sound.Data},
		"unknown subject":         {Subject: string(root) + ".otlp.nonsense", Data: sound.Data},
		"unknown destination":     {Subject: string(root) + ".out.tried.nonsense.1", Data: sound.Data},
		"value of 1 MiB":          span(func(s ptrace.Span) { s.Attributes().PutStr("a", strings.Repeat("4111 1111 1111 1111 ", 50_000)) }),
		"key of 100 KiB":          span(func(s ptrace.Span) { s.Attributes().PutStr(strings.Repeat("k", 100<<10), "v") }),
		"10,000 attributes":       span(manyAttributes),
		"no UTF-8":                span(func(s ptrace.Span) { s.SetName("\xff\xfe"); s.Attributes().PutStr("\xc3\x28", "\xed\xa0\x80") }),
		"ends of time":            span(func(s ptrace.Span) { s.SetStartTimestamp(math.MaxUint64); s.SetEndTimestamp(1) }),
		"deep":                    packed(deep(20_000)),
		"very deep":               packed(deep(110_000)),
		"ids of other lengths":    packed(field(1, field(2, field(2, append(field(1, []byte{1, 2, 3}), field(2, make([]byte, 99))...))))),
		"numbers without meaning": numbers(t, metrics),
	}
}

func manyAttributes(s ptrace.Span) {
	for i := range 10_000 {
		s.Attributes().PutStr(fmt.Sprintf("key.%d", i), "value")
	}
}

// field encodes a field with bytes.
func field(number protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), content)
}

// deep is a span with one attribute that is a list in a list, so many times. It is written from its end.
func deep(levels int) []byte {
	var reversed []byte
	wrap := func(number protowire.Number) {
		head := protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.BytesType), uint64(len(reversed)))
		slices.Reverse(head)
		reversed = append(reversed, head...)
	}
	for range levels {
		wrap(1) // values of the list
		wrap(5) // list in the value
	}
	for _, number := range []protowire.Number{2, 9, 2, 2, 1} { // value, attribute, span, scope, resource
		wrap(number)
	}
	slices.Reverse(reversed)
	return reversed
}

// numbers is metrics that no arithmetic likes.
func numbers(t *testing.T, at string) bus.Msg {
	t.Helper()
	md := pmetric.NewMetrics()
	all := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
	for _, v := range []float64{math.NaN(), math.Inf(1), -1, math.MaxFloat64} {
		sum := all.AppendEmpty().SetEmptySum()
		sum.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
		sum.SetIsMonotonic(true)
		sum.DataPoints().AppendEmpty().SetDoubleValue(v)
		h := all.AppendEmpty().SetEmptyHistogram()
		h.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
		p := h.DataPoints().AppendEmpty()
		p.SetCount(math.MaxUint64)
		p.SetSum(v)
		p.SetTimestamp(pcommon.Timestamp(math.MaxUint64))
		p.BucketCounts().FromRaw([]uint64{math.MaxUint64, 1, 2})
		p.ExplicitBounds().FromRaw([]float64{v})
	}
	b, err := pmetricotlp.NewExportRequestFromMetrics(md).MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	return bus.Msg{Subject: at, Data: b}
}

// maxHostileMiB is what a service may take at its peak: two copies, decoded, of what a message may hold, for a few workers.
const maxHostileMiB = 512

// TestHostile: what is not as it should be ends as a dead letter that says why, or is taken; what comes after it passes, and no
// service ends, grows without bounds or keeps anything waiting.
func TestHostile(t *testing.T) {
	t.Parallel()
	l, err := newLab(t.Context(), bin, options{replicas: 1, resources: everyStep})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	defer func() {
		if t.Failed() {
			t.Log(l.keepLogs("hostile"))
		}
	}()
	b, err := bus.Connect(t.Context(), bus.Config{URL: l.url(), Name: "test"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	names := map[string]string{} // of messages, by id
	for name, m := range hostile(t) {
		m.ID, m.Items = "hostile "+name, 1
		names[m.ID] = name
		if err := b.Publish(t.Context(), m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for message := range services {
		m, err := spans(message, message*batch, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "what is sound arrives", func() bool {
		for record := range services * batch {
			l.other.got.mu.Lock()
			has := l.other.got.has(record)
			l.other.got.mu.Unlock()
			if !has {
				return false
			}
		}
		return true
	})
	eventually(t, "nothing waits", func() bool {
		n, err := l.waiting(t.Context())
		return err == nil && n == 0
	})
	reasons := map[string]int{}
	err = b.Replay(t.Context(), root.DeadStream().Name, "", func(d *bus.Delivery) error {
		if d.Header(bus.HeaderDeadReason) == bus.ReasonPanic || d.Header(bus.HeaderDeadError) == "" || d.Header(bus.HeaderDeadOrigin) == "" {
			t.Errorf("dead letter of %q: %v", names[d.Header(bus.HeaderDeadID)], d.Headers())
		}
		reasons[d.Header(bus.HeaderDeadStage)+" "+d.Header(bus.HeaderDeadReason)]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"router undecodable", "router subject", "exporter undecodable", "exporter subject"} {
		if reasons[want] == 0 {
			t.Errorf("no dead letter of %s among %v", want, reasons)
		}
	}
	for _, name := range []string{router, exporter} {
		p := l.running[name][0]
		if err := p.Ended(); err != nil {
			t.Fatal(err)
		}
		kib, err := child.PeakKiB(p.PID())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s took %d MiB", name, kib>>10)
		if kib>>10 > maxHostileMiB {
			t.Errorf("%s took %d MiB, at most %d are fine", name, kib>>10, maxHostileMiB)
		}
	}
	t.Log(reasons)
}
