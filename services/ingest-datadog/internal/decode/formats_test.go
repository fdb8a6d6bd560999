// SPDX-License-Identifier: Apache-2.0

package decode_test

import (
	"testing"

	"github.com/DataDog/agent-payload/v5/metrics/intake_v3"
	"github.com/DataDog/datadog-agent/pkg/proto/pbgo/trace"
	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/busbar/busbar/services/ingest-datadog/internal/decode"
)

// Formats of which there is no capture: the payload of /v0.7 with what its chunks share, and JSON.
func TestOtherTraceFormats(t *testing.T) {
	t.Parallel()
	span := &trace.Span{Service: "a", Name: "n", Resource: "r", TraceID: 5, SpanID: 6, Start: 7, Duration: 8, Meta: map[string]string{"_dd.p.tid": "ff", "k": "v"}, Metrics: map[string]float64{"m": 2}}
	p := &trace.TracerPayload{
		ContainerID: "c", LanguageName: "go", RuntimeID: "rt", Env: "prod", Hostname: "h", AppVersion: "1", Tags: map[string]string{"t": "u"},
		Chunks: []*trace.TraceChunk{{Priority: 2, Origin: "rum", DroppedTrace: true, Tags: map[string]string{"ct": "cu"}, Spans: []*trace.Span{span}}},
	}
	body, err := p.MarshalMsg(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode.V07(body)
	if err != nil {
		t.Fatal(err)
	}
	c := got.Chunks[0]
	if id := decode.TraceID(c); id[7] != 0xff || id[15] != 5 || c.Priority != 2 || c.Origin() != "rum" || !c.DroppedTrace {
		t.Errorf("%x %d %s %v", id, c.Priority, c.Origin(), c.DroppedTrace)
	}
	if tag, _ := c.GetAttributeAsString("ct"); tag != "cu" || got.Env() != "prod" || got.Hostname() != "h" || got.ContainerID() != "c" || got.RuntimeID() != "rt" {
		t.Errorf("%q %s %s %s", tag, got.Env(), got.Hostname(), got.ContainerID())
	}
	for name, text := range map[string]string{
		"spans":  `[{"service":"a","name":"n","resource":"r","trace_id":5,"span_id":6,"start":7},{"service":"a","trace_id":9,"span_id":1,"start":7}]`,
		"traces": `[[{"service":"a","name":"n","resource":"r","trace_id":5,"span_id":6,"start":7}],[{"service":"a","trace_id":9,"span_id":1,"start":7}]]`,
	} {
		got, err := decode.JSON([]byte(text))
		if err != nil || len(got.Chunks) != 2 || got.Chunks[0].Spans[0].Name() != "n" || decode.TraceID(got.Chunks[1])[15] != 9 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// The kinds of series of v3 that no capture has: sketches, and histograms in OpenTelemetry's buckets.
func TestV3Distributions(t *testing.T) {
	t.Parallel()
	body, err := proto.Marshal(&intake_v3.Payload{
		Metadata: &intake_v3.Metadata{Tags: []string{"all:1"}},
		MetricData: &intake_v3.MetricData{
			DictNameStr: []byte("\x01a\x01b\x01c"), DictTagStr: []byte("\x03x:1\x03y:2"), DictTagsets: []int64{2, 1, 1, 2, -1, 3},
			Types:    []uint64{4 | 0x30, 6 | 0x10, 7 | 0x100},
			NameRefs: []int64{1, 1, 1}, TagsetRefs: []int64{1, 1, -1}, Intervals: []uint64{10, 10, 10}, NumPoints: []uint64{1, 1, 1},
			Timestamps:  []int64{1000, 1, 1},
			ValsFloat64: []float64{6, 1, 3}, ValsSint64: []int64{3, 20, 5, 10, 0, -2, 1}, ValsUint64: []uint64{4, 9, 2},
			NumBins: []uint64{2, 3, 2, 1}, BinKeys: []int32{1338, 45}, BinCnts: []uint64{1, 2, 1, 2, 1, 3, 3, 1},
			PointFlags: []uint32{4, 0},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode.MetricsV3(body)
	if err != nil {
		t.Fatal(err)
	}
	want := decode.V3{
		Sketches: []decode.SketchSeries{{Metric: "a", Tags: []string{"x:1", "y:2", "all:1"}, Interval: 10, Points: []decode.SketchPoint{
			{Time: 1000e9, Count: 3, Sum: 6, Min: 1, Max: 3, Keys: []int32{1338, 1383}, Counts: []uint64{1, 2}},
		}}},
		Histograms: []decode.HistogramSeries{
			{Series: decode.Series{Metric: "b", Tags: []string{"x:1", "y:2", "y:2", "all:1"}, Interval: 10}, Points: []decode.HistogramPoint{
				{Time: 1001e9, Count: 4, Sum: 20, HasSum: true, Bounds: []float64{5, 10}, Counts: []uint64{1, 2, 1}},
			}},
			{Series: decode.Series{Metric: "c", Tags: []string{"x:1", "y:2", "all:1"}, Interval: 10, NoIndex: true}, Exponential: true, Points: []decode.HistogramPoint{
				{Time: 1002e9, Count: 9, Zero: 2, Scale: 0, PositiveOffset: -2, NegativeOffset: 1, PositiveCounts: []uint64{3, 3}, NegativeCounts: []uint64{1}},
			}},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// Bins are those of the sketch that Datadog's library has filled.
func TestSketchBins(t *testing.T) {
	t.Parallel()
	s, err := ddsketch.NewDefaultDDSketch(0.01)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []float64{0, 0.5, 1, 1, 1000} {
		if err := s.Add(v); err != nil {
			t.Fatal(err)
		}
	}
	data, err := proto.Marshal(s.ToProto())
	if err != nil {
		t.Fatal(err)
	}
	b, err := decode.Sketch(data)
	if err != nil || b.Zero != 1 || len(b.Positive) != 3 {
		t.Fatalf("%+v, %v", b, err)
	}
	if b, err := decode.Sketch(nil); b != nil || err != nil {
		t.Errorf("no sketch: %v, %v", b, err)
	}
}
