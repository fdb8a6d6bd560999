// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/enricher/internal/ident"
	"github.com/busbar/busbar/services/enricher/internal/kube"
	"github.com/busbar/busbar/services/enricher/internal/otlp"
	"github.com/busbar/busbar/services/enricher/internal/peer"
	"github.com/busbar/busbar/services/enricher/internal/route"
	"github.com/busbar/busbar/services/enricher/internal/signals"
)

const (
	services  = 100
	routes    = 20
	exchanges = 500 // in a batch
	batches   = 100 // in a round
	different = 50  // batches that there are
)

// workload is the batches of machines with spread services each, and what is measured on them.
type workload struct {
	spread   int
	data     [][]byte
	variants []variant
}

// variant is a way to work on a batch; made is how many bytes it made of the latest one.
type variant struct {
	name string
	run  func(data []byte) error
	made *float64
}

func newWorkload(spread int) (*workload, error) {
	w := &workload{spread: spread}
	r := rand.New(rand.NewPCG(1, uint64(spread))) //nolint:gosec // a benchmark
	for i := range different {
		data, err := batch(r, i, spread).MarshalVT()
		if err != nil {
			return nil, err
		}
		w.data = append(w.data, data)
	}
	w.add("decode and encode alone", again())
	w.add("decode alone", func(data []byte) (int, error) { return 0, new(eventv1.ExchangeBatch).UnmarshalVTUnsafe(data) })
	w.add("names, routes, spans, request metrics", enricher(&configv1.Telemetry{}))
	w.add("… and service graph", enricher(&configv1.Telemetry{Metrics: []configv1.Telemetry_Metric{
		configv1.Telemetry_METRIC_REQUESTS, configv1.Telemetry_METRIC_SERVICE_GRAPH,
	}}))
	w.add("… and span metrics", enricher(&configv1.Telemetry{Metrics: []configv1.Telemetry_Metric{
		configv1.Telemetry_METRIC_REQUESTS, configv1.Telemetry_METRIC_SERVICE_GRAPH, configv1.Telemetry_METRIC_SPANS,
	}}))
	return w, nil
}

func (w *workload) add(name string, work func(data []byte) (made int, err error)) {
	made := new(float64)
	w.variants = append(w.variants, variant{name, func(data []byte) error {
		n, err := work(data)
		*made = float64(n)
		return err
	}, made})
}

// again reads a batch and writes it as it is.
func again() func([]byte) (int, error) {
	var buffer []byte
	return func(data []byte) (int, error) {
		b := new(eventv1.ExchangeBatch)
		if err := b.UnmarshalVTUnsafe(data); err != nil {
			return 0, err
		}
		size := b.SizeVT()
		if size > len(buffer) {
			buffer = make([]byte, size)
		}
		return b.MarshalToSizedBufferVT(buffer[:size])
	}
}

// enricher does what the service does between the bus and the bus.
func enricher(spec *configv1.Telemetry) func([]byte) (int, error) {
	var nobody *kube.Directory
	names := ident.NewBook(nobody, ident.Producer{Name: "busbar", Version: "v0.0.0"}, otlp.Resource)
	e := otlp.NewEncoder(route.New(&route.Book{}), peer.New(nil), names)
	book, _ := signals.NewBook([]*configv1.Telemetry{spec})
	e.Signals = new(atomic.Pointer[signals.Book])
	e.Signals.Store(book)
	return func(data []byte) (made int, err error) {
		b := eventv1.ExchangeBatchFromVTPool()
		defer b.ReturnToVTPool()
		if err := b.UnmarshalVTUnsafe(data); err != nil {
			return 0, err
		}
		for _, m := range e.Encode(b).Messages {
			made += len(m.Data)
		}
		return made, nil
	}
}

// batch returns exchanges of the services of one machine.
func batch(r *rand.Rand, number, spread int) *eventv1.ExchangeBatch {
	machine := number % (services / spread)
	b := &eventv1.ExchangeBatch{Origin: &eventv1.Origin{Node: fmt.Sprint("node-", machine), Run: "r", Sequence: uint64(number)}} //nolint:gosec // an index
	for i := range spread {
		id := machine*spread + i
		b.Processes = append(b.Processes, &eventv1.Process{
			Pid: uint32(1000 + id), StartUnixNano: 1, Executable: fmt.Sprintf("/srv/service-%d", id), Language: eventv1.Language_LANGUAGE_GO, //nolint:gosec // an index
			OtelServiceName: fmt.Sprintf("service-%d", id), OtelResourceAttributes: "service.namespace=shop,deployment.environment.name=prod",
		})
		b.Addresses = append(b.Addresses, []byte{10, 0, byte(id / 100), byte(id)}) //nolint:gosec // below 100
	}
	for i := range exchanges {
		b.Exchanges = append(b.Exchanges, exchange(r, i, spread))
	}
	return b
}

// exchange is a request of one of the machine's services to another one, seen from either side.
func exchange(r *rand.Rand, i, spread int) *eventv1.Exchange {
	words := []string{"users", "orders", "cart", "items", "search"}
	own := uint32(r.IntN(spread))                           //nolint:gosec // small
	other := (own + 1 + uint32(r.IntN(3))) % uint32(spread) //nolint:gosec // small; a service calls three others
	n := r.IntN(routes)
	x := &eventv1.Exchange{
		Process: own, Role: eventv1.Role_ROLE_SERVER, Outcome: eventv1.Outcome_OUTCOME_COMPLETE,
		StartUnixNano: 1_700_000_000_000_000_000 + uint64(i)*1_000_000, RequestEndNano: 10_000, ResponseStartNano: 2_000_000, EndNano: 1_000_000 + r.Uint64N(50_000_000), //nolint:gosec // an index
		RequestBytes: 300, RequestHeadBytes: 250, ResponseBytes: 2000 + r.Uint64N(5000), ResponseHeadBytes: 200,
		LocalAddress: own, LocalPort: 8080, PeerAddress: other, PeerPort: 30000 + r.Uint32N(30000), Thread: 1000,
		TraceId: binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, r.Uint64()), r.Uint64()), SpanId: binary.BigEndian.AppendUint64(nil, r.Uint64()),
		ParentSpanId: binary.BigEndian.AppendUint64(nil, r.Uint64()), TraceFlags: 1,
		WireKey: &eventv1.WireKey{OpenerIsn: r.Uint32(), AcceptorIsn: r.Uint32(), RequestSeq: r.Uint32()},
	}
	status := uint32(200)
	if n == 0 && r.IntN(4) == 0 {
		status = 404
	}
	host := fmt.Sprintf("service-%d.shop.example:8080", own)
	if i%2 == 1 {
		x.Role, host = eventv1.Role_ROLE_CLIENT, fmt.Sprintf("service-%d.shop.example:8080", other)
		x.LocalPort, x.PeerPort = x.PeerPort, x.LocalPort
	}
	x.Protocol = &eventv1.Exchange_Http{Http: &eventv1.Http{
		Method: []string{"GET", "GET", "POST", "GET"}[n/5], Path: fmt.Sprintf("/api/%s/%d", words[n%5], r.IntN(1000)), Host: host, Status: status, MinorVersion: 1,
		UserAgent: "Go-http-client/1.1",
	}}
	return x
}
