// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"errors"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
)

// Message is what goes onto the bus: data of one service.
type Message struct {
	Signal             subject.Signal
	Namespace, Service string
	Items              int // records inside
	Data               []byte
}

const (
	target = bus.MaxData / 2 // size at which a message is full, in bytes
	slack  = 64              // for the lengths around a record, in bytes
)

// ErrTooMuch says that what a body unfolds to exceeds what the Batch may hold.
var ErrTooMuch = errors.New("too much data")

// Batch collects encoded records of one signal and makes messages of them. Its zero value, with a Signal, is ready for use; it
// holds what a request or a window holds, and at most Max bytes of it.
type Batch struct {
	Signal subject.Signal
	Max    int // bytes of records; zero: no limit
	Size   int // of them so far

	blocks map[string]*block
	order  []*block
}

// block is the records of one resource.
type block struct {
	Resource
	scopes []*scope
}

type scope struct {
	data    []byte
	records []record
}

type record struct {
	data  []byte
	items int
}

// Scope is an instrumentation scope, encoded.
type Scope struct{ data []byte }

// NewScope encodes a scope.
func NewScope(name, version string, attributes ...Pair) Scope {
	b := appendText(nil, 1, name)
	if version != "" {
		b = appendText(b, 2, version)
	}
	for _, a := range attributes {
		b = Attribute(b, scopeAttributes, a.Key, a.Value)
	}
	return Scope{b}
}

// Add adds a record, in which items are counted. The Batch keeps data.
func (b *Batch) Add(r Resource, s Scope, data []byte, items int) error {
	b.Size += len(data)
	if b.Max > 0 && b.Size > b.Max {
		return ErrTooMuch
	}
	to := b.scope(r, s)
	to.records = append(to.records, record{data, items})
	return nil
}

func (b *Batch) scope(r Resource, s Scope) *scope {
	if b.blocks == nil {
		b.blocks = map[string]*block{}
	}
	of, ok := b.blocks[string(r.data)]
	if !ok {
		of = &block{Resource: r}
		b.blocks[string(r.data)], b.order = of, append(b.order, of)
	}
	for _, known := range of.scopes {
		if string(known.data) == string(s.data) {
			return known
		}
	}
	made := &scope{data: s.data}
	of.scopes = append(of.scopes, made)
	return made
}

// Messages returns what was added, in messages that the bus takes, and how many items were too large for any. The same
// additions give the same messages. The Batch is empty afterwards.
func (b *Batch) Messages() (out []Message, tooLarge int) {
	type name struct{ namespace, service string }
	services := map[name]*packer{}
	var order []*packer
	for _, of := range b.order {
		n := name{of.Namespace, of.Service}
		p := services[n]
		if p == nil {
			p = &packer{message: Message{Signal: b.Signal, Namespace: n.namespace, Service: n.service}}
			services[n], order = p, append(order, p)
		}
		p.block(of)
	}
	for _, p := range order {
		p.cut()
		out, tooLarge = append(out, p.out...), tooLarge+p.tooLarge
	}
	b.blocks, b.order, b.Size = nil, nil, 0
	return out, tooLarge
}

// packer fills messages of one service.
type packer struct {
	message  Message
	open     []part
	size     int
	out      []Message
	tooLarge int
}

// part is records of a scope of a resource, inside one message.
type part struct {
	resource, scope []byte
	records         []record
	size            int // of the records as fields
}

func (p *packer) block(of *block) {
	for _, s := range of.scopes {
		begin, size := 0, 0
		frame := len(of.data) + len(s.data) + slack
		finish := func(end int) {
			if end > begin {
				p.open = append(p.open, part{of.data, s.data, s.records[begin:end], size})
				p.size += size + frame
			}
			begin, size = end, 0
		}
		for i, r := range s.records {
			n := sizeField(len(r.data))
			if n+frame > bus.MaxData-slack {
				finish(i)
				begin = i + 1
				p.tooLarge += r.items
				continue
			}
			if p.size+size+n+frame > target && p.size+size > 0 {
				finish(i)
				p.cut()
			}
			size += n
			p.message.Items += r.items
		}
		finish(len(s.records))
	}
}

// cut ends the message that is open.
func (p *packer) cut() {
	if len(p.open) > 0 {
		b := make([]byte, 0, p.size)
		for _, o := range p.open {
			b = o.append(b)
		}
		p.message.Data = b
		p.out = append(p.out, p.message)
	}
	p.open, p.size, p.message.Items, p.message.Data = nil, 0, 0, nil
}

// append appends the part as ResourceSpans, ResourceMetrics or ResourceLogs: the numbers of their fields are the same.
func (p part) append(b []byte) []byte {
	inner := sizeField(len(p.scope)) + p.size
	b = head(b, 1, sizeField(len(p.resource))+sizeField(inner))
	b = appendBytes(b, 1, p.resource)
	b = head(b, 2, inner)
	b = appendBytes(b, 1, p.scope)
	for _, r := range p.records {
		b = appendBytes(b, 2, r.data)
	}
	return b
}
