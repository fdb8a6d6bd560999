// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"fmt"
	"net/netip"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/probe/internal/kern"
)

// Bounds of a batch. The bus refuses 512 KiB; the largest exchange and the largest process add some 20 KiB to what is there when
// the batch is found to be full.
const (
	maxExchanges = 1000
	maxBytes     = 256 << 10
)

// Batch collects exchanges. It belongs to one goroutine.
type Batch struct {
	message   []byte // fields of ExchangeBatch: the exchanges, and behind them the tables when it is marshalled
	count     int    // of exchanges
	tables    int    // size of the tables, marshalled
	number    uint64
	processes []*eventv1.Process
	addresses []netip.Addr
	places    map[netip.Addr]uint32 // in addresses
	local     lastAddress
	peer      lastAddress
	heads     Heads
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
	return &Batch{message: make([]byte, 0, maxBytes+64<<10), number: 1, places: make(map[netip.Addr]uint32, 256)}
}

// Len returns the number of exchanges.
func (b *Batch) Len() int { return b.count }

// Last returns what the heads of the exchange say that was added last. It is valid for as long as what was handed to Add.
func (b *Batch) Last() *Heads { return &b.heads }

// Full tells that the batch takes no more.
func (b *Batch) Full() bool { return b.count == maxExchanges || len(b.message)+b.tables >= maxBytes }

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
	if result := b.heads.read(e, request, response); result != Added {
		return result
	}
	at := places{process: b.process(process, slot)}
	if e.Unix() {
		var path [32]byte
		at.path = e.AppendPath(path[:0])
	} else {
		at.local, at.peer = b.address(e.Local().Addr(), &b.local), b.address(e.Remote().Addr(), &b.peer)
	}
	// Most often its length takes two bytes. Nothing makes it take three: heads have 768 bytes at most.
	start := len(b.message)
	b.message = append(b.message, byte(batchExchange), 0, 0)
	b.message = appendExchange(b.message, e, &b.heads, at, clock)
	if n := len(b.message) - start - 3; n >= 0x80 {
		b.message[start+1], b.message[start+2] = byte(n)|0x80, byte(n>>7)
	} else {
		b.message[start+1] = byte(n)
		b.message = append(b.message[:start+2], b.message[start+3:]...)
	}
	b.count++
	return Added
}

// Replace has the batch tell info about a process whose place is slot, for all its exchanges. A batch that is full already keeps what
// it has.
func (b *Batch) Replace(slot *Slot, info *eventv1.Process) {
	if size := info.SizeVT(); slot.batch == b.number && len(b.message)+b.tables+size <= maxBytes {
		b.processes[slot.index] = info
		b.tables += size
	}
}

func (b *Batch) process(p *eventv1.Process, slot *Slot) uint32 {
	if slot.batch != b.number {
		*slot = Slot{batch: b.number, index: uint32(len(b.processes))}
		b.processes = append(b.processes, p)
		b.tables += p.SizeVT() + 8
	}
	return slot.index
}

func (b *Batch) address(a netip.Addr, last *lastAddress) uint32 {
	if a == last.addr {
		return last.index
	}
	index, ok := b.places[a]
	if !ok {
		index = uint32(len(b.addresses))
		b.places[a] = index
		b.addresses = append(b.addresses, a)
		b.tables += 24
	}
	*last = lastAddress{a, index}
	return index
}

// Marshal returns the batch as a message of the bus. It is valid until Reset, and nothing can be added before.
func (b *Batch) Marshal(origin *eventv1.Origin) ([]byte, error) {
	var err error
	if b.message, err = appendMessage(b.message, batchOrigin, origin); err != nil {
		return nil, fmt.Errorf("origin: %w", err)
	}
	for _, p := range b.processes {
		if b.message, err = appendMessage(b.message, batchProcess, p); err != nil {
			return nil, fmt.Errorf("process %d: %w", p.GetPid(), err)
		}
	}
	for _, a := range b.addresses {
		b.message = appendBytes(b.message, batchAddress, a.AsSlice())
	}
	return b.message, nil
}

// Reset empties the batch.
func (b *Batch) Reset() {
	clear(b.processes) // they may be gone before their places are taken again
	clear(b.places)
	b.message, b.processes, b.addresses = b.message[:0], b.processes[:0], b.addresses[:0]
	b.local, b.peer = lastAddress{}, lastAddress{}
	b.count, b.tables = 0, 0
	b.number++
}

// message is what vtprotobuf generates for every message of the bus.
type message interface {
	SizeVT() int
	MarshalToSizedBufferVT(b []byte) (int, error)
}

// appendMessage appends m as a field.
func appendMessage(b []byte, t tag, m message) ([]byte, error) {
	size := m.SizeVT()
	b = appendHead(b, t, size)
	start := len(b)
	b = append(b, make([]byte, size)...)
	_, err := m.MarshalToSizedBufferVT(b[start:])
	return b, err
}
