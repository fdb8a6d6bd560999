// SPDX-License-Identifier: Apache-2.0

package decode_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/DataDog/datadog-agent/pkg/proto/pbgo/trace"
	"github.com/DataDog/datadog-agent/pkg/proto/pbgo/trace/idx"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/busbar/busbar/services/ingest-datadog/internal/capturetest"
	"github.com/busbar/busbar/services/ingest-datadog/internal/decode"
)

const testdata = "../../testdata"

// spanFacts is a span as Datadog's decoders read it.
type spanFacts struct {
	Name     string            `json:"name"`
	Resource string            `json:"resource"`
	Service  string            `json:"service"`
	Type     string            `json:"type"`
	SpanID   string            `json:"span_id"`
	TraceID  string            `json:"trace_id"`
	Parent   string            `json:"parent_span_id"`
	Start    uint64            `json:"start_ns"`
	Duration uint64            `json:"duration_ns"`
	Error    any               `json:"error"`
	Meta     map[string]string `json:"meta"`
	More     map[string]string `json:"attributes"`
}

type traceFacts struct {
	Chunks int         `json:"chunks"`
	Count  int         `json:"span_count"`
	Spans  []spanFacts `json:"spans"`
}

func facts[T any](t *testing.T, r capturetest.Request) (v T) {
	t.Helper()
	if err := json.Unmarshal(r.Facts, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func readTraces(t *testing.T, r capturetest.Request) ([]decode.Traces, traceFacts) {
	t.Helper()
	var all []decode.Traces
	var want traceFacts
	var err error
	if r.Path == "/api/v0.2/traces" {
		f := facts[struct {
			Payload struct {
				Traces traceFacts `json:"traces"`
				Legacy traceFacts `json:"legacy_traces"`
			} `json:"agent_payload"`
		}](t, r)
		var a decode.Agent
		a, err = decode.AgentTraces(r.Body)
		all, want = a.Payloads, f.Payload.Traces
		if want.Count == 0 {
			want = f.Payload.Legacy
		}
	} else {
		var one decode.Traces
		switch r.Path {
		case "/v0.4/traces":
			one, err = decode.V04(r.Body)
		case "/v0.5/traces":
			one, err = decode.V05(r.Body)
		case "/v1.0/traces":
			one, err = decode.V1(r.Body)
		default:
			t.Fatalf("path %s", r.Path)
		}
		all, want = []decode.Traces{one}, facts[struct {
			Traces traceFacts `json:"traces"`
		}](t, r).Traces
	}
	if err != nil {
		t.Fatal(err)
	}
	return all, want
}

func TestTraces(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"go-v04", "go-v10", "gov1-v04", "node-v04", "node-v05", "agent-traces"} {
		for _, r := range capturetest.All(t, testdata, prefix) {
			t.Run(r.Name, func(t *testing.T) {
				t.Parallel()
				all, want := readTraces(t, r)
				chunks := 0
				var got []spanFacts
				wanted := map[string]spanFacts{}
				for _, s := range want.Spans {
					wanted[s.SpanID] = s
				}
				for _, p := range all {
					chunks += len(p.Chunks)
					for _, c := range p.Chunks {
						for _, s := range c.Spans {
							got = append(got, spanOf(p, c, s, wanted))
						}
					}
				}
				if chunks != want.Chunks || len(got) != want.Count {
					t.Errorf("%d chunks of %d, %d spans of %d", chunks, want.Chunks, len(got), want.Count)
				}
				sortSpans(got)
				sortSpans(want.Spans)
				if d := cmp.Diff(want.Spans, got); d != "" {
					t.Error(d)
				}
			})
		}
	}
}

func sortSpans(s []spanFacts) {
	slices.SortFunc(s, func(a, b spanFacts) int { return strings.Compare(a.SpanID, b.SpanID) })
	for i := range s {
		s[i].Error = truth(s[i].Error)
	}
}

func truth(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case float64:
		return v != 0
	}
	return false
}

// spanOf is a span as the facts have it, with those attributes that they name.
func spanOf(p decode.Traces, c *idx.InternalTraceChunk, s *idx.InternalSpan, wanted map[string]spanFacts) spanFacts {
	f := spanFacts{
		Name: s.Name(), Resource: s.Resource(), Service: s.Service(), Type: s.Type(), SpanID: fmt.Sprintf("%016x", s.SpanID()),
		TraceID: fmt.Sprintf("%x", decode.TraceID(c)), Start: s.Start(), Duration: s.Duration(), Error: s.Error(),
	}
	if s.ParentID() != 0 {
		f.Parent = fmt.Sprintf("%016x", s.ParentID())
	}
	want := wanted[f.SpanID]
	read := func(key string) string {
		switch key {
		case "env":
			return s.Env()
		case "version":
			return s.Version()
		case "component":
			return s.Component()
		case "span.kind":
			return s.SpanKind()
		case "_dd.p.dm":
			return "-" + strconv.Itoa(int(c.SamplingMechanism()))
		}
		v, ok := s.GetAttributeAsString(key)
		if !ok {
			v, _ = p.GetAttributeAsString(key)
		}
		return v
	}
	if want.Meta != nil {
		f.Meta = map[string]string{}
		for k := range want.Meta {
			f.Meta[k] = read(k)
		}
	}
	if want.More != nil {
		f.More = map[string]string{}
		for k := range want.More {
			f.More[k] = read(k)
		}
	}
	return f
}

type seriesFacts struct {
	Metric    string            `json:"metric"`
	Type      string            `json:"type"`
	Unit      string            `json:"unit"`
	Interval  float64           `json:"interval"`
	Points    [][2]float64      `json:"points"`
	Resources map[string]string `json:"resources"`
	Source    string            `json:"source_type_name"`
	Tags      []string          `json:"tags"`
}

func seriesOf(s decode.Series) seriesFacts {
	f := seriesFacts{
		Metric: s.Metric, Type: []string{"", "count", "rate", "gauge"}[s.Kind], Unit: s.Unit, Interval: float64(s.Interval),
		Source: s.Source, Tags: s.Tags, Resources: map[string]string{},
	}
	for _, r := range s.Resources {
		f.Resources[r.Type] = r.Name
	}
	for _, p := range s.Points {
		f.Points = append(f.Points, [2]float64{float64(p.Time) / 1e9, p.Value})
	}
	return f
}

func compare(t *testing.T, want []seriesFacts, got []decode.Series) {
	t.Helper()
	var read []seriesFacts
	for _, s := range got {
		read = append(read, seriesOf(s))
	}
	sorted := cmpopts.SortSlices(func(a, b string) bool { return a < b })
	if d := cmp.Diff(want, read, sorted, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
}

func TestSeriesOfAgents(t *testing.T) {
	t.Parallel()
	t.Run("v2", func(t *testing.T) {
		t.Parallel()
		r := capturetest.Load(t, testdata, "agent-series-v2")
		got, err := decode.SeriesV2(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, facts[struct{ Series []seriesFacts }](t, r).Series, got)
	})
	t.Run("v3", func(t *testing.T) {
		t.Parallel()
		r := capturetest.Load(t, testdata, "agent-series-v3")
		got, err := decode.MetricsV3(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, facts[struct{ Series []seriesFacts }](t, r).Series, got.Series)
	})
}

// v1Facts are facts that are the JSON document itself.
type v1Facts struct {
	seriesFacts
	Host   string `json:"host"`
	Device string `json:"device"`
}

func TestSeriesV1(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"agent-series-v1", "apijs-0003-POST-api-v1-series"} {
		r := capturetest.Load(t, testdata, name)
		got, err := decode.SeriesV1(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		var want []seriesFacts
		for _, s := range facts[struct{ JSON struct{ Series []v1Facts } }](t, r).JSON.Series {
			s.Resources = map[string]string{}
			if s.Host != "" {
				s.Resources["host"] = s.Host
			}
			if s.Device != "" {
				s.Resources["device"] = s.Device
			}
			want = append(want, s.seriesFacts)
		}
		compare(t, want, got)
	}
}

func TestSeriesJSONV2(t *testing.T) {
	t.Parallel()
	r := capturetest.Load(t, testdata, "apijs-0001-POST-api-v2-series")
	got, err := decode.SeriesJSONV2(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	lib := map[string]string{"host": "lib-1.example.test"}
	compare(t, []seriesFacts{
		{Metric: "lib.books.borrowed", Type: "count", Unit: "book", Interval: 30, Points: [][2]float64{{1795240000, 5}, {1795240030, 7}},
			Resources: lib, Tags: []string{"env:staging", "service:library", "version:2.0", "branch:main"}},
		{Metric: "lib.requests", Type: "rate", Interval: 10, Points: [][2]float64{{1795240000, 2.5}}, Resources: lib},
		{Metric: "lib.shelf.load", Type: "gauge", Points: [][2]float64{{1795240000, 0.75}}, Tags: []string{"branch:main"}},
	}, got)
}

func TestSketches(t *testing.T) {
	t.Parallel()
	r := capturetest.Load(t, testdata, "agent-sketches")
	type point struct {
		Count    uint64  `json:"count"`
		BinTotal uint64  `json:"bin_total"`
		Bins     int     `json:"bins"`
		First    int32   `json:"first_key"`
		Last     int32   `json:"last_key"`
		Sum      float64 `json:"sum"`
		Min      float64 `json:"min"`
		Max      float64 `json:"max"`
		TS       uint64  `json:"ts"`
	}
	type sketch struct {
		Metric, Host string
		Tags         []string
		Points       []point
	}
	all, err := decode.Sketches(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got []sketch
	for _, s := range all {
		one := sketch{Metric: s.Metric, Host: s.Resources[0].Name, Tags: s.Tags}
		for _, p := range s.Points {
			total := uint64(0)
			for _, n := range p.Counts {
				total += n
			}
			one.Points = append(one.Points, point{p.Count, total, len(p.Keys), p.Keys[0], p.Keys[len(p.Keys)-1], p.Sum, p.Min, p.Max, p.Time / 1e9})
		}
		got = append(got, one)
	}
	if d := cmp.Diff(facts[struct{ Sketches []sketch }](t, r).Sketches, got, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
}

type groupFacts struct {
	Start    uint64   `json:"bucket_start_ns"`
	Length   uint64   `json:"bucket_duration_ns"`
	Duration uint64   `json:"duration_ns"`
	OK       float64  `json:"ok_sketch_count"`
	Failed   float64  `json:"error_sketch_count"`
	Errors   uint64   `json:"errors"`
	Hits     uint64   `json:"hits"`
	Method   string   `json:"http_method"`
	Status   uint32   `json:"http_status"`
	Name     string   `json:"name"`
	Resource string   `json:"resource"`
	Service  string   `json:"service"`
	Kind     string   `json:"span_kind"`
	Type     string   `json:"type"`
	Peers    []string `json:"peer_tags"`
}

func groups(t *testing.T, p *trace.ClientStatsPayload) (out []groupFacts) {
	t.Helper()
	count := func(data []byte) float64 {
		b, err := decode.Sketch(data)
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			return 0
		}
		n := b.Zero
		for _, side := range []map[int]float64{b.Positive, b.Negative} {
			for _, c := range side {
				n += c
			}
		}
		return math.Round(n)
	}
	for _, b := range p.Stats {
		for _, g := range b.Stats {
			out = append(out, groupFacts{b.Start, b.Duration, g.Duration, count(g.OkSummary), count(g.ErrorSummary), g.Errors, g.Hits,
				g.HTTPMethod, g.HTTPStatusCode, g.Name, g.Resource, g.Service, g.SpanKind, g.Type, g.PeerTags})
		}
	}
	return out
}

func TestStats(t *testing.T) {
	t.Parallel()
	type payload struct{ Groups []groupFacts }
	sorted := cmpopts.SortSlices(func(a, b groupFacts) bool { return fmt.Sprint(a) < fmt.Sprint(b) })
	for _, name := range []string{"go-v06-stats-shop", "node-v06-stats-express"} {
		r := capturetest.Load(t, testdata, name)
		p, err := decode.ClientStats(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(facts[struct{ Stats payload }](t, r).Stats.Groups, groups(t, p), sorted, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	r := capturetest.Load(t, testdata, "agent-stats-shop")
	p, err := decode.AgentStats(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	want := facts[struct {
		Payload struct{ Stats []payload } `json:"stats_payload"`
	}](t, r).Payload.Stats
	for i, s := range p.Stats {
		if d := cmp.Diff(want[i].Groups, groups(t, s), sorted, cmpopts.EquateEmpty()); d != "" {
			t.Error(d)
		}
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	got, err := decode.Logs(capturetest.Load(t, testdata, "agent-logs").Body, false)
	if err != nil || len(got) != 3 {
		t.Fatalf("%d logs: %v", len(got), err)
	}
	want := decode.Log{
		Message: got[1].Message, Status: "error", Host: "node-7.example.test", Service: "checkout", Source: "nginx", Time: 1795248838100 * 1e6,
		Tags:  []string{"dirname:/var/log/app", "env:staging", "version:2.3.1", "filename:access.log"},
		Trace: "6b0147af000000000d56784d4d2a8c99", Span: "2903816268022348327",
	}
	if d := cmp.Diff(want, got[1]); d != "" {
		t.Error(d)
	}
	if got[2].Message != "multi\nline\tλ" {
		t.Errorf("%q", got[2].Message)
	}
	if got, err := decode.Logs(capturetest.Load(t, testdata, "agent-logs-ping").Body, false); err != nil || len(got) != 0 {
		t.Errorf("ping: %d logs, %v", len(got), err)
	}
	got, err = decode.Logs([]byte(`{"message":"a","order":{"id":7,"ok":true}}`+"\n"+`{"message":"b"}`), true)
	if err != nil || len(got) != 2 || len(got[0].Fields) != 2 || got[0].Fields[0].Name != "order.id" {
		t.Errorf("lines of objects: %+v, %v", got, err)
	}
	got, err = decode.Logs([]byte("plain\nlines\n"), true)
	if err != nil || len(got) != 2 || got[1].Message != "lines" {
		t.Errorf("text: %+v, %v", got, err)
	}
}

func TestEventsAndChecks(t *testing.T) {
	t.Parallel()
	in, err := decode.ReadIntake(capturetest.Load(t, testdata, "agent-intake-events").Body)
	if err != nil {
		t.Fatal(err)
	}
	want := []decode.Event{
		{Title: "No source", Text: "api event", Host: "node-7.example.test", Source: "api", Time: 1795240011e9},
		{Title: "Deploy", Text: "shipped 2.3.1", Host: "node-7.example.test", Alert: "info", Key: "deploy", Priority: "normal", Source: "ci",
			Time: 1795240010e9, Tags: []string{"env:staging"}},
	}
	if d := cmp.Diff(want, in.Events); d != "" {
		t.Error(d)
	}
	in, err = decode.ReadIntake(capturetest.Load(t, testdata, "agent-intake-hostmeta").Body)
	if err != nil || len(in.Events) != 0 || !slices.Contains(in.Others, "host-tags") {
		t.Errorf("host metadata: %+v, %v", in, err)
	}
	e, err := decode.OneEvent(capturetest.Load(t, testdata, "apijs-0006-POST-api-v1-events").Body)
	if err != nil || e.Title != "Library opened" || e.Text != "doors open" || e.Alert != "info" {
		t.Errorf("%+v, %v", e, err)
	}
	checks, err := decode.Checks(capturetest.Load(t, testdata, "agent-check-run").Body)
	if err != nil || len(checks) != 2 || checks[1].Status != 2 || checks[1].Message != "timeout" || checks[1].Time != 1795240010e9 {
		t.Errorf("%+v, %v", checks, err)
	}
	one, err := decode.Checks([]byte(`{"check":"a","host_name":"h","status":3,"tags":null}`))
	if err != nil || len(one) != 1 || one[0].Status != 3 {
		t.Errorf("%+v, %v", one, err)
	}
}
