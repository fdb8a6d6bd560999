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

func newExemplar(ids spanIDs, x *exchange) exemplar {
	out := exemplar{trace: [16]byte(ids.trace), span: [8]byte(ids.span), at: x.end, value: x.end - x.start}
	out.random = binary.BigEndian.Uint64(out.trace[8:])<<8>>8 + 1
	return out
}

// otherAddress stands for the addresses that a service has too many of.
const otherAddress = "other"

// count adds an exchange to the cell that it belongs to.
func (e *Encoder) count(b *block, x *exchange, spans *spanIDs) {
	settings := b.process.group.settings
	k := e.key(x, settings)
	c := b.cells[k]
	if c == nil {
		c = e.cellOf(b, k, x.proven())
	}
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
		if candidate := newExemplar(*spans, x); candidate.random > c.exemplar.random {
			c.exemplar = candidate
		}
	}
}

// key is that of the cell of an exchange.
func (e *Encoder) key(x *exchange, s *signals.Settings) key {
	k := key{method: x.method, route: x.route, address: x.measured(), side: x.side}
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
	return k
}

// cellOf finds or makes the cell in which a new key of the block is counted.
func (e *Encoder) cellOf(b *block, k key, proven bool) *cell {
	g, counted := b.process.group, k
	if !e.Peers.Admit(g.id, k.address, k.port) {
		counted.address, counted.port = otherAddress, 0
		if !k.peer.Known && k.side == route.Client {
			counted.peer.Name = otherAddress
		}
	}
	if !e.Budget.Admit(g.id, maphash.Comparable(e.seed, counted), proven, g.settings.MaxSeries) {
		counted = key{side: k.side, overflow: true}
	}
	c := b.cells[counted]
	if c == nil {
		c = e.newCell(counted, g.settings)
		b.cells[counted] = c
		b.order = append(b.order, c)
	}
	b.cells[k] = c
	return c
}

// newCell returns an empty cell, one used before if there is one.
func (e *Encoder) newCell(k key, s *signals.Settings) *cell {
	if e.cellsUsed == len(e.cells) {
		e.cells = append(e.cells, &cell{})
	}
	c := e.cells[e.cellsUsed]
	e.cellsUsed++
	c.key, c.failures, c.exemplar, c.view = k, 0, exemplar{}, false
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
