// SPDX-License-Identifier: Apache-2.0

package otlp

import "google.golang.org/protobuf/encoding/protowire"

// Kinds of spans, as OTLP numbers them.
const (
	KindInternal = 1
	KindServer   = 2
	KindClient   = 3
	KindProducer = 4
	KindConsumer = 5
)

// StatusError is the status of a span that failed, as OTLP numbers it.
const StatusError = 2

// Fields of the attributes of each message.
const (
	resourceAttributes  protowire.Number = 1
	scopeAttributes     protowire.Number = 3
	spanAttributes      protowire.Number = 9
	eventAttributes     protowire.Number = 3
	linkAttributes      protowire.Number = 4
	numberAttributes    protowire.Number = 7
	histogramAttributes protowire.Number = 9
	exponentialAttrs    protowire.Number = 1
	logAttributes       protowire.Number = 6
)

// Span is a span being encoded. Its methods append to Data, which is the encoded Span.
type Span struct{ Data []byte }

// Begin appends what every span has. Times are nanoseconds since the epoch.
func (s *Span) Begin(trace [16]byte, id, parent uint64, name string, kind int, start, end uint64) {
	s.Data = appendBytes(s.Data, 1, trace[:])
	s.Data = appendID(s.Data, 2, id)
	if parent != 0 {
		s.Data = appendID(s.Data, 4, parent)
	}
	s.Data = appendText(s.Data, 5, name)
	s.Data = appendVarint(s.Data, 6, uint64(kind)) //nolint:gosec // one of a few
	s.Data = appendFixed64(s.Data, 7, start)
	s.Data = appendFixed64(s.Data, 8, end)
}

func appendID(b []byte, field protowire.Number, id uint64) []byte {
	b = head(b, field, 8)
	for shift := 56; shift >= 0; shift -= 8 {
		b = append(b, byte(id>>shift))
	}
	return b
}

// State sets the trace state.
func (s *Span) State(state string) { s.Data = appendText(s.Data, 3, state) }

// Attribute adds an attribute.
func (s *Span) Attribute(key string, v Value) { s.Data = Attribute(s.Data, spanAttributes, key, v) }

// Sampled sets the flag that says so.
func (s *Span) Sampled() {
	s.Data = protowire.AppendTag(s.Data, 16, protowire.Fixed32Type)
	s.Data = protowire.AppendFixed32(s.Data, 1)
}

// Failed sets the status to an error.
func (s *Span) Failed(message string) {
	size := 2
	if message != "" {
		size += 1 + protowire.SizeBytes(len(message))
	}
	s.Data = head(s.Data, 15, size)
	if message != "" {
		s.Data = appendText(s.Data, 2, message)
	}
	s.Data = appendVarint(s.Data, 3, StatusError)
}

// Event is an event of a span being encoded.
type Event struct{ Data []byte }

// NewEvent begins an event at a time in nanoseconds since the epoch.
func NewEvent(name string, time uint64) *Event {
	return &Event{appendText(appendFixed64(nil, 1, time), 2, name)}
}

// Attribute adds an attribute.
func (e *Event) Attribute(key string, v Value) { e.Data = Attribute(e.Data, eventAttributes, key, v) }

// Event adds an event.
func (s *Span) Event(e *Event) { s.Data = appendBytes(s.Data, 11, e.Data) }

// Link is a link of a span being encoded.
type Link struct{ Data []byte }

// NewLink begins a link to a span.
func NewLink(trace [16]byte, id uint64, state string, flags uint32) *Link {
	b := appendID(appendBytes(nil, 1, trace[:]), 2, id)
	if state != "" {
		b = appendText(b, 3, state)
	}
	if flags != 0 {
		b = protowire.AppendTag(b, 6, protowire.Fixed32Type)
		b = protowire.AppendFixed32(b, flags)
	}
	return &Link{b}
}

// Attribute adds an attribute.
func (l *Link) Attribute(key string, v Value) { l.Data = Attribute(l.Data, linkAttributes, key, v) }

// Link adds a link.
func (s *Span) Link(l *Link) { s.Data = appendBytes(s.Data, 13, l.Data) }
