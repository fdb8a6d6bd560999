// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"net/netip"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/enricher/internal/ident"
	"github.com/busbar/busbar/services/enricher/internal/route"
	"github.com/busbar/busbar/services/enricher/internal/who"
)

// end is one end of connections as a process sees it: the number of its network in the batch, an index into the addresses, and a port, 0 for
// that of a client.
type end struct{ network, address, port uint32 }

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
		x.far = e.find(p, end{p.network, x.raw.GetPeerAddress(), 0}, x.end)
		x.client = x.peer
		if x.far.Known {
			x.client = x.far.from(p.group.namespace)
		}
		x.server = x.nameServer(p.kubeNamespace, x.local, e.netips[x.raw.GetLocalAddress()])
	default:
		x.far = e.find(p, end{p.network, x.raw.GetPeerAddress(), x.raw.GetPeerPort()}, x.end)
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
func (e *Encoder) serves(p *process, raw *eventv1.Exchange) {
	at, when := end{p.network, raw.GetLocalAddress(), raw.GetLocalPort()}, raw.GetStartUnixNano()
	switch {
	case raw.GetRole() != eventv1.Role_ROLE_SERVER || raw.GetUnixPath() != "" || when > maxStart || int(at.address) >= len(e.netips):
	case p.answers && p.at == at:
	default:
		p.at, p.answers = at, true
		e.Who.Serves(p.known, e.place(at), when)
	}
}

// number returns the number of a network in the batch.
func (e *Encoder) number(network ident.Network) uint32 {
	n, ok := e.networks[network]
	if !ok {
		n = uint32(len(e.networks)) //nolint:gosec // at most one for each process of a batch
		e.networks[network] = n
	}
	return n
}

// find says who is at an end, once for all exchanges of the batch.
func (e *Encoder) find(p *process, at end, when uint64) party {
	found, ok := e.parties[at]
	if !ok {
		found.Peer = e.Who.Find(p.known, e.place(at), when)
		if found.Namespace != "" {
			found.full = found.Name + "." + found.Namespace
		}
		e.parties[at] = found
	}
	return found
}

func (e *Encoder) place(at end) netip.AddrPort {
	return netip.AddrPortFrom(e.netips[at.address], uint16(at.port)) //nolint:gosec // a port
}
