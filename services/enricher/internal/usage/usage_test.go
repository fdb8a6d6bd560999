// SPDX-License-Identifier: Apache-2.0

package usage_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pmetric"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/enricher/internal/ident"
	"github.com/busbar/busbar/services/enricher/internal/otlp"
	"github.com/busbar/busbar/services/enricher/internal/usage"
)

const second = 1_000_000_000

func newEncoder() *usage.Encoder {
	return &usage.Encoder{
		By: ident.Producer{Name: "busbar", Version: "v0.0.0"},
		Identify: func(o *eventv1.Origin, p *eventv1.Process) ident.Identity {
			return ident.Identity{Name: p.GetCommand(), Namespace: "shop", Attributes: []ident.Attribute{
				{Key: "host.name", Text: o.GetNode()}, {Key: "process.pid", Int: int64(p.GetPid())}, {Key: "service.name", Text: p.GetCommand()},
			}}
		},
	}
}

func sample(pid uint32, command string) *eventv1.ProcessSample {
	return &eventv1.ProcessSample{
		Process:       &eventv1.Process{Pid: pid, ParentPid: 1, Command: command, StartUnixNano: 900 * second},
		StartUnixNano: 1000 * second, TimeUnixNano: 1010 * second, UserNano: 4 * second, SystemNano: second, Processors: 2,
		MemoryBytes: 5000, VirtualBytes: 70000, UserId: 1000,
	}
}

func batch(samples ...*eventv1.ProcessSample) *eventv1.ProcessBatch {
	return &eventv1.ProcessBatch{Origin: &eventv1.Origin{Node: "n1", Run: "r", Sequence: 1}, Samples: samples}
}

// lines are the points of a message, one a line.
func lines(t *testing.T, m otlp.Message) (out []string) {
	t.Helper()
	metrics, err := new(pmetric.ProtoUnmarshaler).UnmarshalMetrics(m.Data)
	if err != nil {
		t.Fatal(err)
	}
	if m.Items != metrics.DataPointCount() || m.Signal != subject.Metrics || m.Namespace != "shop" {
		t.Errorf("message %s of %s/%s has %d items, says %d", m.Signal, m.Namespace, m.Service, metrics.DataPointCount(), m.Items)
	}
	for _, rm := range metrics.ResourceMetrics().All() {
		for _, metric := range rm.ScopeMetrics().At(0).Metrics().All() {
			points, kind := pmetric.NewNumberDataPointSlice(), "gauge"
			switch metric.Type() { //nolint:exhaustive // there are no others
			case pmetric.MetricTypeGauge:
				points = metric.Gauge().DataPoints()
			case pmetric.MetricTypeSum:
				points = metric.Sum().DataPoints()
				kind = fmt.Sprint(metric.Sum().AggregationTemporality(), " ", metric.Sum().IsMonotonic())
			}
			for _, p := range points.All() {
				value := fmt.Sprint(p.DoubleValue())
				if p.ValueType() == pmetric.NumberDataPointValueTypeInt {
					value = fmt.Sprint(p.IntValue())
				}
				interval := fmt.Sprint(uint64(p.StartTimestamp())/second, "-", uint64(p.Timestamp())/second)
				out = append(out, fmt.Sprint(metric.Name(), " ", metric.Unit(), " ", kind, " ", p.Attributes().AsRaw(), " ", interval, " ", value))
			}
		}
	}
	return out
}

func TestEncode(t *testing.T) {
	t.Parallel()
	s := sample(7, "cart")
	s.Disk, s.Network = &eventv1.Transfer{ReadBytes: 1, WrittenBytes: 2}, &eventv1.Transfer{ReadBytes: 3, WrittenBytes: math.MaxUint64}
	result := newEncoder().Encode(batch(s))
	if len(result.Messages) != 1 || len(result.Lost) != 0 || result.Messages[0].Service != "cart" {
		t.Fatalf("result %+v", result)
	}
	const who = "process.command:cart process.owner:1000 process.parent_pid:1 process.pid:7]"
	want := []string{
		"process.cpu.time s Delta true map[cpu.mode:user " + who + " 1000-1010 4",
		"process.cpu.time s Delta true map[cpu.mode:system " + who + " 1000-1010 1",
		"process.cpu.utilization 1 gauge map[cpu.mode:user " + who + " 1000-1010 0.2",
		"process.cpu.utilization 1 gauge map[cpu.mode:system " + who + " 1000-1010 0.05",
		"process.memory.usage By Cumulative false map[" + who + " 900-1010 5000",
		"process.memory.virtual By Cumulative false map[" + who + " 900-1010 70000",
		"process.disk.io By Delta true map[disk.io.direction:read " + who + " 1000-1010 1",
		"process.disk.io By Delta true map[disk.io.direction:write " + who + " 1000-1010 2",
		"process.network.io By Delta true map[network.io.direction:receive " + who + " 1000-1010 3",
		fmt.Sprint("process.network.io By Delta true map[network.io.direction:transmit "+who+" 1000-1010 ", math.MaxInt64),
	}
	if d := cmp.Diff(want, lines(t, result.Messages[0])); d != "" {
		t.Errorf("points (-want +got):\n%s", d)
	}
}

// TestUnknownFigures: what the probe may not know is not made up.
func TestUnknownFigures(t *testing.T) {
	t.Parallel()
	s := sample(7, "cart")
	s.Processors, s.UserId = 0, 0
	for _, line := range lines(t, newEncoder().Encode(batch(s)).Messages[0]) {
		name, _, _ := strings.Cut(line, " ")
		if slices.Contains([]string{"process.cpu.utilization", "process.disk.io", "process.network.io"}, name) || !strings.Contains(line, "process.owner:root") {
			t.Error(line)
		}
	}
}

func TestLosses(t *testing.T) {
	t.Parallel()
	backwards, timeless, yielded, nobody := sample(1, "a"), sample(2, "a"), sample(3, "a"), sample(4, "a")
	backwards.TimeUnixNano = backwards.GetStartUnixNano()
	timeless.StartUnixNano = 0
	yielded.GetProcess().Yield = eventv1.Yield_YIELD_ALL
	nobody.Process = nil
	result := newEncoder().Encode(batch(backwards, timeless, yielded, nobody))
	if d := cmp.Diff(map[string]int{"time_process": 2, "sdk_process": 1, "process_process": 1}, result.Lost); d != "" || len(result.Messages) > 0 {
		t.Errorf("%d messages, lost (-want +got):\n%s", len(result.Messages), d)
	}
	if result := newEncoder().Encode(&eventv1.ProcessBatch{Events: []*eventv1.ProcessEvent{{}}}); len(result.Messages)+len(result.Lost) > 0 {
		t.Errorf("a batch of events gives %+v", result)
	}
}

// TestServicesHaveMessagesOfTheirOwn, whose names say which samples they are of.
func TestServicesHaveMessagesOfTheirOwn(t *testing.T) {
	t.Parallel()
	b := batch(sample(1, "cart"), sample(2, "mail"), sample(3, "cart"))
	first := newEncoder().Encode(b).Messages
	if len(first) != 2 || first[0].Service != "cart" || first[1].Service != "mail" || first[0].Part == first[1].Part {
		t.Fatalf("messages %+v", first)
	}
	if d := cmp.Diff(first, newEncoder().Encode(b).Messages); d != "" {
		t.Errorf("the same batch gives others (-first +second):\n%s", d)
	}
	b.GetSamples()[0].GetProcess().Command = "cart2" // it is named otherwise at the second try
	for _, m := range newEncoder().Encode(b).Messages {
		if m.Service != "mail" && slices.ContainsFunc(first, func(o otlp.Message) bool { return o.Part == m.Part }) {
			t.Errorf("%s has the part of another message: %s", m.Service, m.Part)
		}
	}
}

func TestMessagesAreBounded(t *testing.T) {
	t.Parallel()
	e := newEncoder()
	e.Identify = func(*eventv1.Origin, *eventv1.Process) ident.Identity {
		return ident.Identity{Name: "cart", Namespace: "shop", Attributes: []ident.Attribute{{Key: "long", Text: strings.Repeat("x", 8192)}}}
	}
	var samples []*eventv1.ProcessSample
	for pid := range uint32(200) {
		samples = append(samples, sample(pid, "cart"))
	}
	points := 0
	messages := e.Encode(batch(samples...)).Messages
	for _, m := range messages {
		points += m.Items
		if len(m.Data) > otlp.MaxMessage {
			t.Errorf("a message of %d bytes", len(m.Data))
		}
	}
	if points != 6*len(samples) || len(messages) < 4 {
		t.Errorf("%d points in %d messages", points, len(messages))
	}
}

// FuzzEncode: whatever is in a batch, its samples are in messages that can be read, or counted as lost.
func FuzzEncode(f *testing.F) {
	wire, err := batch(sample(1, "cart"), sample(2, "mail")).MarshalVT()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wire)
	f.Fuzz(func(t *testing.T, data []byte) {
		b := new(eventv1.ProcessBatch)
		if b.UnmarshalVT(data) != nil {
			return
		}
		result := newEncoder().Encode(b)
		left := len(b.GetSamples())
		for _, n := range result.Lost {
			left -= n
		}
		for _, m := range result.Messages {
			metrics, err := new(pmetric.ProtoUnmarshaler).UnmarshalMetrics(m.Data)
			if err != nil {
				t.Fatal(err)
			}
			left -= metrics.ResourceMetrics().Len()
		}
		if left != 0 {
			t.Errorf("%d samples are nowhere", left)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	var samples []*eventv1.ProcessSample
	for pid := range uint32(100) {
		samples = append(samples, sample(pid, "cart"))
	}
	e, m := newEncoder(), batch(samples...)
	b.ReportAllocs()
	for b.Loop() {
		e.Encode(m)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(len(samples)), "µs/sample")
}
