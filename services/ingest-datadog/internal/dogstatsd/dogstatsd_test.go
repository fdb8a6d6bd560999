// SPDX-License-Identifier: Apache-2.0

package dogstatsd

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/busbar/busbar/services/ingest-datadog/internal/capturetest"
	"github.com/busbar/busbar/services/ingest-datadog/internal/decode"
	"github.com/busbar/busbar/services/ingest-datadog/internal/mapping"
)

const testdata = "../../testdata"

func TestParse(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]Line{
		"a.b:1|c":                        {Sample: Sample{Name: "a.b", Kind: Counter, Values: "1", Rate: 1}},
		"a:-3|g|T1700000000|#x:1,bare":   {Sample: Sample{Name: "a", Kind: Gauge, Values: "-3", Rate: 1, Tags: "x:1,bare", Time: 1700000000e9}},
		"a:1:2.5|ms|@0.5|#|c:ci-abc":     {Sample: Sample{Name: "a", Kind: Timer, Values: "1:2.5", Rate: 0.5, Container: "abc"}},
		"a:x|s|card:low|e:it-false":      {Sample: Sample{Name: "a", Kind: Set, Values: "x", Rate: 1, External: "it-false"}},
		"_e{3,5}:a|b|c|d|e|t:error|#x:y": {Event: &decode.Event{Title: "a|b", Text: "c|d|e", Alert: "error", Tags: []string{"x:y"}}},
		"_sc|db|2|d:1700000200|h:db-1|#a:b|m:refused": {Check: &decode.Check{
			Name: "db", Host: "db-1", Message: "refused", Status: 2, Time: 1700000200e9, Tags: []string{"a:b"},
		}},
	} {
		got, err := Parse([]byte(line))
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", line, d)
		}
	}
	for _, line := range []string{"", "a", "a:1", "a:1|", "a:1|q", ":1|c", "a:|c", "a:1|c|@0", "a:1|c|@2", "a:1|c|Tx", "_e{1,1}:a", "_e{9,9}:a|b", "_sc|a|9", "_sc||1"} {
		if l, err := Parse([]byte(line)); err == nil {
			t.Errorf("%q: %+v", line, l)
		}
	}
}

// points returns what an Aggregator has added up: numbers by metric and attributes, counts of distributions.
func points(t *testing.T, a *Aggregator) map[string]float64 {
	t.Helper()
	m := &mapping.Mapper{IDs: mapping.NewIDs(1), Now: time.Now}
	out := map[string]float64{}
	for tenant, o := range a.Flush(m, 1000e9, 1010e9, "replica") {
		msgs, err := o.Messages()
		if err != nil {
			t.Fatal(err)
		}
		for _, msg := range msgs {
			if msg.Signal != "metrics" {
				continue
			}
			req := pmetricotlp.NewExportRequest()
			if err := req.UnmarshalProto(msg.Data); err != nil {
				t.Fatal(err)
			}
			for _, r := range req.Metrics().ResourceMetrics().All() {
				for _, s := range r.ScopeMetrics().All() {
					for _, metric := range s.Metrics().All() {
						name := tenant + " " + metric.Name()
						switch metric.Type() {
						case pmetric.MetricTypeGauge:
							for _, p := range metric.Gauge().DataPoints().All() {
								out[name+labels(p.Attributes())] = p.DoubleValue()
							}
						case pmetric.MetricTypeSum:
							for _, p := range metric.Sum().DataPoints().All() {
								out[name+labels(p.Attributes())] = p.DoubleValue()
							}
						default:
							for _, p := range metric.ExponentialHistogram().DataPoints().All() {
								out[name+labels(p.Attributes())+" count"] = float64(p.Count())
								out[name+labels(p.Attributes())+" sum"] = p.Sum()
							}
						}
					}
				}
			}
		}
	}
	return out
}

func labels(m pcommon.Map) string {
	var b strings.Builder
	for k, v := range m.All() {
		b.WriteString(" " + k + "=" + v.AsString())
	}
	return b.String()
}

func TestAggregate(t *testing.T) {
	t.Parallel()
	lost := map[string]int{}
	a := NewAggregator(1600, func(reason string, n int) { lost[reason] += n }, func(string, Kind, []string) {})
	a.Packet("t", []byte("hits:1|c|#a:1\nhits:2:3|c|#a:1\nhits:1|c|@0.1|#a:1\ntemp:5|g\ntemp:-7|g\nusers:ann|s\nusers:bob|s\nusers:ann|s\n"+
		"lat:2|d|#r:x\nlat:4:6|d|@0.5|#r:x\nbad line\nbroken:x|c\nat:3|c|T1700000000\nneg:-4|c"))
	a.Packet("u", []byte("hits:9|c|#a:1"))
	want := map[string]float64{
		"t hits a=1": 16, "t temp": -7, "t users": 2, "t lat r=x count": 5, "t lat r=x sum": 22, "t at": 3, "t neg": -4, "u hits a=1": 9,
	}
	got := points(t, a)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]int{"statsd_format": 1, "statsd_value": 1}, lost); d != "" {
		t.Error(d)
	}
	if got := points(t, a); len(got) != 0 {
		t.Errorf("a window later: %v", got)
	}
}

func TestContextsAreBounded(t *testing.T) {
	t.Parallel()
	lost := 0
	a := NewAggregator(shards, func(_ string, n int) { lost += n }, func(string, Kind, []string) {})
	for i := range 1000 {
		a.Packet("t", []byte("m:1|c|#i:"+strings.Repeat("x", i)))
	}
	if kept := len(points(t, a)); kept > shards || kept+lost != 1000 {
		t.Errorf("%d kept, %d lost", kept, lost)
	}
}

// Every packet captured of real clients is read without loss.
func TestCapturedPackets(t *testing.T) {
	t.Parallel()
	for _, c := range append(capturetest.All(t, testdata, "dogstatsd"), capturetest.Load(t, testdata, "node-dogstatsd-proxy")) {
		lines := 0
		for line := range bytes.Lines(c.Body) {
			if _, err := Parse(bytes.TrimRight(line, "\n")); err != nil {
				t.Errorf("%s: %s: %v", c.Name, line, err)
			}
			lines++
		}
		a := NewAggregator(10000, func(reason string, n int) { t.Errorf("%s: lost %d: %s", c.Name, n, reason) }, func(string, Kind, []string) {})
		a.Packet("t", c.Body)
		for name, v := range points(t, a) {
			if math.IsNaN(v) {
				t.Errorf("%s: %s is no number", c.Name, name)
			}
		}
		if lines == 0 {
			t.Errorf("%s: empty", c.Name)
		}
	}
}

func FuzzPacket(f *testing.F) {
	for _, c := range capturetest.All(f, testdata, "dogstatsd") {
		f.Add(c.Body)
	}
	m := &mapping.Mapper{IDs: mapping.NewIDs(1), Now: time.Now}
	f.Fuzz(func(t *testing.T, packet []byte) {
		a := NewAggregator(100, func(string, int) {}, func(string, Kind, []string) {})
		a.Packet("t", packet)
		for _, o := range a.Flush(m, 1, 2, "r") {
			if _, err := o.Messages(); err != nil {
				t.Error(err)
			}
		}
	})
}

func BenchmarkPacket(b *testing.B) {
	a := NewAggregator(100_000, func(string, int) {}, func(string, Kind, []string) {})
	packet := []byte("shop.orders.placed:3|c|#tier:web,bare,country:pl,plan:gold")
	b.ReportAllocs()
	for b.Loop() {
		a.Packet("default", packet)
	}
}
