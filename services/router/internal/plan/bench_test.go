// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/busbar/busbar/services/router/internal/otlp"
)

const benchSpans = 500

// batch is a message as the enricher writes it.
func batch() otlp.Payload {
	t := ptrace.NewTraces()
	rs := t.ResourceSpans().AppendEmpty()
	for _, k := range []string{"service.name", "service.namespace", "service.instance.id", "host.name", "os.type", "telemetry.sdk.language"} {
		rs.Resource().Attributes().PutStr(k, "value of "+k)
	}
	ss := rs.ScopeSpans().AppendEmpty()
	for i := range benchSpans {
		s := ss.Spans().AppendEmpty()
		id := pcommon.TraceID{}
		binary.BigEndian.PutUint64(id[:], uint64(i)+1)
		binary.BigEndian.PutUint64(id[8:], uint64(i)*0x9e3779b97f4a7c15)
		s.SetTraceID(id)
		s.SetSpanID(pcommon.SpanID(id[8:]))
		s.SetName("GET /users/{id}")
		s.SetKind(ptrace.SpanKindServer)
		s.SetStartTimestamp(1e18)
		s.SetEndTimestamp(1e18 + 1e6)
		a := s.Attributes()
		a.PutStr("http.request.method", "GET")
		a.PutInt("http.response.status_code", 200)
		a.PutStr("http.route", "/users/{id}")
		a.PutStr("url.path", fmt.Sprintf("/users/%d", i))
		a.PutStr("url.scheme", "http")
		a.PutStr("server.address", "shop.example")
		a.PutInt("server.port", 8080)
		a.PutStr("client.address", "10.1.2.3")
	}
	return otlp.FromTraces(t)
}

func benchmark(b *testing.B, pairs ...string) {
	b.Helper()
	p, m := compile(b, pipelines(pairs...)), message(b, batch())
	b.ReportAllocs()
	for b.Loop() {
		if res := p.Route(b.Context(), m); len(res.Outputs) != 1 || res.Failed != nil {
			b.Fatal(describe(b, m.Subject.Signal, res))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchSpans, "ns/span")
}

func BenchmarkPassThrough(b *testing.B) { benchmark(b, "a", `to: [tempo], services: ["shop*"]`) }

func BenchmarkMatch(b *testing.B) {
	benchmark(b, "a", `to: [tempo], match: 'resource.attributes["os.type"] != nil'`)
}

func BenchmarkRedact(b *testing.B) {
	benchmark(b, "a", `to: [tempo], steps: [{redact: {creditCards: true}}]`)
}

func BenchmarkRedactEverything(b *testing.B) {
	benchmark(b, "a", `to: [tempo], steps: [{redact: {creditCards: true, emails: true, bearerTokens: true, keys: ["*.password"], patterns: [{name: ssn, regex: '\d{3}-\d{2}-\d{4}'}]}}]`)
}

func BenchmarkRedactSecrets(b *testing.B) {
	benchmark(b, "a", `to: [tempo], steps: [{redact: {patterns: [{name: user, regex: '/users/7\d*'}]}}]`)
}

func BenchmarkFilter(b *testing.B) {
	benchmark(b, "a", `to: [tempo], steps: [{filter: 'span.attributes["http.route"] == "/healthz"'}]`)
}

func BenchmarkLimit(b *testing.B) {
	benchmark(b, "a", `to: [tempo], steps: [{limit: {records: 1e9, bytes: 1TiB}}]`)
}

func BenchmarkHosted(b *testing.B) {
	benchmark(b, "a", `to: [tempo], steps: [{attributes: {actions: [{key: team, action: insert, value: checkout}]}}]`)
}

func BenchmarkSample(b *testing.B) {
	benchmark(b, "a", `to: [tempo], signals: [traces], steps: [{sample: {ratio: 0.2, keepErrors: true, keepSlowerThan: 500ms}}]`)
}

func BenchmarkTransform(b *testing.B) {
	benchmark(b, "a", `to: [tempo], steps: [{transform: 'set(span.attributes["team"], "checkout")'}]`)
}

// What passes through must not cost more than a look at the subject.
func TestPassThroughAllocations(t *testing.T) {
	p, m := compile(t, pipelines("a", `to: [tempo], services: ["shop*"]`)), message(t, batch())
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { p.Route(ctx, m) }); n > 8 {
		t.Errorf("%v allocations", n)
	}
}
