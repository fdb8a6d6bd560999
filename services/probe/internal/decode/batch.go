// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"bytes"
	"net/netip"

	"github.com/busbar/busbar/contract"
	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/probe/internal/fcgihead"
	"github.com/busbar/busbar/services/probe/internal/httphead"
	"github.com/busbar/busbar/services/probe/internal/kern"
	"github.com/busbar/busbar/services/probe/internal/tlshead"
)

// Bounds of a batch. The bus refuses 512 KiB; the largest exchange and the largest process add some 20 KiB to what is there when
// the batch is found to be full.
const (
	maxExchanges = 1000
	maxBytes     = 256 << 10
	// exchangeBytes is the most that an exchange takes besides its texts: ids, tags, lengths, and numbers at their longest.
	exchangeBytes = 240
	arenaSize     = 128 << 10
)

// Batch collects exchanges. It belongs to one goroutine.
type Batch struct {
	message   eventv1.ExchangeBatch
	events    []event
	text      arena
	size      int // upper bound of the marshalled size
	number    uint64
	addresses map[netip.Addr]uint32
	local     lastAddress
	peer      lastAddress
}

// Slot remembers the place of a process in the table of one batch. Its owner keeps one per process, which spares a search for
// each exchange; the zero value is no place.
type Slot struct {
	batch uint64
	index uint32
}

// lastAddress is the address that an exchange had last at one of its ends: a server's own one hardly changes.
type lastAddress struct {
	addr  netip.Addr
	index uint32
}

// NewBatch returns an empty batch.
func NewBatch() *Batch {
	b := &Batch{
		events: make([]event, maxExchanges), text: make(arena, 0, arenaSize), number: 1, addresses: make(map[netip.Addr]uint32, 256),
	}
	b.message.Exchanges = make([]*eventv1.Exchange, 0, maxExchanges)
	return b
}

// Len returns the number of exchanges.
func (b *Batch) Len() int { return len(b.message.Exchanges) }

// Last returns the exchange that was added last. It is valid until Reset, and there must be one.
func (b *Batch) Last() *eventv1.Exchange { return b.message.Exchanges[b.Len()-1] }

// Full tells that the batch takes no more.
func (b *Batch) Full() bool { return b.Len() == maxExchanges || b.size >= maxBytes }

// Result says what became of an exchange.
type Result int

// What becomes of an exchange.
const (
	Added    Result = iota
	Unparsed        // left out: its heads are not of its protocol
	Own             // left out: Busbar sends telemetry with it
)

// Add takes in an exchange of a process, or leaves it out. The batch must not be full.
func (b *Batch) Add(e *kern.Exchange, request, response []byte, process *eventv1.Process, slot *Slot, clock Clock) Result {
	v := &b.events[b.Len()]
	if result := b.read(v, e, request, response); result != Added {
		return result
	}
	v.fill(e, clock, &b.text)
	v.exchange.Process = b.process(process, slot)
	if e.Unix() {
		var path [32]byte
		v.exchange.UnixPath = b.text.string(e.AppendPath(path[:0]))
	} else {
		v.exchange.LocalAddress = b.address(e.Local().Addr(), &b.local)
		v.exchange.PeerAddress = b.address(e.Remote().Addr(), &b.peer)
	}
	b.message.Exchanges = append(b.message.Exchanges, &v.exchange)
	b.size += exchangeBytes + v.texts()
	return Added
}

// read reads the heads of an exchange, each protocol's with its own parser.
func (b *Batch) read(v *event, e *kern.Exchange, request, response []byte) Result {
	var head httphead.Request
	status, ok := e.Status, false
	switch e.Protocol {
	case kern.HTTP:
		head, ok = httphead.ParseRequest(request)
	case kern.FastCGI:
		head, status, ok = fcgihead.Parse(request, response)
	case kern.TLS:
		name, version, ok := tlshead.Parse(request, response)
		if !ok {
			return Unparsed
		}
		v.fillEncrypted(name, version, &b.text)
		return Added
	}
	if !ok {
		return Unparsed
	}
	if bytes.HasPrefix(head.UserAgent, []byte(contract.UserAgent)) {
		return Own
	}
	v.fillHTTP(&head, status, e.Protocol == kern.FastCGI, &b.text)
	return Added
}

// Replace has the batch tell info about a process whose place is slot, for all its exchanges. A batch that is full already keeps what
// it has.
func (b *Batch) Replace(slot *Slot, info *eventv1.Process) {
	if size := info.SizeVT(); slot.batch == b.number && b.size+size <= maxBytes {
		b.message.Processes[slot.index] = info
		b.size += size
	}
}

func (b *Batch) process(p *eventv1.Process, slot *Slot) uint32 {
	if slot.batch != b.number {
		*slot = Slot{batch: b.number, index: uint32(len(b.message.Processes))}
		b.message.Processes = append(b.message.Processes, p)
		b.size += p.SizeVT() + 8
	}
	return slot.index
}

func (b *Batch) address(a netip.Addr, last *lastAddress) uint32 {
	if a == last.addr {
		return last.index
	}
	index, ok := b.addresses[a]
	if !ok {
		index = uint32(len(b.message.Addresses))
		b.addresses[a] = index
		raw := a.As16()
		bytes := raw[:]
		if a.Is4() {
			bytes = raw[12:]
		}
		b.message.Addresses = append(b.message.Addresses, b.text.bytes(bytes))
		b.size += 24
	}
	*last = lastAddress{a, index}
	return index
}

// Append marshals the batch behind what is in buf.
func (b *Batch) Append(buf []byte, origin *eventv1.Origin) ([]byte, error) {
	b.message.Origin = origin
	return appendMessage(buf, &b.message)
}

// Reset empties the batch.
func (b *Batch) Reset() {
	clear(b.message.Processes) // they may be gone before their places are taken again
	clear(b.addresses)
	b.message.Origin, b.message.Processes, b.message.Addresses = nil, b.message.Processes[:0], b.message.Addresses[:0]
	b.message.Exchanges = b.message.Exchanges[:0]
	b.local, b.peer = lastAddress{}, lastAddress{}
	b.text, b.size = b.text[:0], 0
	b.number++
}

// message is what vtprotobuf generates for every message of the bus.
type message interface {
	SizeVT() int
	MarshalToSizedBufferVT([]byte) (int, error)
}

// appendMessage marshals m behind what is in buf.
func appendMessage(buf []byte, m message) ([]byte, error) {
	size := m.SizeVT()
	start := len(buf)
	if cap(buf) < start+size {
		buf = append(make([]byte, 0, start+size), buf...)
	}
	buf = buf[:start+size]
	_, err := m.MarshalToSizedBufferVT(buf[start:])
	return buf, err
}
