// SPDX-License-Identifier: Apache-2.0

package otlp_test

import (
	"fmt"
	"sync/atomic"
	"testing"

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
	epoch       = 1_700_000_000_000_000_000 // start of the first exchange
	millisecond = 1_000_000
)

// nobody is the cluster outside Kubernetes.
var nobody *kube.Directory

func newEncoder() *otlp.Encoder {
	return otlp.NewEncoder(route.New(&route.Book{}), peer.New(nil), ident.NewBook(nobody, ident.Producer{Name: "busbar", Version: "v0.0.0"}, otlp.Resource))
}

// made returns settings as a resource would have them.
func made(t testing.TB, specs ...*configv1.Telemetry) *atomic.Pointer[signals.Book] {
	t.Helper()
	book, problems := signals.NewBook(specs)
	for _, p := range problems {
		if len(p) > 0 {
			t.Fatal(p)
		}
	}
	out := new(atomic.Pointer[signals.Book])
	out.Store(book)
	return out
}

// everything asks for all metrics.
func everything() *configv1.Telemetry {
	return &configv1.Telemetry{Metrics: []configv1.Telemetry_Metric{
		configv1.Telemetry_METRIC_REQUESTS, configv1.Telemetry_METRIC_SPANS, configv1.Telemetry_METRIC_SPANS_LEGACY,
		configv1.Telemetry_METRIC_SPAN_SIZES, configv1.Telemetry_METRIC_SERVICE_GRAPH, configv1.Telemetry_METRIC_INFO,
	}}
}

// get returns a plain exchange that took 20 ms. The first address is the server's.
func get(role eventv1.Role, path string, status uint32) *eventv1.Exchange {
	x := &eventv1.Exchange{
		Role: role, Outcome: eventv1.Outcome_OUTCOME_COMPLETE, StartUnixNano: epoch,
		RequestEndNano: millisecond, ResponseStartNano: 15 * millisecond, EndNano: 20 * millisecond,
		RequestBytes: 120, RequestHeadBytes: 120, ResponseBytes: 1100, ResponseHeadBytes: 100,
		LocalAddress: 0, LocalPort: 8080, PeerAddress: 1, PeerPort: 40123,
		TraceId: []byte("0123456789abcdef"), SpanId: []byte("01234567"), TraceFlags: 1,
		Protocol: &eventv1.Exchange_Http{Http: &eventv1.Http{
			Method: "GET", Path: path, Host: "shop.example:8080", Status: status, MinorVersion: 1, UserAgent: "curl/8.1",
		}},
	}
	if role == eventv1.Role_ROLE_CLIENT {
		x.LocalAddress, x.LocalPort, x.PeerAddress, x.PeerPort = 1, 40123, 0, 8080
	}
	return x
}

func with(x *eventv1.Exchange, change func(x *eventv1.Exchange)) *eventv1.Exchange {
	change(x)
	return x
}

func batch(exchanges ...*eventv1.Exchange) *eventv1.ExchangeBatch {
	return &eventv1.ExchangeBatch{
		Origin: &eventv1.Origin{Node: "node-1", Run: "r1", Sequence: 7},
		Processes: []*eventv1.Process{
			{Pid: 100, Executable: "/srv/shop", Language: eventv1.Language_LANGUAGE_GO, OtelResourceAttributes: "service.namespace=eu,team=a"},
			{Pid: 200, Executable: "/usr/bin/node", Language: eventv1.Language_LANGUAGE_NODEJS},
			{Pid: 101, Executable: "/srv/shop", Language: eventv1.Language_LANGUAGE_GO, OtelResourceAttributes: "service.namespace=eu"},
		},
		Addresses: [][]byte{{10, 0, 0, 1}, {10, 0, 0, 2}, {0x20, 1, 0xd, 0xb8, 15: 1}},
		Exchanges: exchanges,
	}
}

// traffic returns a batch of n exchanges of one service, as a busy node would send.
func traffic(n int) *eventv1.ExchangeBatch {
	b := batch()
	words := []string{"orders", "users", "cart", "search", "items"}
	for i := range n {
		status := uint32(200)
		if i%17 == 0 {
			status = 404
		}
		x := get(eventv1.Role_ROLE_SERVER, fmt.Sprintf("/api/v1/%s/%d", words[i%len(words)], i%(n/2+1)), status)
		x.StartUnixNano += uint64(i) * millisecond
		x.TraceId, x.SpanId = fmt.Appendf(nil, "%016d", i), fmt.Appendf(nil, "%08d", i)
		x.WireKey = &eventv1.WireKey{OpenerIsn: uint32(i), AcceptorIsn: 2, RequestSeq: 3}
		x.Process = uint32(i % 2 * 2)
		b.Exchanges = append(b.Exchanges, x)
	}
	return b
}
