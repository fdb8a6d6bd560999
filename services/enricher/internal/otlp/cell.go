// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/busbar/busbar/services/enricher/internal/route"
	"github.com/busbar/busbar/services/enricher/internal/signals"
	"github.com/busbar/busbar/services/enricher/internal/who"
)

// Exchanges of a process are counted in cells, as finely as any of its metrics asks for. Every metric is a view of the cells: those
// whose attributes look the same in it are one series. So an exchange is counted once, however many metrics there are, and
// they cannot contradict each other.

// key tells cells apart. What no metric of the service asks for is empty.
type key struct {
	method, route, address string
	path, client, fault    string
	peer                   who.Peer
	side                   route.Side
	port, status           uint32
	tls, failed            bool
	overflow               bool // stands for all keys that are beyond the budget
}

// cell is what is known about the exchanges of one key.
type cell struct {
	key
	duration, request, response distribution // nanoseconds; bytes
	failures                    uint64
	exemplar                    exemplar
	view                        bool // made of others for a family
}

// exemplar is an exchange that has a span. Of several, the one whose trace has the largest random number is taken: samplers that
// agree on traces keep those above a threshold, so it is the last one that they would drop, whatever their ratio.
type exemplar struct {
	trace  [16]byte
	span   [8]byte
	at     uint64 // nanoseconds since the epoch
	value  uint64 // nanoseconds
	random uint64 // 56 bits, plus one: 0 is no exemplar
}

// randomOf is what samplers take from a trace id.
func randomOf(trace []byte) uint64 { return binary.BigEndian.Uint64(trace[8:])<<8>>8 + 1 }

// otherAddress stands for the addresses that a service has too many of.
const otherAddress = "other"

// count adds an exchange to the cell that it belongs to.
func (e *Encoder) count(b *block, x *exchange, spans *spanIDs) {
	settings := b.process.group.settings
	var k key
	k.fill(x, settings)
	c := e.cellOf(b, &k, x)
	if c.overflow {
		e.result.Overflow++
	}
	if x.failed() {
		c.failures++
	}
	c.duration.add(x.end-x.start, settings.Durations, nanosecond)
	if x.hasRequest {
		c.request.add(x.requestBody, settings.Sizes, 1)
	}
	if x.hasResponse {
		c.response.add(x.responseBody, settings.Sizes, 1)
	}
	if spans != nil {
		if random := randomOf(spans.trace); random > c.exemplar.random {
			c.exemplar = exemplar{[16]byte(spans.trace), [8]byte(spans.span), x.end, x.end - x.start, random}
		}
	}
}

// fill makes an empty key that of the cell of an exchange.
func (k *key) fill(x *exchange, s *signals.Settings) {
	k.method, k.route, k.address, k.side = x.method, x.route, x.measured(), x.side
	if s.Requests {
		k.port, k.status, k.tls = x.serverPort(), x.status, x.tls
	}
	if s.Spans || s.SpansLegacy || s.SpanSizes {
		k.failed = x.failed()
	}
	if s.Graph {
		k.peer = x.far.Peer
	}
	if s.Path {
		k.path = x.path
	}
	if s.Client && x.side == route.Server {
		k.client = x.client
	}
	if s.Fault && x.failed() {
		k.fault, _ = x.fault()
	}
}

// hash is nearly as good as the key itself, and quicker to look up.
func (k *key) hash(seed maphash.Seed) uint64 {
	h := uint64(k.port)<<32 | uint64(k.status)<<8
	for i, set := range [...]bool{k.side == route.Client, k.tls, k.failed, k.overflow, k.peer.Known, k.peer.Observed} {
		if set {
			h |= 1 << i
		}
	}
	for _, s := range [...]string{k.method, k.route, k.address, k.path, k.client, k.fault, k.peer.Name, k.peer.Namespace} {
		h *= 0x9e3779b97f4a7c15 // odd, and without a pattern
		if s != "" {
			h ^= maphash.String(seed, s)
		}
	}
	return h
}

// cellOf finds or makes the cell in which a key is counted.
func (e *Encoder) cellOf(b *block, k *key, x *exchange) *cell {
	hash := k.hash(e.Budget.Seed)
	if c := b.cells[hash]; c != nil && c.key == *k {
		return c
	}
	if c := b.aliases[*k]; c != nil {
		return c
	}
	g, counted := b.process.group, *k
	if !e.Peers.Admit(g.id, k.address, k.port) {
		counted.address, counted.port = otherAddress, 0
		if !k.peer.Known && k.side == route.Client {
			counted.peer.Name = otherAddress
		}
		hash = counted.hash(e.Budget.Seed)
	}
	if !g.account.Admit(hash, x.proven(), g.settings.MaxSeries) {
		counted = key{side: k.side, overflow: true}
		hash = counted.hash(e.Budget.Seed)
	}
	c := b.cells[hash]
	if c == nil {
		c = e.newCell(&counted, g.settings)
		b.cells[hash] = c
		b.order = append(b.order, c)
	}
	if c.key != *k { // it stands for others too
		b.aliases[*k] = c
	}
	return c
}

// newCell returns an empty cell, one used before if there is one.
func (e *Encoder) newCell(k *key, s *signals.Settings) *cell {
	if e.cellsUsed == len(e.cells) {
		e.cells = append(e.cells, &cell{})
	}
	c := e.cells[e.cellsUsed]
	e.cellsUsed++
	c.key, c.failures, c.exemplar, c.view = *k, 0, exemplar{}, false
	for _, d := range []*distribution{&c.duration, &c.request, &c.response} {
		d.reset(s.Exponential)
	}
	return c
}

// merge adds what another cell counted.
func (c *cell) merge(o *cell) {
	c.duration.merge(&o.duration)
	c.request.merge(&o.request)
	c.response.merge(&o.response)
	c.failures += o.failures
	if o.exemplar.random > c.exemplar.random {
		c.exemplar = o.exemplar
	}
}
