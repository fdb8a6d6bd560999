// SPDX-License-Identifier: Apache-2.0

package otlp_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/enricher/internal/ident"
	"github.com/busbar/busbar/services/enricher/internal/otlp"
	"github.com/busbar/busbar/services/enricher/internal/peer"
	"github.com/busbar/busbar/services/enricher/internal/route"
)

var update = flag.Bool("update", false, "rewrite golden files")

const (
	server = eventv1.Role_ROLE_SERVER
	client = eventv1.Role_ROLE_CLIENT
)

func decodeTraces(t testing.TB, m otlp.Message) ptrace.Traces {
	t.Helper()
	request := ptraceotlp.NewExportRequest()
	if err := request.UnmarshalProto(m.Data); err != nil {
		t.Fatalf("%s: %v", m.Part, err)
	}
	if got := request.Traces().SpanCount(); got != m.Items {
		t.Errorf("%s: %d spans, header says %d", m.Part, got, m.Items)
	}
	return request.Traces()
}

func decodeMetrics(t testing.TB, m otlp.Message) pmetric.Metrics {
	t.Helper()
	request := pmetricotlp.NewExportRequest()
	if err := request.UnmarshalProto(m.Data); err != nil {
		t.Fatalf("%s: %v", m.Part, err)
	}
	if got := request.Metrics().DataPointCount(); got != m.Items {
		t.Errorf("%s: %d points, header says %d", m.Part, got, m.Items)
	}
	return request.Metrics()
}

// document shows messages as the JSON of OTLP. It fails unless pdata writes as many bytes as it read.
func document(t *testing.T, messages []otlp.Message) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, m := range messages {
		var text, again []byte
		var err error
		want := len(m.Data)
		if m.Signal == subject.Traces {
			td := decodeTraces(t, m)
			text, err = (&ptrace.JSONMarshaler{}).MarshalTraces(td)
			again, _ = ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
			eachSpan(td, func(s ptrace.Span) {
				if s.Status().Code() == ptrace.StatusCodeUnset {
					want += 2 // pdata writes the empty status
				}
				if s.ParentSpanID().IsEmpty() {
					want += 2 // and the empty parent
				}
			})
		} else {
			md := decodeMetrics(t, m)
			text, err = (&pmetric.JSONMarshaler{}).MarshalMetrics(md)
			again, _ = pmetricotlp.NewExportRequestFromMetrics(md).MarshalProto()
			eachMetric(md, func(m pmetric.Metric) {
				if m.Type() != pmetric.MetricTypeExponentialHistogram {
					return
				}
				for _, p := range m.ExponentialHistogram().DataPoints().All() {
					want += 2 // pdata writes the empty buckets of negative values
					if p.Positive().BucketCounts().Len() == 0 {
						want += 2 // and these
					}
				}
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(again) != want {
			t.Errorf("%s: pdata writes %d bytes of what it read, not %d: something was not understood", m.Part, len(again), want)
		}
		fmt.Fprintf(&out, "// %s %s %q/%q, %d items\n", m.Part, m.Signal, m.Namespace, m.Service, m.Items)
		if err := json.Indent(&out, text, "", "  "); err != nil {
			t.Fatal(err)
		}
		out.WriteByte('\n')
	}
	return out.Bytes()
}

func TestGolden(t *testing.T) {
	t.Parallel()
	parent := func(x *eventv1.Exchange) { x.ParentSpanId = []byte("parent00") }
	reset := func(why eventv1.Abort) func(*eventv1.Exchange) {
		return func(x *eventv1.Exchange) { x.Outcome, x.Abort = eventv1.Outcome_OUTCOME_RESET, why }
	}
	fastCGI := func(x *eventv1.Exchange) {
		x.UnixPath, x.GetHttp().Fastcgi = "/run/php/php8.2-fpm.sock", true
		x.LocalAddress, x.PeerAddress, x.LocalPort, x.PeerPort = 99, 99, 0, 0
	}
	for name, b := range map[string]*eventv1.ExchangeBatch{
		"server": batch(
			with(get(server, "/users/17", 200), parent),
			with(get(server, "/users/18", 503), func(x *eventv1.Exchange) { x.StartUnixNano += 5 * millisecond }),
		),
		"client": batch(
			with(with(get(client, "/users/17", 404), parent), func(x *eventv1.Exchange) { x.Process = 1 }),
			with(get(client, "/", 0), func(x *eventv1.Exchange) {
				x.Process, x.Outcome, x.PeerAddress = 1, eventv1.Outcome_OUTCOME_RESET, 2
				x.GetHttp().Host, x.ResponseBytes, x.ResponseHeadBytes = "", 0, 0
			}),
		),
		"odd": batch(
			with(get(server, "*", 200), func(x *eventv1.Exchange) { x.GetHttp().Method = "OPTIONS" }),
			with(get(server, "/a\xff/b", 200), func(x *eventv1.Exchange) {
				x.GetHttp().Method, x.GetHttp().UserAgent, x.GetHttp().MinorVersion = "get", "", 0
				x.TraceId, x.SpanId, x.ParentSpanId = nil, nil, []byte("parent00")
				x.EndNano, x.ResponseStartNano = 0, 1<<63
				x.RequestHeadBytes, x.ResponseHeadBytes, x.ResponseBytes = 0, 500, 100
			}),
			with(get(client, "/files/reports/jan", 200), func(x *eventv1.Exchange) { x.GetHttp().PathTruncated = true }),
			with(get(client, "proxy.example:443", 200), func(x *eventv1.Exchange) { x.GetHttp().Method = "CONNECT" }),
		),
		"queue": batch(
			with(get(server, "/", 200), func(x *eventv1.Exchange) { parent(x); x.WaitNano = 3 * millisecond }),
			with(get(server, "/", 200), func(x *eventv1.Exchange) { x.WaitNano = millisecond - 1 }),
			with(get(client, "/", 200), func(x *eventv1.Exchange) { x.WaitNano = 3 * millisecond }), // makes no sense
		),
		"resets": batch(
			with(get(server, "/", 0), reset(eventv1.Abort_ABORT_PEER)),
			with(get(server, "/", 200), reset(eventv1.Abort_ABORT_LOCAL)),
			with(get(client, "/", 404), reset(eventv1.Abort_ABORT_BROKEN_PIPE)),
			with(get(client, "/", 0), reset(eventv1.Abort_ABORT_TIMED_OUT)),
			with(get(client, "/", 0), reset(eventv1.Abort_ABORT_OTHER)),
		),
		"tls": batch(
			with(get(server, "/", 200), func(x *eventv1.Exchange) { x.TlsLibrary = eventv1.TlsLibrary_TLS_LIBRARY_OPENSSL }),
			get(server, "/", 200),
			with(get(client, "/", 200), func(x *eventv1.Exchange) {
				x.TlsLibrary, x.PeerPort, x.GetHttp().Host = eventv1.TlsLibrary_TLS_LIBRARY_GO, 443, ""
			}),
			with(get(client, "", 0), encrypted("pay.example")),
			with(with(get(server, "", 0), encrypted("")), reset(eventv1.Abort_ABORT_PEER)),
		),
		"unix": batch(
			with(get(server, "/index.php", 404), fastCGI),
			with(get(client, "/index.php", 200), fastCGI),
			with(with(get(client, "/", 200), fastCGI), func(x *eventv1.Exchange) { x.GetHttp().Host, x.GetHttp().Fastcgi = "", false }),
		),
		"services": batch(
			with(get(server, "/", 200), func(x *eventv1.Exchange) { x.Process = 1 }),
			get(server, "/", 200),
			with(get(server, "/", 200), func(x *eventv1.Exchange) { x.Process = 2 }),
			get(client, "/", 200),
		),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := newEncoder().Encode(b)
			if len(result.Lost) > 0 || result.Malformed > 0 {
				t.Errorf("lost %v, malformed %d", result.Lost, result.Malformed)
			}
			golden(t, name, document(t, result.Messages))
		})
	}
}

// golden compares with a file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("messages (-want +got):\n%s", d)
	}
}

func encrypted(server string) func(*eventv1.Exchange) {
	return func(x *eventv1.Exchange) {
		x.RequestHeadBytes, x.ResponseHeadBytes = 0, 0
		x.Protocol = &eventv1.Exchange_Encrypted{Encrypted: &eventv1.Encrypted{ServerName: server, Version: 0x0304}}
	}
}

// What a process's own SDK makes is left to it, and the rest stays exact.
func TestYield(t *testing.T) {
	t.Parallel()
	for yield, want := range map[eventv1.Yield]struct {
		spans, left, lost int
		counted           uint64
	}{
		eventv1.Yield_YIELD_UNSPECIFIED: {spans: 4, counted: 3},
		eventv1.Yield_YIELD_SPANS:       {spans: 1, left: 2, lost: 1, counted: 3},
		eventv1.Yield_YIELD_ALL:         {spans: 1, lost: 3, counted: 1},
	} {
		b := batch(
			get(server, "/", 200), get(server, "/", 500), with(get(client, "", 0), encrypted("pay.example")),
			with(get(server, "/", 200), func(x *eventv1.Exchange) { x.Process = 2 }), // of the same service, but without an SDK
		)
		b.Processes[0].Yield = yield
		result := newEncoder().Encode(b)
		spans, counted := 0, uint64(0)
		for _, m := range result.Messages {
			if m.Signal == subject.Traces {
				spans += decodeTraces(t, m).SpanCount()
				continue
			}
			eachPoint(decodeMetrics(t, m), func(series string, p pmetric.HistogramDataPoint) {
				if strings.HasPrefix(series, "http.server.request.duration") {
					counted += p.Count()
				}
			})
		}
		if spans != want.spans || result.Left != want.left || result.Lost[otlp.LossSDK] != want.lost || counted != want.counted {
			t.Errorf("%v: %d spans, %d left, lost %v, %d counted; want %+v", yield, spans, result.Left, result.Lost, counted, want)
		}
	}
}

func TestLosses(t *testing.T) {
	t.Parallel()
	bad := func(change func(x *eventv1.Exchange)) *eventv1.Exchange { return with(get(server, "/", 200), change) }
	b := batch(
		bad(func(x *eventv1.Exchange) { x.Process = 3 }),
		bad(func(x *eventv1.Exchange) { x.LocalAddress = 9 }),
		bad(func(x *eventv1.Exchange) { x.PeerAddress = 1 << 31 }),
		bad(func(x *eventv1.Exchange) { x.PeerAddress = 3 }),
		bad(func(x *eventv1.Exchange) { x.Role = 9 }),
		bad(func(x *eventv1.Exchange) { x.StartUnixNano = 0 }),
		bad(func(x *eventv1.Exchange) { x.StartUnixNano = 1<<64 - 1 }),
		bad(func(x *eventv1.Exchange) { x.Protocol = nil }),
		bad(func(x *eventv1.Exchange) { x.GetHttp().Path = "/healthz" }),
		get(server, "/good", 200),
	)
	b.Addresses = append(b.Addresses, []byte{1, 2, 3})
	b.Processes[0].OtelResourceAttributes = "%"
	book, _ := route.NewBook([]*configv1.RouteRules{{Ignore: []string{"/healthz"}}})
	result := otlp.NewEncoder(route.New(book), peer.New(nil), ident.NewBook(nobody, ident.Producer{Name: "busbar"}, otlp.Resource)).Encode(b)
	want := map[string]int{"process": 1, "address": 3, "role": 1, "time": 2, "protocol": 1, "ignored": 1}
	if d := cmp.Diff(want, result.Lost); d != "" || result.Malformed != 1 {
		t.Errorf("malformed %d, lost (-want +got):\n%s", result.Malformed, d)
	}
	if len(result.Messages) != 2 || result.Messages[0].Items != 1 {
		t.Errorf("messages %+v", result.Messages)
	}
}

func TestNothingOfNothing(t *testing.T) {
	t.Parallel()
	for _, b := range []*eventv1.ExchangeBatch{{}, batch(), batch(with(get(server, "/", 200), func(x *eventv1.Exchange) { x.Protocol = nil }))} {
		if result := newEncoder().Encode(b); len(result.Messages) > 0 {
			t.Errorf("%d messages", len(result.Messages))
		}
	}
}

// Large batches are cut; nothing is lost, nothing is twice, and no interval of a series overlaps another.
func TestSplit(t *testing.T) {
	t.Parallel()
	b := traffic(1000)
	messages := newEncoder().Encode(b).Messages
	spans, parts, last := map[pcommon.SpanID]int{}, map[string]bool{}, map[string]pcommon.Timestamp{}
	counted := uint64(0)
	for _, m := range messages {
		if len(m.Data) > otlp.MaxMessage || parts[m.Part] {
			t.Errorf("%s: %d bytes, seen before: %v", m.Part, len(m.Data), parts[m.Part])
		}
		parts[m.Part] = true
		if m.Signal == subject.Traces {
			eachSpan(decodeTraces(t, m), func(s ptrace.Span) { spans[s.SpanID()]++ })
			continue
		}
		eachPoint(decodeMetrics(t, m), func(series string, p pmetric.HistogramDataPoint) {
			if p.StartTimestamp() < last[series] || p.Timestamp() <= p.StartTimestamp() {
				t.Errorf("%s: interval from %d to %d, the one before ended at %d", series, p.StartTimestamp(), p.Timestamp(), last[series])
			}
			last[series] = p.Timestamp()
			if strings.HasPrefix(series, "http.server.request.duration") {
				counted += p.Count()
			}
		})
	}
	if len(messages) < 4 || len(messages) > 10 || len(spans) != 1000 || counted != 1000 {
		t.Errorf("%d messages, %d spans, %d counted", len(messages), len(spans), counted)
	}
}

func eachSpan(td ptrace.Traces, fn func(ptrace.Span)) {
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				fn(s)
			}
		}
	}
}

func eachPoint(md pmetric.Metrics, fn func(series string, p pmetric.HistogramDataPoint)) {
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				for _, p := range m.Histogram().DataPoints().All() {
					fn(fmt.Sprint(m.Name(), rm.Resource().Attributes().AsRaw(), p.Attributes().AsRaw()), p)
				}
			}
		}
	}
}

// A part says of which service and of which exchanges a message is, and nothing else does: not the order of services, nor what came of an exchange.
func TestPartsNameWhatTheyAreAbout(t *testing.T) {
	t.Parallel()
	parts := func(change func(*eventv1.ExchangeBatch)) map[string]string {
		b := batch(
			with(get(server, "/", 200), func(x *eventv1.Exchange) { x.Process = 1 }), get(server, "/", 200),
			with(get(server, "/", 200), func(x *eventv1.Exchange) { x.Process = 2 }),
		)
		change(b)
		parts := map[string]string{}
		for _, m := range newEncoder().Encode(b).Messages {
			parts[m.Service+" "+string(m.Signal)] = m.Part
		}
		return parts
	}
	as := parts(func(*eventv1.ExchangeBatch) {})
	for name, tc := range map[string]struct {
		change func(*eventv1.ExchangeBatch)
		kept   []string // services whose messages have the names they had
	}{
		"a resource grows":         {func(b *eventv1.ExchangeBatch) { b.Processes[0].OtelResourceAttributes += ",k=v" }, []string{"node", "shop"}},
		"a service is renamed":     {func(b *eventv1.ExchangeBatch) { b.Processes[1].OtelServiceName = "zoo" }, []string{"shop"}},
		"a process changes sides":  {func(b *eventv1.ExchangeBatch) { b.Processes[2] = b.Processes[1] }, nil},
		"an exchange has no sense": {func(b *eventv1.ExchangeBatch) { b.Exchanges[2].Role = 0 }, []string{"node"}},
	} {
		now := parts(tc.change)
		for _, service := range []string{"node", "shop"} {
			for _, signal := range []string{" traces", " metrics"} {
				if same := now[service+signal] == as[service+signal]; same != slices.Contains(tc.kept, service) {
					t.Errorf("%s: part of %s is %q, was %q", name, service+signal, now[service+signal], as[service+signal])
				}
			}
		}
	}
}

// The worst there can be stays within the bound, and the cut does not depend on rules or on what was learned.
func TestCutsByInputAlone(t *testing.T) {
	t.Parallel()
	b := batch()
	b.Processes = nil
	for i := range 2000 {
		b.Processes = append(b.Processes, &eventv1.Process{
			Pid: uint32(i), OtelServiceName: "one", OtelResourceAttributes: strings.Repeat("a", i) + "=" + strings.Repeat("b", i),
		})
		x := get([]eventv1.Role{server, client}[i%2], "/"+strings.Repeat("a/", i%300)+fmt.Sprint("x", i), uint32(100+i%900))
		x.Process = uint32(i)
		x.TraceId, x.SpanId = fmt.Appendf(nil, "%016d", i), fmt.Appendf(nil, "%08d", i)
		x.PeerAddress, x.LocalAddress = 2, 2
		x.GetHttp().Host, x.GetHttp().UserAgent = strings.Repeat("h", i), strings.Repeat("u", 3*i)
		x.GetHttp().Method = strings.Repeat("M", i%60)
		b.Exchanges = append(b.Exchanges, x)
	}
	cuts := func(rules *configv1.RouteRules) (cuts []pcommon.SpanID) {
		book, _ := route.NewBook([]*configv1.RouteRules{rules})
		for _, m := range otlp.NewEncoder(route.New(book), peer.New(nil), ident.NewBook(nobody, ident.Producer{Name: "busbar"}, otlp.Resource)).Encode(b).Messages {
			if len(m.Data) > otlp.MaxMessage {
				t.Errorf("%s has %d bytes", m.Part, len(m.Data))
			}
			if m.Signal == subject.Traces {
				cuts = append(cuts, decodeTraces(t, m).ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).SpanID())
			}
		}
		return cuts
	}
	byPath := cuts(&configv1.RouteRules{Unmatched: configv1.RouteRules_UNMATCHED_PATH})
	if d := cmp.Diff(byPath, cuts(&configv1.RouteRules{Patterns: []string{"/" + strings.Repeat("p", route.MaxPattern-3) + "/*", "/**"}})); d != "" {
		t.Errorf("cuts: %s", d)
	}
}

// Everything at its longest, every exchange a series of its own: messages still fit, and are not cut much too small.
func TestWorstCaseFits(t *testing.T) {
	t.Parallel()
	pattern := "/{" + strings.Repeat("p", route.MaxPattern-3) + "}"
	buckets := &configv1.Histograms{}
	for i := range 24 {
		buckets.Durations = append(buckets.Durations, float64(i))
	}
	buckets.Sizes = buckets.Durations[:16]
	all := everything()
	all.Histograms, all.MaxSeries = buckets, 100_000
	requests := &configv1.Telemetry{Histograms: buckets, Include: []string{"url.path", "client.address", "error.type"}}
	exponential := &configv1.Telemetry{Histograms: &configv1.Histograms{Kind: configv1.Histograms_KIND_EXPONENTIAL}}
	for _, tc := range []struct {
		name       string
		role       eventv1.Role
		host, path string
		processes  int
		rules      *configv1.RouteRules
		telemetry  *configv1.Telemetry
	}{
		{"long route", client, "", "/x", 1, &configv1.RouteRules{Patterns: []string{pattern}}, requests},
		{"long path", client, strings.Repeat("h", 200), "/" + strings.Repeat("p", 255), 1, &configv1.RouteRules{Unmatched: configv1.RouteRules_UNMATCHED_PATH}, requests},
		{"queue", server, "", "/x", 1, &configv1.RouteRules{Patterns: []string{pattern}}, requests},
		{"many processes", server, "", "/x", 900, &configv1.RouteRules{Patterns: []string{pattern}}, requests},
		{"all metrics", server, "", "/x", 900, &configv1.RouteRules{Patterns: []string{pattern}}, all},
		{"exponential", server, "", "/x", 900, &configv1.RouteRules{Patterns: []string{pattern}}, exponential},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := batch()
			b.Processes, b.Addresses = nil, [][]byte{bytes.Repeat([]byte{0xff}, 16), bytes.Repeat([]byte{0xfe}, 16)}
			for i := range 900 {
				if i < tc.processes {
					b.Processes = append(b.Processes, &eventv1.Process{Pid: uint32(i), OtelServiceName: "shop"})
				}
				x := get(tc.role, tc.path, uint32(500+i%400))
				x.Process, x.PeerPort, x.LocalPort = uint32(i%tc.processes), 60000, 60000
				x.RequestBytes, x.ResponseBytes, x.ParentSpanId = 1<<63, 1<<63, []byte("parent00")
				x.Outcome, x.Abort, x.WaitNano = eventv1.Outcome_OUTCOME_RESET, eventv1.Abort_ABORT_UNREACHABLE, millisecond
				x.GetHttp().Fastcgi, x.TlsLibrary = true, eventv1.TlsLibrary_TLS_LIBRARY_GO
				x.GetHttp().Method, x.GetHttp().Host, x.GetHttp().UserAgent = strings.Repeat("M", 40), tc.host, strings.Repeat("u", 200)
				b.Exchanges = append(b.Exchanges, x)
			}
			book, _ := route.NewBook([]*configv1.RouteRules{tc.rules})
			encoder := otlp.NewEncoder(route.New(book), peer.New(nil), ident.NewBook(nobody, ident.Producer{Name: "busbar", Version: "v10.10.10"}, otlp.Resource))
			encoder.Signals = made(t, tc.telemetry)
			largest := 0
			for _, m := range encoder.Encode(b).Messages {
				largest = max(largest, len(m.Data))
			}
			if largest > otlp.MaxMessage || largest < otlp.MaxMessage*4/10 {
				t.Errorf("the largest message has %d of %d bytes", largest, otlp.MaxMessage)
			}
		})
	}
}

func TestSameBatchSameBytes(t *testing.T) {
	t.Parallel()
	reused := newEncoder()
	reused.Encode(traffic(300))
	for _, n := range []int{1, 10, 400} {
		b := traffic(n)
		if d := cmp.Diff(newEncoder().Encode(b).Messages, newEncoder().Encode(b).Messages); d != "" {
			t.Errorf("two encoders: %s", d)
		}
		first := slices.Clone(reused.Encode(b).Messages)
		for i := range first {
			first[i].Data = slices.Clone(first[i].Data)
		}
		if d := cmp.Diff(first, reused.Encode(b).Messages); d != "" {
			t.Errorf("one encoder twice: %s", d)
		}
	}
}

func TestAddressesInMetricsAreBounded(t *testing.T) {
	t.Parallel()
	b := batch()
	for i := range 1000 {
		b.Exchanges = append(b.Exchanges, with(get(client, "/", 200), func(x *eventv1.Exchange) { x.GetHttp().Host = fmt.Sprintf("host-%d", i) }))
	}
	addresses := map[string]uint64{}
	for _, m := range newEncoder().Encode(b).Messages {
		if m.Signal == subject.Metrics {
			eachPoint(decodeMetrics(t, m), func(series string, p pmetric.HistogramDataPoint) {
				if strings.HasPrefix(series, "http.client.request.duration") {
					a, _ := p.Attributes().Get("server.address")
					addresses[a.Str()] += p.Count()
				}
			})
		}
	}
	if len(addresses) != peer.MaxAddresses+1 || addresses["other"] != 1000-peer.MaxAddresses {
		t.Errorf("%d addresses, %d other", len(addresses), addresses["other"])
	}
}

func FuzzEncode(f *testing.F) {
	left := batch(with(get(server, "/", 200), func(x *eventv1.Exchange) { x.WaitNano = 1 << 63 }), with(get(client, "", 0), encrypted("a")))
	left.Processes[0].Yield = eventv1.Yield_YIELD_SPANS
	for _, b := range []*eventv1.ExchangeBatch{{}, batch(get(server, "/users/1", 200), get(client, "/", 0)), traffic(20), left} {
		data, err := b.MarshalVT()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var b eventv1.ExchangeBatch
		if b.UnmarshalVTUnsafe(data) != nil {
			return
		}
		e := newEncoder()
		e.Signals = made(t, everything())
		result := e.Encode(&b)
		spans, lost := 0, 0
		for _, n := range result.Lost {
			lost += n
		}
		for _, m := range result.Messages {
			if len(m.Data) > otlp.MaxMessage {
				t.Errorf("%s has %d bytes", m.Part, len(m.Data))
			}
			if m.Signal == subject.Traces {
				eachSpan(decodeTraces(t, m), func(s ptrace.Span) {
					if s.Kind() != ptrace.SpanKindInternal {
						spans++
					}
				})
			} else {
				decodeMetrics(t, m)
			}
		}
		if spans+lost+result.Left != len(b.GetExchanges()) {
			t.Errorf("%d exchanges gave %d spans, %d were left, %d were lost", len(b.GetExchanges()), spans, result.Left, lost)
		}
	})
}

func BenchmarkEnrich(b *testing.B) {
	const exchanges = 500
	data, err := traffic(exchanges).MarshalVT()
	if err != nil {
		b.Fatal(err)
	}
	perExchange := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/exchanges, "ns/exchange")
	}
	b.Run("all", func(b *testing.B) {
		e := newEncoder()
		b.ReportAllocs()
		for b.Loop() {
			var batch eventv1.ExchangeBatch
			if err := batch.UnmarshalVTUnsafe(data); err != nil {
				b.Fatal(err)
			}
			e.Encode(&batch)
		}
		perExchange(b)
	})
	b.Run("encode", func(b *testing.B) {
		e, batch := newEncoder(), traffic(exchanges)
		b.ReportAllocs()
		for b.Loop() {
			e.Encode(batch)
		}
		perExchange(b)
	})
}
