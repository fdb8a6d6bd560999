// SPDX-License-Identifier: Apache-2.0

package otlp_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/enricher/internal/kube"
	"github.com/busbar/busbar/services/enricher/internal/who"
)

// owners says whose an address is.
type owners map[string]kube.Peer

func (o owners) Peer(a netip.Addr) (kube.Peer, bool) {
	p, ok := o[a.String()]
	return p, ok
}

// The order in which a server gets its name on a client's span: Host field, whose the address is, what TLS asked for, address.
func TestNameOfTheServer(t *testing.T) {
	t.Parallel()
	pod := &kubev1.Pod{Uid: "1", Name: "cart-1-x", Namespace: "shop", Owners: []*kubev1.Owner{{Kind: "Deployment", Name: "cart"}}}
	addresses := owners{
		"10.0.0.1":  {Kind: kube.KindService, Name: "cart", Namespace: "shop", UID: "s"},
		"10.0.0.2":  {Kind: kube.KindPod, Name: "cart-1-x", Namespace: "shop", UID: "1", Pod: pod},
		"192.0.2.1": {Kind: kube.KindNode, Name: "node-7", UID: "n"},
	}
	const v4, unknown, node, v6, mapped = 0, 2, 3, 4, 5
	for name, tc := range map[string]struct {
		host, sni string
		to        uint32
		want      string // server.address, service.peer.name, service.peer.namespace
	}{
		"name":                        {"Shop.Example:8080", "", unknown, "shop.example shop.example -"},
		"name of who is known":        {"shop.example", "", v4, "shop.example cart shop"},
		"name in Kubernetes":          {"cart.shop.svc.cluster.local:80", "", unknown, "cart.shop cart shop"},
		"name in our namespace":       {"web.eu.svc", "", unknown, "web.eu web eu"}, // the process is outside Kubernetes
		"address of who is known":     {"10.0.0.1:8080", "", v4, "cart.shop cart shop"},
		"address of a node":           {"192.0.2.1", "", node, "node-7 node-7 -"},
		"mapped address":              {"[::ffff:10.0.0.1]:80", "", mapped, "cart.shop cart shop"},
		"address behind a proxy":      {"203.0.113.9", "", v4, "203.0.113.9 cart shop"},
		"address of nobody":           {"203.0.113.1:80", "", unknown, "203.0.113.1 203.0.113.1 -"},
		"address of nobody, IPv6":     {"[2001:db8::9]:80", "", v6, "2001:db8::9 2001:db8::9 -"},
		"nothing":                     {"", "", unknown, "203.0.113.1 203.0.113.1 -"},
		"nonsense":                    {"a b/<script>", "", unknown, "203.0.113.1 203.0.113.1 -"},
		"nothing, but known":          {"", "", v4, "cart.shop cart shop"},
		"TLS":                         {"", "Pay.Example", unknown, "pay.example pay.example -"},
		"TLS, known":                  {"", "pay.example", v4, "cart.shop cart shop"},
		"TLS without a name":          {"", "-", unknown, "203.0.113.1 203.0.113.1 -"},
		"TLS to a name in Kubernetes": {"", "pay.shop.svc.cluster.local", unknown, "pay.shop pay shop"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := get(client, "/", 200)
			x.PeerAddress, x.GetHttp().Host = tc.to, tc.host
			if tc.sni != "" {
				encrypted(tc.sni)(x)
				if tc.sni == "-" {
					x.GetEncrypted().ServerName = ""
				}
			}
			b := batch(x)
			b.Addresses = [][]byte{{10, 0, 0, 1}, {10, 9, 9, 9}, {203, 0, 113, 1}, {192, 0, 2, 1}, netip.MustParseAddr("2001:db8::9").AsSlice(), netip.MustParseAddr("::ffff:10.0.0.1").AsSlice()}
			e := newEncoder()
			e.Who = who.New(addresses)
			got := ""
			for _, m := range e.Encode(b).Messages {
				if m.Signal != subject.Traces {
					continue
				}
				eachSpan(decodeTraces(t, m), func(s ptrace.Span) {
					a := s.Attributes().AsRaw()
					got = fmt.Sprintf("%v %v %v", a["server.address"], a["service.peer.name"], a["service.peer.namespace"])
				})
			}
			if want := replaceDash(tc.want); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}

// replaceDash shows what is absent as fmt does.
func replaceDash(s string) string {
	if n := len(s); s[n-2:] == " -" {
		return s[:n-1] + "<nil>"
	}
	return s
}

// A client whose address is a pod's has the name of its service.
func TestNameOfTheClient(t *testing.T) {
	t.Parallel()
	pod := &kubev1.Pod{Uid: "1", Name: "cart-1-x", Namespace: "eu", Owners: []*kubev1.Owner{{Kind: "Deployment", Name: "cart"}}}
	e := newEncoder()
	e.Who = who.New(owners{"10.0.0.2": {Kind: kube.KindPod, Name: "cart-1-x", Namespace: "eu", UID: "1", Pod: pod}})
	b := batch(get(server, "/", 200), with(get(server, "/", 200), func(x *eventv1.Exchange) { x.PeerAddress = 2 }))
	var got []string
	for _, m := range e.Encode(b).Messages {
		if m.Signal != subject.Traces {
			continue
		}
		eachSpan(decodeTraces(t, m), func(s ptrace.Span) {
			a := s.Attributes().AsRaw()
			got = append(got, fmt.Sprintf("%v %v %v %v", a["client.address"], a["service.peer.name"], a["service.peer.namespace"], a["network.peer.address"]))
		})
	}
	if d := cmp.Diff([]string{"cart cart eu 10.0.0.2", "2001:db8::1 <nil> <nil> 2001:db8::1"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// A server that was seen to serve is known by the name that its own telemetry has, and its requests are counted by it alone.
func TestServersAreKnownByTheirOwnName(t *testing.T) {
	t.Parallel()
	e := newEncoder()
	e.Signals = made(t, everything())
	e.Encode(batch(get(server, "/users/17", 200)))
	call := get(client, "/users/17", 200)
	call.Process = 1
	var edges []string
	for _, m := range e.Encode(batch(call)).Messages {
		if m.Signal != subject.Metrics {
			continue
		}
		eachMetric(decodeMetrics(t, m), func(metric pmetric.Metric) {
			if metric.Name() == "traces_service_graph_request_client" {
				for _, p := range metric.Histogram().DataPoints().All() {
					a := p.Attributes().AsRaw()
					edges = append(edges, fmt.Sprint(a["client"], " ", a["server"], " ", a["server_service_namespace"], " ", a["connection_type"]))
				}
			}
			if metric.Name() == "traces_service_graph_request_total" {
				t.Error("the client counts a request that the server counts")
			}
		})
	}
	slices.Sort(edges)
	if d := cmp.Diff([]string{"node shop eu <nil>"}, edges); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// Containers of one machine have the same loopback address, and do not talk to each other there.
func TestLoopbackIsOfAContainer(t *testing.T) {
	t.Parallel()
	b := batch()
	b.Processes, b.Addresses = nil, [][]byte{{127, 0, 0, 1}}
	for i, name := range []string{"cart", "mail"} {
		b.Processes = append(b.Processes, &eventv1.Process{
			Pid: uint32(i), ContainerId: strings.Repeat(fmt.Sprint(i), 64), HostName: name, Container: &eventv1.Container{Name: name},
		})
		for _, role := range []eventv1.Role{client, server} {
			b.Exchanges = append(b.Exchanges, with(get(role, "/", 200), func(x *eventv1.Exchange) {
				x.Process, x.LocalAddress, x.PeerAddress, x.GetHttp().Host = uint32(i), 0, 0, ""
			}))
		}
	}
	b.Processes = append(b.Processes, &eventv1.Process{Pid: 9, Command: "on-the-machine"})
	b.Exchanges = append(b.Exchanges, with(get(client, "/", 200), func(x *eventv1.Exchange) {
		x.Process, x.LocalAddress, x.PeerAddress, x.GetHttp().Host = 2, 0, 0, ""
	}))
	var got []string
	for _, m := range newEncoder().Encode(b).Messages {
		if m.Signal != subject.Traces {
			continue
		}
		eachSpan(decodeTraces(t, m), func(s ptrace.Span) {
			if s.Kind() == ptrace.SpanKindClient {
				got = append(got, m.Service+" calls "+fmt.Sprint(s.Attributes().AsRaw()["service.peer.name"]))
			}
		})
	}
	if d := cmp.Diff([]string{"cart calls cart", "mail calls mail", "on-the-machine calls 127.0.0.1"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
