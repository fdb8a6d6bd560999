// SPDX-License-Identifier: Apache-2.0

package shortcut

import (
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/busbar/busbar/services/router/internal/otlp"
)

// Outcome is what a program made of a payload.
type Outcome struct {
	Data     []byte // nil: the payload as it was
	In, Out  int    // records; both 0 with nil Data
	Executed bool   // a statement was executed; otherwise only drops change a payload
}

// The upper half of a request is the same for all signals.
const (
	requestResources = 1
	ofResource       = 1
	ofScopes         = 2
	scopeRecords     = 2
)

// Run does what the program says to an encoded request. It drops resources and scopes without records together with the first record,
// as decoding does. Of a payload that is not as it should be it makes nothing, and ok is false: decoding tells more.
func (p *Program) Run(payload []byte) (o Outcome, ok bool) {
	if !p.mayHold(payload) {
		return Outcome{}, true
	}
	r := pool.Get().(*rewriter)
	r.program = p
	out, ok := r.request(make([]byte, 0, len(payload)+len(payload)/8), payload)
	o = r.Outcome
	*r = rewriter{inside: r.inside, between: r.between} // nothing of the payload is kept
	pool.Put(r)
	if !ok || !o.Executed && o.In == o.Out {
		return Outcome{}, ok
	}
	o.Data = out
	return o, true
}

// pool keeps the buffers of rewriters.
var pool = sync.Pool{New: func() any { return new(rewriter) }} //nolint:gochecknoglobals // a pool

type rewriter struct {
	program *Program
	Outcome
	resource        cells
	own             cells
	inside, between []byte // of the resource and the scope at hand
}

func (r *rewriter) request(to, b []byte) (_ []byte, ok bool) {
	return each(to, b, requestResources, func(to, content []byte) ([]byte, bool) {
		before := r.Out
		var ok bool
		if r.inside, ok = r.ofResource(r.inside[:0], content); !ok || r.Out == before {
			return to, ok
		}
		return appendMessage(to, requestResources, r.inside), true
	})
}

// ofResource rewrites a ResourceSpans or ResourceLogs.
func (r *rewriter) ofResource(to, b []byte) (_ []byte, ok bool) {
	if !r.enter(b) {
		return to, false
	}
	return each(to, b, ofScopes, func(to, content []byte) ([]byte, bool) {
		before := r.Out
		var ok bool
		if r.between, ok = r.ofScope(r.between[:0], content); !ok || r.Out == before {
			return to, ok
		}
		return appendMessage(to, ofScopes, r.between), true
	})
}

// enter reads the resource.
func (r *rewriter) enter(b []byte) (ok bool) {
	r.resource = cells{}
	for has := false; len(b) > 0; {
		f, size := otlp.NextField(b)
		if size == 0 {
			return false
		}
		b = b[size:]
		if f.Number != ofResource {
			continue
		}
		if has || f.Kind != protowire.BytesType || !r.resource.read(f.Content, resourceAttributes, r.program.resource) {
			return false
		}
		has = true
	}
	return true
}

// ofScope rewrites a ScopeSpans or ScopeLogs.
func (r *rewriter) ofScope(to, b []byte) (_ []byte, ok bool) {
	return each(to, b, scopeRecords, func(to, record []byte) ([]byte, bool) {
		v, ok := r.program.judge(record, &r.own, &r.resource)
		r.In++
		if !ok || v == drop {
			return to, ok
		}
		r.Out++
		if v == keep {
			return appendMessage(to, scopeRecords, record), true
		}
		r.Executed = true
		size := len(record)
		for i := range r.program.record {
			if c := &r.own[i]; c.edit > 0 {
				size += len(r.program.edits[c.edit-1].field) - (c.end - c.begin)
			}
		}
		to = protowire.AppendTag(to, scopeRecords, protowire.BytesType)
		to = protowire.AppendVarint(to, uint64(size)) //nolint:gosec // not negative
		return r.program.write(to, record, &r.own), true
	})
}

// each copies a message, but for the fields of one number, which rewrite appends, or not, given their content.
func each(to, b []byte, number int, rewrite func(to, content []byte) ([]byte, bool)) (_ []byte, ok bool) {
	for len(b) > 0 {
		f, size := otlp.NextField(b)
		if size == 0 || f.Number == number && f.Kind != protowire.BytesType {
			return to, false
		}
		if f.Number != number {
			to = append(to, b[:size]...)
		} else if to, ok = rewrite(to, f.Content); !ok {
			return to, false
		}
		b = b[size:]
	}
	return to, true
}

func appendMessage(to []byte, number protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, number, protowire.BytesType), content)
}
