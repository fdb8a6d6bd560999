// SPDX-License-Identifier: Apache-2.0

package who_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/services/enricher/internal/ident"
	"github.com/busbar/busbar/services/enricher/internal/kube"
	"github.com/busbar/busbar/services/enricher/internal/who"
)

// cluster says whose an address is.
type cluster map[string]kube.Peer

func (c cluster) Peer(a netip.Addr) (kube.Peer, bool) {
	p, ok := c[a.String()]
	return p, ok
}

const now = uint64(1_700_000_000_000_000_000)

func known(name, namespace string, pod *kubev1.Pod) *ident.Known {
	return &ident.Known{Identity: ident.Identity{Name: name, Namespace: namespace}, Pod: pod}
}

// from is a process of a node, or of a container on it: "node/network".
func from(place string) *ident.Known {
	node, network, inside := strings.Cut(place, "/")
	return &ident.Known{Network: ident.Network{Node: node, Name: network, Private: inside && node == "vm"}}
}

func podOf(uid string) *kubev1.Pod {
	return &kubev1.Pod{Uid: uid, Name: "cart-1-" + uid, Namespace: "shop", Owners: []*kubev1.Owner{{Kind: "ReplicaSet", Name: "cart-1"}, {Kind: "Deployment", Name: "cart"}}}
}

func owns(pod *kubev1.Pod) kube.Peer {
	return kube.Peer{Kind: kube.KindPod, Name: pod.GetName(), Namespace: pod.GetNamespace(), UID: pod.GetUid(), Pod: pod}
}

func TestFind(t *testing.T) {
	t.Parallel()
	c := cluster{
		"10.0.0.1": owns(podOf("1")), "10.0.0.2": owns(podOf("2")), "10.0.0.3": owns(podOf("3")), "2001:db8::2": owns(podOf("2")),
		"10.96.0.7": {Kind: kube.KindService, Name: "cart", Namespace: "shop", UID: "s"},
		"10.96.0.8": {Kind: kube.KindService, Name: "mail", Namespace: "shop", UID: "t"},
		"192.0.2.1": {Kind: kube.KindNode, Name: "node-1", UID: "n"},
	}
	b := who.New(c)
	serve := func(at string, k *ident.Known, network ident.Network) {
		k.Network = network
		b.Serves(k, netip.MustParseAddrPort(at), now)
	}
	serve("10.0.0.1:8080", known("by-env", "eu", podOf("1")), ident.Network{Node: "node-1", Name: "1"})
	serve("10.0.0.3:8080", known("gone", "eu", podOf("before")), ident.Network{Node: "node-1", Name: "before"})
	serve("192.0.2.1:9100", known("exporter", "", podOf("host")), ident.Network{Node: "node-1"})
	serve("127.0.0.1:8080", known("sidecar", "eu", podOf("1")), ident.Network{Node: "node-1", Name: "1"})
	serve("127.0.0.1:8080", known("other", "eu", podOf("2")), ident.Network{Node: "node-1", Name: "2"})
	serve("127.0.0.1:8080", known("daemon", "", nil), ident.Network{Node: "node-1"})
	serve("[::ffff:198.51.100.1]:80", known("legacy", "", nil), ident.Network{Node: "vm"})
	serve("172.17.0.2:80", known("container", "", nil), ident.Network{Node: "vm", Name: "abab", Private: true})
	b.Observed(known("cart", "shop", podOf("2")), now)
	for name, tc := range map[string]struct {
		node, at string
		when     uint64
		want     who.Peer
	}{
		"served by a pod, which has a name of its own": {"n", "10.0.0.1:8080", now, who.Peer{Name: "by-env", Namespace: "eu", KubeNamespace: "shop", Known: true, Observed: true}},
		"at another port":                   {"n", "10.0.0.1:9090", now, who.Peer{Name: "cart", Namespace: "shop", KubeNamespace: "shop", Known: true, Observed: true}},
		"a client":                          {"n", "10.0.0.2:0", now, who.Peer{Name: "cart", Namespace: "shop", KubeNamespace: "shop", Known: true, Observed: true}},
		"over IPv6":                         {"n", "[2001:db8::2]:80", now, who.Peer{Name: "cart", Namespace: "shop", KubeNamespace: "shop", Known: true, Observed: true}},
		"IPv4 as IPv6":                      {"n", "[::ffff:10.0.0.2]:80", now, who.Peer{Name: "cart", Namespace: "shop", KubeNamespace: "shop", Known: true, Observed: true}},
		"the address has gone to another":   {"n", "10.0.0.3:8080", now, who.Peer{Name: "cart", Namespace: "shop", KubeNamespace: "shop", Known: true, Observed: true}},
		"a service whose pods are observed": {"n", "10.96.0.7:80", now, who.Peer{Name: "cart", Namespace: "shop", KubeNamespace: "shop", Known: true, Observed: true}},
		"and were long ago":                 {"n", "10.96.0.7:80", now + uint64(time.Hour), who.Peer{Name: "cart", Namespace: "shop", KubeNamespace: "shop", Known: true}},
		"a service of others":               {"n", "10.96.0.8:25", now, who.Peer{Name: "mail", Namespace: "shop", KubeNamespace: "shop", Known: true}},
		"a node":                            {"n", "192.0.2.1:10250", now, who.Peer{Name: "node-1", Known: true}},
		"a pod in the network of its node":  {"n", "192.0.2.1:9100", now, who.Peer{Name: "exporter", KubeNamespace: "shop", Known: true, Observed: true}},
		"loopback":                          {"node-1/1", "127.0.0.1:8080", now, who.Peer{Name: "sidecar", Namespace: "eu", KubeNamespace: "shop", Known: true, Observed: true}},
		"loopback of another machine":       {"node-2", "127.0.0.1:8080", now, who.Peer{}},
		"loopback of the machine":           {"node-1", "127.0.0.1:8080", now, who.Peer{Name: "daemon", Known: true, Observed: true}},
		"loopback of another pod":           {"node-1/3", "127.0.0.1:8080", now, who.Peer{}},
		"a container":                       {"vm", "172.17.0.2:80", now, who.Peer{Name: "container", Known: true, Observed: true}},
		"a container, from another":         {"vm/cdcd", "172.17.0.2:80", now, who.Peer{Name: "container", Known: true, Observed: true}},
		"a container of another machine":    {"node-1", "172.17.0.2:80", now, who.Peer{}},
		"the world, from a container":       {"vm/cdcd", "198.51.100.1:80", now, who.Peer{Name: "legacy", Known: true, Observed: true}},
		"outside Kubernetes":                {"other", "198.51.100.1:80", now, who.Peer{Name: "legacy", Known: true, Observed: true}},
		"silent for an hour":                {"other", "198.51.100.1:80", now + uint64(time.Hour), who.Peer{}},
		"nobody":                            {"n", "203.0.113.1:443", now, who.Peer{}},
	} {
		if d := cmp.Diff(tc.want, b.Find(from(tc.node), netip.MustParseAddrPort(tc.at), tc.when)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	later := now + uint64(59*time.Minute)
	b.Serves(known("legacy", "", nil), netip.MustParseAddrPort("198.51.100.1:80"), later)
	if p := b.Find(from("other"), netip.MustParseAddrPort("198.51.100.1:80"), now+uint64(time.Hour)); p.Name != "legacy" {
		t.Errorf("a server that goes on is forgotten: %+v", p)
	}
}

func TestCalled(t *testing.T) {
	t.Parallel()
	b := who.New(cluster{})
	b.Observed(known("cart", "shop", nil), now)
	for host, want := range map[string]who.Peer{
		"cart.shop.svc.cluster.local": {Name: "cart", Namespace: "shop", KubeNamespace: "shop", Observed: true},
		"mail.shop.svc":               {Name: "mail", Namespace: "shop", KubeNamespace: "shop"},
		"cart.example":                {Name: "cart.example"},
	} {
		if d := cmp.Diff(want, b.Called(who.ParseHost(host), now)); d != "" {
			t.Errorf("%s (-want +got):\n%s", host, d)
		}
	}
	for _, tc := range [][3]string{
		{"cart.shop.svc.cluster.local", "shop", "cart"},
		{"cart.shop.svc.cluster.local", "eu", "cart.shop"},
		{"db-0.db.shop.svc", "", "db.shop"},
		{"svc.svc.svc.svc", "", "svc.svc"},
		{"cart.shop", "shop", "cart.shop"},
	} {
		if got := who.ParseHost(tc[0]).From(tc[1]); got != tc[2] {
			t.Errorf("%s from %q: %q, want %q", tc[0], tc[1], got, tc[2])
		}
	}
}

func TestBookIsBounded(t *testing.T) {
	t.Parallel()
	b := who.New(cluster{})
	at := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 80)
	}
	const many = 3 * 16384
	for i := range many {
		b.Serves(known("s", "", nil), at(i), now)
		b.Observed(known(fmt.Sprint(i), "", nil), now)
	}
	if b.Find(from("n"), at(0), now).Known || !b.Find(from("n"), at(many-1), now).Known {
		t.Error("the first is remembered, or the last is not")
	}
}

func TestParseHost(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]string{
		"shop.example":                   "shop.example",
		"Shop.Example:8080":              "shop.example",
		"shop.example.":                  "shop.example",
		"shop.example.:443":              "shop.example",
		"localhost":                      "localhost",
		"my_service:80":                  "my_service",
		"xn--bcher-kva.example":          "xn--bcher-kva.example",
		"bücher.example":                 "bücher.example",
		"10.0.0.1":                       "=10.0.0.1",
		"10.0.0.1:8080":                  "=10.0.0.1",
		"[::1]:8080":                     "=::1",
		"[2001:db8::1]":                  "=2001:db8::1",
		"2001:db8::1":                    "=2001:db8::1",
		"[fe80::1%eth0]:80":              "=fe80::1",
		"[::ffff:10.0.0.1]:80":           "=10.0.0.1",
		"1.example":                      "1.example",
		"":                               "",
		":80":                            "",
		".":                              "",
		"..":                             "",
		".example":                       "",
		"a..b":                           "",
		"a b":                            "",
		"a/b":                            "",
		"user@host":                      "",
		"<script>":                       "",
		"a\xffb":                         "",
		"[::1":                           "",
		"[::1]x":                         "",
		"[name]":                         "",
		"1.2.3":                          "",
		"256.0.0.1":                      "",
		"a:b:c":                          "",
		strings.Repeat("a", 254):         "",
		"%2e%2e":                         "",
		"host\r\nX: y":                   "",
		"db-0.db.shop.svc.cluster.local": "db-0.db.shop.svc.cluster.local",
	} {
		h := who.ParseHost(field)
		got := h.Name
		if h.Address.IsValid() {
			got += "=" + h.Address.String()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", field, got, want)
		}
	}
}

func TestKube(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"cart.shop.svc.cluster.local":      "cart shop",
		"cart.shop.svc":                    "cart shop",
		"db-0.db.shop.svc.cluster.local":   "db shop",
		"cart.shop":                        " ",
		"cart":                             " ",
		"shop.svc":                         " ",
		".svc":                             " ",
		"svc":                              " ",
		"api.eu.svc.example.com":           " ",
		"10-0-0-1.shop.pod.cluster.local":  " ",
		"cart.shop.svc.cluster.local.evil": " ",
	} {
		service, namespace := who.Host{Name: name}.Kube()
		if got := service + " " + namespace; got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func FuzzParseHost(f *testing.F) {
	for _, seed := range []string{"Shop.Example:8080", "[::1]:80", "10.0.0.1", "db-0.db.shop.svc.cluster.local.", "a:b:c", "[fe80::1%25eth0]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		h := who.ParseHost(field)
		if h.Name != "" && h.Address.IsValid() || len(h.Name) > 2*253 || !utf8.ValidString(h.Name) || strings.ContainsAny(h.Name, " /:@?#\r\n") {
			t.Fatalf("%q gives %+v", field, h)
		}
		if again := who.ParseHost(h.Name); h.Name != "" && again != h {
			t.Fatalf("%q gives %+v, which gives %+v", field, h, again)
		}
		service, namespace := h.Kube()
		if (service == "") != (namespace == "") || service != "" && h.From("") != service+"."+namespace {
			t.Fatalf("%q gives %q and %q, and %q", field, service, namespace, h.From(""))
		}
	})
}

func BenchmarkFind(b *testing.B) {
	book := who.New(cluster{"10.0.0.2": owns(podOf("2"))})
	at := netip.MustParseAddrPort("10.0.0.2:80")
	n := from("n")
	b.ReportAllocs()
	for b.Loop() {
		book.Find(n, at, now)
	}
}

func BenchmarkParseHost(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		who.ParseHost("cart.shop.svc.cluster.local:8080")
	}
}
