// SPDX-License-Identifier: Apache-2.0

package otlp

import "google.golang.org/protobuf/encoding/protowire"

// Log is a log record being encoded.
type Log struct{ Data []byte }

// NewLog begins a log record. Times are nanoseconds since the epoch; a time of zero is not known. Severity is a number of OTLP, 0 for
// none, and the word it was.
func NewLog(time, observed uint64, severity int, word, body string) *Log {
	b := appendFixed64(nil, 1, time)
	b = appendVarint(b, 2, uint64(severity)) //nolint:gosec // 0 to 24
	if word != "" {
		b = appendText(b, 3, word)
	}
	v := String(body)
	b = head(b, 5, v.size())
	b = v.append(b)
	return &Log{appendFixed64(b, 11, observed)}
}

// Attribute adds an attribute.
func (l *Log) Attribute(key string, v Value) { l.Data = Attribute(l.Data, logAttributes, key, v) }

// Of names the span that the record belongs to.
func (l *Log) Of(trace [16]byte, span uint64) {
	l.Data = appendBytes(l.Data, 9, trace[:])
	if span != 0 {
		l.Data = appendID(l.Data, 10, span)
	}
}

// Event makes the record an event of that name.
func (l *Log) Event(name string) {
	l.Data = protowire.AppendTag(l.Data, 12, protowire.BytesType)
	l.Data = protowire.AppendString(l.Data, name)
}
