// SPDX-License-Identifier: Apache-2.0

// Package who says who is at the other end of an exchange.
//
// An address is somebody's for one of two reasons. A probe saw a process serve there: then its service is known by the very name that its
// own telemetry has, with Kubernetes or without. Or the cluster says whose it is: a pod, and what it is a part of, a service or a node.
// What is neither has the name by which it was called, see Host.
//
// Each replica learns from the batches that it works on, so the first exchanges of a server may meet one that has not heard of it. The
// cluster's part is the same for all.
package who

import (
	"net/netip"
	"sync"
	"time"

	"github.com/busbar/busbar/services/enricher/internal/ident"
	"github.com/busbar/busbar/services/enricher/internal/kube"
)

const (
	// maxEntries is how many addresses, and how many services, are remembered, twice; some 200 bytes each. When a half is full the older
	// one is forgotten; who goes on serving is learned again with the next exchange.
	maxEntries = 16384
	// valid is how long a server that is silent keeps its address.
	valid = uint64(time.Hour)
	// refresh is how old what is known of a server becomes before it is written down again.
	refresh = uint64(time.Minute)
)

// Peer is who is at the other end of an exchange.
type Peer struct {
	Name, Namespace string // of the service; "" when nothing is known
	KubeNamespace   string // the Kubernetes namespace
	Known           bool   // by the address, as opposed to called by some name
	Observed        bool   // a probe sees its side of the exchange too
}

// Cluster is what is needed to know of Kubernetes; *kube.Directory has it.
type Cluster interface {
	Peer(address netip.Addr) (kube.Peer, bool)
}

// Book remembers who serves where. It is safe for concurrent use.
type Book struct {
	cluster Cluster

	mu       sync.RWMutex
	served   halves[end, server]
	services halves[service, uint64] // when they were last seen
}

// end is where a process listens. An address that others may have too counts in its network, or on its node, only.
type end struct {
	node, network string
	at            netip.AddrPort
}

// endOf is where a process listens, or where a process in its network finds who does.
func endOf(n *ident.Network, at netip.AddrPort) end {
	switch {
	case at.Addr().IsLoopback() || at.Addr().IsLinkLocalUnicast():
		return end{n.Node, n.Name, at}
	case n.Private:
		return end{n.Node, "", at}
	}
	return end{at: at}
}

type service struct{ name, namespace string }

// server is who was seen at an end.
type server struct {
	service
	kubeNamespace string
	pod           string // its uid, "" outside Kubernetes
	seen          uint64 // Unix time in nanoseconds
}

// New returns a Book of which nothing is known but the cluster.
func New(cluster Cluster) *Book { return &Book{cluster: cluster} }

// Serves notes that a process answered at an address, at a time in nanoseconds since the Unix epoch.
func (b *Book) Serves(by *ident.Known, at netip.AddrPort, when uint64) {
	e := endOf(&by.Network, unmapped(at))
	s := server{service{by.Name, by.Namespace}, by.Pod.GetNamespace(), by.Pod.GetUid(), when}
	b.mu.RLock()
	before, ok := b.served.get(e)
	b.mu.RUnlock()
	if ok && before.service == s.service && before.pod == s.pod && when < before.seen+refresh {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.served.put(e, s)
}

// Observed notes that a service has exchanges that a probe sees.
func (b *Book) Observed(by *ident.Known, when uint64) {
	s := service{by.Name, by.Namespace}
	b.mu.RLock()
	seen, ok := b.services.get(s)
	b.mu.RUnlock()
	if ok && when < seen+refresh {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.services.put(s, when)
}

// Find says who is at an address that a process talks to. Port is 0 for a client, whose own port says nothing.
func (b *Book) Find(from *ident.Known, at netip.AddrPort, when uint64) Peer {
	at = unmapped(at)
	owner, known := b.cluster.Peer(at.Addr())
	if at.Port() != 0 {
		s, ok := b.serving(&from.Network, at)
		// An address that has gone to another pod is not the server's any more. Where a pod has it, nobody else does.
		if ok && when < s.seen+valid && (owner.Pod == nil || owner.UID == s.pod) {
			return Peer{Name: s.name, Namespace: s.namespace, KubeNamespace: s.kubeNamespace, Known: true, Observed: true}
		}
	}
	if !known {
		return Peer{}
	}
	p := Peer{Name: owner.Name, Namespace: owner.Namespace, KubeNamespace: owner.Namespace, Known: true}
	if owner.Pod != nil {
		p.Name, p.Namespace = ident.Service(owner.Pod)
	}
	p.Observed = b.observes(p, when)
	return p
}

// Called says who a host is that a client calls by its name, when its address tells nothing.
func (b *Book) Called(h Host, when uint64) Peer {
	p := Peer{Name: h.Name}
	if name, namespace := h.Kube(); name != "" {
		p = Peer{Name: name, Namespace: namespace, KubeNamespace: namespace}
	}
	p.Observed = b.observes(p, when)
	return p
}

// observes tells whether a probe has lately seen exchanges of a service.
func (b *Book) observes(p Peer, when uint64) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	seen, ok := b.services.get(service{p.Name, p.Namespace})
	return ok && when < seen+valid
}

// serving looks for who serves at an address: on the node, where containers may have it, before the world.
func (b *Book) serving(n *ident.Network, at netip.AddrPort) (server, bool) {
	near := endOf(n, at)
	if near.node == "" {
		near = end{node: n.Node, at: at}
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	s, ok := b.served.get(near)
	if !ok && !at.Addr().IsLoopback() && !at.Addr().IsLinkLocalUnicast() {
		s, ok = b.served.get(end{at: at})
	}
	return s, ok
}

func unmapped(at netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// halves is a bounded map. When the fresh half is full it becomes the old one, which is forgotten.
type halves[K comparable, V any] struct{ fresh, old map[K]V }

func (h *halves[K, V]) get(k K) (V, bool) {
	v, ok := h.fresh[k]
	if !ok {
		v, ok = h.old[k]
	}
	return v, ok
}

func (h *halves[K, V]) put(k K, v V) {
	if _, ok := h.fresh[k]; h.fresh == nil || !ok && len(h.fresh) == maxEntries {
		h.fresh, h.old = map[K]V{}, h.fresh
	}
	h.fresh[k] = v
}
