// SPDX-License-Identifier: Apache-2.0

package ingestotlp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/busbar/busbar/contract"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/ingest"
	"github.com/busbar/busbar/services/ingest-otlp/internal/wire"
)

// handler answers requests of both protocols.
type handler struct {
	root       subject.Root
	refuseOwn  bool
	keyHeaders []string
	intake     *ingest.Intake
}

// route is what a path is for.
type route struct {
	signal subject.Signal
	grpc   bool
}

func routes() map[string]route {
	return map[string]route{
		"/v1/traces":  {subject.Traces, false},
		"/v1/metrics": {subject.Metrics, false},
		"/v1/logs":    {subject.Logs, false},
		"/opentelemetry.proto.collector.trace.v1.TraceService/Export":     {subject.Traces, true},
		"/opentelemetry.proto.collector.metrics.v1.MetricsService/Export": {subject.Metrics, true},
		"/opentelemetry.proto.collector.logs.v1.LogsService/Export":       {subject.Logs, true},
	}
}

// name is that of the route in metrics.
func (rt route) name() string {
	protocol := "http"
	if rt.grpc {
		protocol = "grpc"
	}
	if rt.signal == "" {
		return protocol + "_other"
	}
	return protocol + "_" + string(rt.signal)
}

// answerer says how a request went, as its protocol does. It returns the status that stands in for it in metrics.
type answerer interface {
	accept(w http.ResponseWriter, rejected int, why string) (status int)
	refuse(w http.ResponseWriter, r *ingest.Refusal) (status int)
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rt, known := routes()[r.URL.Path]
	if rt.grpc = strings.HasPrefix(r.Header.Get("Content-Type"), grpcContent); known && rt.grpc != routes()[r.URL.Path].grpc {
		rt, known = route{grpc: rt.grpc}, false
	}
	var (
		to     answerer
		status int
	)
	if rt.grpc {
		to = grpcAnswer{}
	} else {
		to = httpAnswer{contentType: contentType(r.Header), signal: rt.signal}
	}
	rejected, err := 0, error(nil)
	switch {
	case !known && rt.grpc:
		err = ingest.Refuse(http.StatusNotImplemented, "no_such_method", "there is no method %.200s", r.URL.Path)
	case !known:
		err = ingest.Refuse(http.StatusNotFound, "no_such_path", "there is nothing at this path: want /v1/traces, /v1/metrics or /v1/logs")
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		err = ingest.Refuse(http.StatusMethodNotAllowed, "method", "want POST")
	default:
		rejected, err = h.take(w, r, rt)
	}
	if err != nil {
		status = to.refuse(w, ingest.AsRefusal(err))
	} else {
		why := ""
		if rejected > 0 {
			why = fmt.Sprintf("%d records are longer than %d bytes", rejected, bus.MaxData)
		}
		status = to.accept(w, rejected, why)
	}
	h.intake.Counter.Count(rt.name(), status)
}

// take stores what a request brings, and returns how many of its records are not among that since they are too long.
func (h *handler) take(w http.ResponseWriter, r *http.Request, rt route) (rejected int, err error) {
	tenant, err := h.intake.Tenants.Of(h.key(r.Header), r.Header)
	if err != nil {
		return 0, err
	}
	if h.refuseOwn && strings.HasPrefix(r.UserAgent(), contract.UserAgent) {
		return 0, ingest.Refuse(http.StatusForbidden, "own", "this comes from a Busbar, and would go round in a circle")
	}
	read := readHTTP
	if rt.grpc {
		read = readGRPC
	}
	if err := acceptable(r.Header, rt); err != nil {
		return 0, err
	}
	body, err := h.intake.Gate.Receive(w, r, tenant)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	request, err := read(r, rt.signal, body)
	if err != nil {
		return 0, err
	}
	return h.store(r.Context(), tenant, rt.signal, request)
}

// store puts a request on the bus.
func (h *handler) store(ctx context.Context, tenant string, s subject.Signal, request []byte) (rejected int, err error) {
	parts, rejected, err := wire.Split(s, request, bus.MaxData)
	switch {
	case errors.Is(err, wire.ErrTooMany):
		return 0, ingest.Refuse(http.StatusRequestEntityTooLarge, "too_many", "%w", err)
	case err != nil:
		return 0, ingest.Refuse(http.StatusBadRequest, "malformed", "%w", err)
	}
	id := identify(tenant, s, request)
	header := map[string]string{subject.HeaderSchema: s.Schema(), subject.HeaderSource: Service}
	msgs := make([]bus.Msg, len(parts))
	for i := range parts {
		p := &parts[i]
		msgs[i] = bus.Msg{
			Subject: h.root.OTLP(s, tenant, p.Namespace, p.Service), ID: fmt.Sprintf("%s-%d-%d", id, p.Group, p.Chunk),
			Header: header, Items: p.Items, Data: p.Data,
		}
	}
	if err := h.intake.Sink.Put(ctx, msgs); err != nil {
		return 0, err // the sender comes again with all of it
	}
	h.intake.Lost("too_large", rejected)
	return rejected, nil
}

// identify names a request by whose it is and all that it says: 128 bits, the same whenever it comes again.
func identify(tenant string, s subject.Signal, request []byte) string {
	var sums [2]uint64
	for seed := range sums {
		d := xxhash.NewWithSeed(uint64(seed))
		_, _ = d.WriteString(tenant + " " + string(s) + " ")
		_, _ = d.Write(request)
		sums[seed] = d.Sum64()
	}
	return fmt.Sprintf("otlp-%016x%016x", sums[0], sums[1])
}

// key is what a request shows, "" if it shows none.
func (h *handler) key(header http.Header) string {
	for _, name := range h.keyHeaders {
		value := header.Get(name)
		if scheme, rest, ok := strings.Cut(value, " "); ok && (strings.EqualFold(scheme, "bearer") || strings.EqualFold(scheme, "api-key")) {
			value = strings.TrimSpace(rest)
		}
		if value != "" {
			return value
		}
	}
	return ""
}
