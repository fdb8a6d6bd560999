// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"math"

	"github.com/busbar/busbar/services/enricher/internal/ident"
)

// block is what one process adds to the messages of a chunk.
type block struct {
	process     *process
	spans       []byte           // encoded Spans, each a field of ScopeSpans
	count       int              // of them
	cells       map[uint64]*cell // by the hashes of their keys
	aliases     map[key]*cell    // cells of other keys, that count under them
	order       []*cell          // in which they were made
	first, last uint64           // ends of exchanges, nanoseconds since the epoch
}

// newBlock returns an empty block, one used before if there is one.
func (e *Encoder) newBlock(p *process) *block {
	if e.used == len(e.blocks) {
		e.blocks = append(e.blocks, &block{cells: map[uint64]*cell{}, aliases: map[key]*cell{}})
	}
	b := e.blocks[e.used]
	e.used++
	clear(b.cells)
	clear(b.aliases)
	*b = block{process: p, spans: b.spans[:0], cells: b.cells, aliases: b.aliases, order: b.order[:0], first: math.MaxUint64}
	return b
}

// add adds the Span that a function appends.
func (b *block) add(span func(to []byte) []byte) {
	spans, start := open(b.spans, scopeRecords)
	b.spans = shut(span(spans), start)
	b.count++
}

// Fields of the messages around spans and metrics. Those of traces and metrics have the same numbers.
const (
	requestResources   = tag(1<<3 | wireBytes) // ResourceSpans, ResourceMetrics
	resourceResource   = tag(1<<3 | wireBytes)
	resourceScopes     = tag(2<<3 | wireBytes) // ScopeSpans, ScopeMetrics
	scopeScope         = tag(1<<3 | wireBytes)
	scopeRecords       = tag(2<<3 | wireBytes) // Span, Metric
	scopeName          = tag(1<<3 | wireBytes)
	scopeVersion       = tag(2<<3 | wireBytes)
	resourceAttributes = tag(1<<3 | wireBytes)
)

// appendResourceRecords appends a ResourceSpans or ResourceMetrics with one scope to the data.
func (e *Encoder) appendResourceRecords(resource, records []byte) {
	scope := fieldSize(len(e.scope)) + len(records)
	b := appendHead(e.data, requestResources, fieldSize(len(resource))+fieldSize(scope))
	b = appendField(b, resourceResource, resource)
	b = appendHead(b, resourceScopes, scope)
	b = appendField(b, scopeScope, e.scope)
	e.data = append(b, records...)
}

// Resource encodes the Resource of attributes.
func Resource(attributes []ident.Attribute) []byte {
	var b []byte
	for _, a := range attributes {
		b = appendAttribute(b, resourceAttributes, a)
	}
	return b
}

func appendAttribute(b []byte, t tag, a ident.Attribute) []byte {
	switch {
	case a.Text == "":
		return appendInt(b, t, a.Key, uint64(a.Int)) //nolint:gosec // not negative
	case a.List:
		return appendTextList(b, t, a.Key, a.Text)
	}
	return appendText(b, t, a.Key, a.Text)
}
