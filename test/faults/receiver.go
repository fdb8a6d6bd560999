// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // what exporters send
	"google.golang.org/grpc/status"
)

// mood is how a receiver treats requests.
type mood int32

const (
	takes     mood = iota
	slow           // takes, after a second
	throttles      // 429, come back in a second
	fails          // 500
	refuses        // 400: never
	resets         // the connection, without an answer
	picks          // takes, and says that it rejects one record of each request
)

const (
	slowness   = time.Second
	retryAfter = "1" // seconds
)

// receiver is an OTLP back end for HTTP and gRPC that counts records and can be taken away, come back, and misbehave.
type receiver struct {
	ptraceotlp.UnimplementedGRPCServer
	http, grpc string // addresses
	got        tally
	mood       atomic.Int32
	asked      atomic.Int64 // requests

	web *http.Server
	rpc *grpc.Server
}

// open listens, at the same addresses as before if it did before.
func (r *receiver) open(ctx context.Context) error {
	web, err := listen(ctx, &r.http)
	if err != nil {
		return err
	}
	rpc, err := listen(ctx, &r.grpc)
	if err != nil {
		return err
	}
	r.web = &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}
	r.rpc = grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(r.rpc, r)
	pmetricotlp.RegisterGRPCServer(r.rpc, new(metricsTaker))
	plogotlp.RegisterGRPCServer(r.rpc, new(logsTaker))
	go func(s *http.Server) { _ = s.Serve(web) }(r.web)
	go func(s *grpc.Server) { _ = s.Serve(rpc) }(r.rpc)
	return nil
}

func listen(ctx context.Context, address *string) (net.Listener, error) {
	if *address == "" {
		*address = "127.0.0.1:0"
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", *address)
	if err == nil {
		*address = l.Addr().String()
	}
	return l, err
}

// close stops listening and cuts all connections.
func (r *receiver) close() {
	_ = r.web.Close()
	r.rpc.Stop()
}

func (r *receiver) is(m mood) bool { return mood(r.mood.Load()) == m }

func (r *receiver) feel(m mood) { r.mood.Store(int32(m)) }

// ServeHTTP takes traces and metrics by OTLP/HTTP.
func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.asked.Add(1)
	switch mood(r.mood.Load()) {
	case slow:
		time.Sleep(slowness)
	case throttles:
		w.Header().Set("Retry-After", retryAfter)
		w.WriteHeader(http.StatusTooManyRequests)
		return
	case fails:
		w.WriteHeader(http.StatusInternalServerError)
		return
	case refuses:
		w.WriteHeader(http.StatusBadRequest)
		return
	case resets:
		reset(w)
		return
	case takes, picks:
	}
	body, err := read(q)
	if err != nil {
		return // cut
	}
	if q.URL.Path != "/v1/traces" {
		return
	}
	request := ptraceotlp.NewExportRequest()
	if err := request.UnmarshalProto(body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.count(request.Traces())
	if r.is(picks) {
		answer := ptraceotlp.NewExportResponse()
		answer.PartialSuccess().SetRejectedSpans(1)
		body, _ := answer.MarshalProto() // cannot fail
		w.Header().Set("Content-Type", "application/x-protobuf")
		_, _ = w.Write(body)
	}
}

// reset closes a connection with what is unread, which the other side sees as a reset.
func reset(w http.ResponseWriter) {
	h, ok := w.(http.Hijacker)
	if !ok {
		return
	}
	c, _, err := h.Hijack()
	if err != nil {
		return
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

func read(q *http.Request) ([]byte, error) {
	body, err := io.ReadAll(q.Body)
	if err != nil || q.Header.Get("Content-Encoding") != "gzip" {
		return body, err
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// Export takes traces by OTLP/gRPC.
func (r *receiver) Export(_ context.Context, q ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	r.asked.Add(1)
	if r.is(fails) {
		return ptraceotlp.NewExportResponse(), status.Error(codes.Unavailable, "fails")
	}
	r.count(q.Traces())
	return ptraceotlp.NewExportResponse(), nil
}

// metricsTaker takes metrics by OTLP/gRPC and forgets them.
type metricsTaker struct {
	pmetricotlp.UnimplementedGRPCServer
}

func (*metricsTaker) Export(context.Context, pmetricotlp.ExportRequest) (pmetricotlp.ExportResponse, error) {
	return pmetricotlp.NewExportResponse(), nil
}

// logsTaker is the same for logs.
type logsTaker struct {
	plogotlp.UnimplementedGRPCServer
}

func (*logsTaker) Export(context.Context, plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	return plogotlp.NewExportResponse(), nil
}

func (r *receiver) count(t ptrace.Traces) {
	each(t, func(record int, published time.Time) { r.got.came(record, published) })
}

// each calls fn with the number of each record, which is its span id, and when it was published, which is its start. Spans of
// kind internal are what an enricher puts below a record.
func each(t ptrace.Traces, fn func(record int, published time.Time)) {
	for _, rs := range t.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				if record := recordOf(s.SpanID()); s.Kind() != ptrace.SpanKindInternal && record >= 0 && record < maxRecords {
					fn(record, s.StartTimestamp().AsTime())
				}
			}
		}
	}
}

// maxRecords is more than any row publishes.
const maxRecords = 1 << 30

// spanID and recordOf are each other's opposite. A span id is not zero.
func spanID(record int) (id pcommon.SpanID) {
	binary.BigEndian.PutUint64(id[:], uint64(record)+1) //nolint:gosec // Not negative.
	return id
}

func recordOf(id pcommon.SpanID) int { return int(binary.BigEndian.Uint64(id[:])) - 1 } //nolint:gosec // As made by spanID.
