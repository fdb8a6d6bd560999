// SPDX-License-Identifier: Apache-2.0

package otlp_test

import (
	"bytes"
	"fmt"
	"testing"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/router/internal/otlp"
)

// traces has a resource for each number, with that many spans.
func traces(spans ...int) otlp.Payload {
	t := ptrace.NewTraces()
	for i, n := range spans {
		rs := t.ResourceSpans().AppendEmpty()
		rs.SetSchemaUrl(fmt.Sprintf("schema %d", i))
		rs.Resource().Attributes().PutInt("number", int64(i))
		ss := rs.ScopeSpans().AppendEmpty()
		for j := range n {
			s := ss.Spans().AppendEmpty()
			s.SetName(fmt.Sprintf("span %d of %d", j, i))
			s.SetTraceID(pcommon.TraceID{byte(j), 15: byte(i)})
			s.Events().AppendEmpty().SetName("event")
		}
	}
	return otlp.FromTraces(t)
}

// metrics has two data points of each kind of metric.
func metrics() otlp.Payload {
	m := pmetric.NewMetrics()
	ms := m.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
	for range 2 {
		number := ms.AppendEmpty().SetEmptyGauge().DataPoints()
		number.AppendEmpty().SetIntValue(1)
		number.AppendEmpty().SetIntValue(2)
		ms.AppendEmpty().SetEmptySum().DataPoints().AppendEmpty()
		ms.AppendEmpty().SetEmptyHistogram().DataPoints().AppendEmpty().BucketCounts().FromRaw([]uint64{1, 2})
		ms.AppendEmpty().SetEmptyExponentialHistogram().DataPoints().AppendEmpty()
		ms.AppendEmpty().SetEmptySummary().DataPoints().AppendEmpty()
	}
	return otlp.FromMetrics(m)
}

func logs(records int) otlp.Payload {
	l := plog.NewLogs()
	sl := l.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty()
	for range records {
		sl.LogRecords().AppendEmpty().Body().SetStr("text")
	}
	return otlp.FromLogs(l)
}

func encode(t testing.TB, p otlp.Payload) []byte {
	t.Helper()
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCountAgreesWithDecoding(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]otlp.Payload{"traces": traces(3, 0, 2), "metrics": metrics(), "logs": logs(4)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, err := otlp.Count(p.Signal(), encode(t, p))
			if err != nil || n != p.Len() {
				t.Errorf("%d, %v, want %d", n, err, p.Len())
			}
		})
	}
}

func TestResources(t *testing.T) {
	t.Parallel()
	b := encode(t, traces(3, 0, 2))
	parts, err := otlp.Resources(b)
	if err != nil || len(parts) != 3 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	if joined := bytes.Join(parts, nil); !bytes.Equal(joined, b) {
		t.Error("the parts do not add up")
	}
	heads, err := otlp.Heads(parts)
	if err != nil || heads.Len() != 3 {
		t.Fatal(err)
	}
	for i, head := range heads.All() {
		number, _ := head.Resource().Attributes().Get("number")
		if number.Int() != int64(i) || head.SchemaUrl() != fmt.Sprintf("schema %d", i) || head.ScopeSpans().Len() != 0 {
			t.Errorf("head %d is of resource %d with %q and %d scopes", i, number.Int(), head.SchemaUrl(), head.ScopeSpans().Len())
		}
	}
	alone, err := otlp.Decode(subject.Traces, parts[2])
	if err != nil || alone.Len() != 2 {
		t.Errorf("%d spans in the last part, %v", alone.Len(), err)
	}
}

func TestEncodeWithin(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]otlp.Payload{"traces": traces(30, 1, 20), "metrics": metrics(), "logs": logs(33)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit := len(encode(t, p)) / 3
			chunks, tooLarge, err := p.EncodeWithin(limit)
			if err != nil || tooLarge != 0 || len(chunks) < 3 {
				t.Fatalf("%d chunks, %d too large, %v", len(chunks), tooLarge, err)
			}
			total := 0
			for _, c := range chunks {
				got, err := otlp.Decode(p.Signal(), c.Data)
				if err != nil || got.Len() != c.Items || len(c.Data) > limit {
					t.Errorf("%d bytes with %d of %d items, %v", len(c.Data), got.Len(), c.Items, err)
				}
				total += c.Items
			}
			if total != p.Len() {
				t.Errorf("%d records of %d", total, p.Len())
			}
		})
	}
}

func TestEncodeWithinLeavesOutWhatNeverFits(t *testing.T) {
	t.Parallel()
	l := plog.NewLogs()
	sl := l.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty()
	sl.LogRecords().AppendEmpty().Body().SetStr("small")
	sl.LogRecords().AppendEmpty().Body().SetStr(string(make([]byte, 1000)))
	sl.LogRecords().AppendEmpty().Body().SetStr("small too")
	chunks, tooLarge, err := otlp.FromLogs(l).EncodeWithin(100)
	if err != nil || tooLarge != 1 {
		t.Fatalf("%d too large, %v", tooLarge, err)
	}
	total := 0
	for _, c := range chunks {
		total += c.Items
	}
	if total != 2 {
		t.Errorf("%d records are left", total)
	}
	if chunks, _, err := otlp.FromLogs(plog.NewLogs()).EncodeWithin(100); err != nil || len(chunks) != 0 {
		t.Errorf("nothing became %d chunks, %v", len(chunks), err)
	}
}

func TestWalkVisitsAndRemoves(t *testing.T) {
	t.Parallel()
	p := traces(2, 1)
	visits := map[string]int{}
	visit := func(depth string) func(*otlp.Cursor) bool {
		return func(*otlp.Cursor) bool {
			visits[depth]++
			return false
		}
	}
	p.Walk(otlp.Walk{Resource: visit("resource"), Scope: visit("scope"), Record: visit("record"), Part: visit("part")})
	if fmt.Sprint(visits) != "map[part:3 record:3 resource:2 scope:2]" {
		t.Error(visits)
	}
	p.Walk(otlp.Walk{Record: func(at *otlp.Cursor) bool { return at.Span.Name() == "span 0 of 1" }})
	b := encode(t, p)
	parts, err := otlp.Resources(b)
	if p.Len() != 2 || err != nil || len(parts) != 1 {
		t.Errorf("%d spans in %d resources are left, %v", p.Len(), len(parts), err)
	}
	m := metrics()
	m.Walk(otlp.Walk{Part: func(at *otlp.Cursor) bool { return at.Metric.Type() != pmetric.MetricTypeGauge }})
	if m.Len() != 4 {
		t.Errorf("%d data points are left", m.Len())
	}
}

// What both the wire functions and the decoder hold to be sound they must see alike, and they must survive anything. (The
// decoder lets field numbers pass that are not legal.)
func FuzzWire(f *testing.F) {
	f.Add(encode(f, traces(2, 1)))
	f.Add(encode(f, metrics()))
	f.Add(encode(f, logs(2)))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range subject.Signals() {
			parts, err := otlp.Resources(b)
			p, decodeErr := otlp.Decode(s, b)
			if err != nil || decodeErr != nil {
				continue
			}
			if heads, err := otlp.Heads(parts); err == nil && heads.Len() != len(parts) {
				t.Fatalf("%d heads of %d parts", heads.Len(), len(parts))
			}
			if n, err := otlp.Count(s, b); err == nil && s != subject.Metrics && n != p.Len() {
				t.Fatalf("%d records of %s counted, %d decoded", n, s, p.Len())
			}
			if _, err := p.Clone().Encode(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
