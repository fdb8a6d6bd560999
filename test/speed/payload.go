// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	spans  = 500 // in a message, or a request
	bodies = 16  // that differ
)

// payloads are export requests with spans as the enricher makes them, of one service each.
func payloads() ([][]byte, error) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // No secret.
	var all [][]byte
	for i := range bodies {
		t := ptrace.NewTraces()
		rs := t.ResourceSpans().AppendEmpty()
		rs.Resource().Attributes().PutStr("service.name", fmt.Sprintf("shop-%d", i))
		rs.Resource().Attributes().PutStr("host.name", "node-17.example")
		rs.Resource().Attributes().PutInt("process.pid", int64(1000+i))
		ss := rs.ScopeSpans().AppendEmpty()
		ss.Scope().SetName("busbar")
		for range spans {
			fill(ss.Spans().AppendEmpty(), random)
		}
		data, err := ptraceotlp.NewExportRequestFromTraces(t).MarshalProto()
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func fill(s ptrace.Span, random *rand.Rand) {
	var trace pcommon.TraceID
	var span, parent pcommon.SpanID
	for _, id := range [][]byte{trace[:], span[:], parent[:]} {
		for i := range id {
			id[i] = byte(random.Uint32())
		}
	}
	item := random.IntN(100_000)
	start := time.Unix(1_700_000_000, random.Int64N(1e9))
	s.SetTraceID(trace)
	s.SetSpanID(span)
	s.SetParentSpanID(parent)
	s.SetKind(ptrace.SpanKindServer)
	s.SetName("GET /api/v1/items/{id}")
	s.SetStartTimestamp(pcommon.NewTimestampFromTime(start))
	s.SetEndTimestamp(pcommon.NewTimestampFromTime(start.Add(time.Duration(random.IntN(50_000_000)))))
	a := s.Attributes()
	a.PutStr("http.request.method", "GET")
	a.PutStr("url.path", fmt.Sprintf("/api/v1/items/%d", item))
	a.PutStr("http.route", "/api/v1/items/{id}")
	a.PutInt("http.response.status_code", 200)
	a.PutStr("server.address", "shop.example")
	a.PutInt("server.port", 8080)
	a.PutStr("client.address", fmt.Sprintf("10.0.%d.%d", item%256, item/256%256))
	a.PutStr("user_agent.original", "curl/8.1")
	a.PutStr("network.protocol.version", "1.1")
	a.PutInt("http.response.body.size", int64(item))
}

// count returns the spans in a request: field 2 of the scopes in field 2 of the resources in field 1.
func count(b []byte, path ...protowire.Number) (total int) {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return total
		}
		b = b[n:]
		if kind != protowire.BytesType || number != path[0] {
			if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
				return total
			}
			b = b[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return total
		}
		b = b[n:]
		if len(path) == 1 {
			total++
		} else {
			total += count(value, path[1:]...)
		}
	}
	return total
}
