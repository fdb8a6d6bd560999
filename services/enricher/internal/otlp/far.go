// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"net/netip"

	"github.com/busbar/busbar/services/enricher/internal/route"
	"github.com/busbar/busbar/services/enricher/internal/who"
)

// end is one end of connections: an index into the addresses of the batch and a port, 0 for that of a client.
type end struct{ address, port uint32 }

// party is who is at an end.
type party struct {
	who.Peer
	full string // name and namespace
}

// from is the name of a party as a process of a namespace would call it: with the namespace only where that is another.
func (p *party) from(namespace string) string {
	if p.Namespace == "" || p.Namespace == namespace {
		return p.Name
	}
	return p.full
}

// meet finds out who is at the other end of an exchange of a process, and what the server is called.
func (e *Encoder) meet(p *process, x *exchange) {
	if !p.met {
		p.met = true
		e.Who.Observed(p.known, x.end)
	}
	if x.host != e.host { // many exchanges in turn have the same
		e.host, e.called = x.host, who.ParseHost(x.host)
	}
	x.called = e.called
	if x.secret != nil {
		x.asked = who.ParseHost(text(x.secret.GetServerName()))
	}
	switch {
	case x.socket != "":
		x.server, x.far.Name = x.socket, x.socket
		if x.side == route.Server {
			x.far.Name = ""
		}
	case x.side == route.Server:
		e.serves(p, x)
		x.far = e.find(end{x.raw.GetPeerAddress(), 0}, x)
		x.client = x.peer
		if x.far.Known {
			x.client = x.far.from(p.group.namespace)
		}
		x.server = x.nameServer(p.kubeNamespace, x.local, e.netips[x.raw.GetLocalAddress()])
	default:
		x.far = e.find(end{x.raw.GetPeerAddress(), x.raw.GetPeerPort()}, x)
		e.nameCalled(p, x)
	}
}

// nameCalled names the server of a client: by what the client calls it, else by whose its address is, else by what the client asked for
// when it began TLS, else by the address.
func (e *Encoder) nameCalled(p *process, x *exchange) {
	ip := e.netips[x.raw.GetPeerAddress()]
	byAddress := !x.called.Address.IsValid() || x.called.Address == ip
	if x.far.Known && x.called.Name == "" && byAddress {
		x.server = x.far.from(p.group.namespace)
		return
	}
	x.server = x.nameServer(p.kubeNamespace, x.peer, ip)
	switch {
	case x.far.Known:
	case x.called.Name != "":
		x.far.Peer = e.Who.Called(x.called, x.end)
	case x.asked.Name != "":
		x.far.Peer = e.Who.Called(x.asked, x.end)
	default:
		x.far.Name = x.server
	}
}

// nameServer is what a server is called by who is in a namespace of Kubernetes, or else its address, which is printed already.
func (x *exchange) nameServer(namespace, address string, ip netip.Addr) string {
	switch {
	case x.called.Name != "":
		return x.called.From(namespace)
	case x.called.Address.IsValid() && x.called.Address != ip:
		return x.called.Address.String()
	case x.asked.Name != "":
		return x.asked.From(namespace)
	}
	return address
}

// serves notes where a process answers, unless that is where it answered before.
func (e *Encoder) serves(p *process, x *exchange) {
	at := end{x.raw.GetLocalAddress(), x.raw.GetLocalPort()}
	if p.at == at && p.serves {
		return
	}
	p.at, p.serves = at, true
	e.Who.Serves(e.machine.Node(), netip.AddrPortFrom(e.netips[at.address], uint16(at.port)), p.known, x.end) //nolint:gosec // a port
}

// find says who is at an end, once for all exchanges of the batch.
func (e *Encoder) find(at end, x *exchange) party {
	found, ok := e.parties[at]
	if !ok {
		found.Peer = e.Who.Find(e.machine.Node(), netip.AddrPortFrom(e.netips[at.address], uint16(at.port)), x.end) //nolint:gosec // a port
		if found.Namespace != "" {
			found.full = found.Name + "." + found.Namespace
		}
		e.parties[at] = found
	}
	return found
}
