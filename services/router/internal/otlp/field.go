// SPDX-License-Identifier: Apache-2.0

package otlp

import "google.golang.org/protobuf/encoding/protowire"

// Field is a field of an encoded message.
type Field[T string | []byte] struct {
	Number int
	// Kind is how it is encoded. Groups are not in use, and malformed.
	Kind protowire.Type
	// Content is the inside of a message, text or bytes, and the encoded number otherwise.
	Content T
}

// NextField returns the first field of an encoded message and how many bytes it takes with its tag; 0 if it is malformed.
func NextField[T string | []byte](b T) (f Field[T], size int) {
	tag, n := varint(b)
	if n == 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
		return f, 0
	}
	f.Number, f.Kind = int(tag>>3), protowire.Type(tag&7) //nolint:gosec // bounded above
	length := 0
	switch f.Kind {
	case protowire.BytesType:
		l, m := varint(b[n:])
		n += m
		if m == 0 || l > uint64(len(b)-n) {
			return f, 0
		}
		length = int(l) //nolint:gosec // bounded above
	case protowire.VarintType:
		if _, length = varint(b[n:]); length == 0 {
			return f, 0
		}
	case protowire.Fixed64Type:
		length = 8
	case protowire.Fixed32Type:
		length = 4
	default:
		return f, 0
	}
	if n+length > len(b) {
		return f, 0
	}
	f.Content = b[n : n+length]
	return f, n + length
}

// Varint returns the number that a field of VarintType holds.
func (f Field[T]) Varint() uint64 {
	v, _ := varint(f.Content)
	return v
}

// varint returns the number that b begins with and how many bytes it takes, 0 if there is none.
func varint[T string | []byte](b T) (v uint64, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	for shift := uint(0); n < len(b) && n < 10; shift += 7 {
		c := b[n]
		n++
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v, n
		}
	}
	return 0, 0
}
