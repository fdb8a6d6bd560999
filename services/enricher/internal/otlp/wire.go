// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// The protobuf encoding, as far as OTLP messages need it. Writing them field by field was measured at less than a tenth of
// building pdata and marshalling that, and allocates nothing; the tests read every message back with pdata.

// tag is a field's number and wire type: one byte for fields up to 15, which are all but one of those used.
type tag byte

const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
)

func appendVarint(b []byte, t tag, v uint64) []byte {
	return binary.AppendUvarint(append(b, byte(t)), v)
}

func appendFixed64(b []byte, t tag, v uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(b, byte(t)), v)
}

func appendDouble(b []byte, t tag, v float64) []byte {
	return appendFixed64(b, t, math.Float64bits(v))
}

// appendHead begins a field of n bytes; the caller appends them.
func appendHead(b []byte, t tag, n int) []byte {
	return binary.AppendUvarint(append(b, byte(t)), uint64(n))
}

// appendField appends a string, bytes or a message that is already encoded.
func appendField[T string | []byte](b []byte, t tag, v T) []byte {
	return append(appendHead(b, t, len(v)), v...)
}

// open begins a field whose size is not known yet; shut ends it, after the caller has appended what is in it.
func open(b []byte, t tag) (out []byte, start int) {
	return append(b, byte(t), 0, 0), len(b) + 3
}

// shut writes the size of the field that began. Two bytes are set aside for it, which is what spans and points take; others are moved.
func shut(b []byte, start int) []byte {
	n := uint64(len(b) - start)
	if size := varintSize(n); size != 2 {
		b = slices.Replace(b, start-2, start, make([]byte, size)...)
	}
	binary.PutUvarint(b[start-2:], n)
	return b
}

// fieldSize is the size of a field of n bytes with its head.
func fieldSize(n int) int { return 1 + varintSize(uint64(n)) + n }

func varintSize(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// Fields of KeyValue and AnyValue.
const (
	keyValueKey    = tag(1<<3 | wireBytes)
	keyValueValue  = tag(2<<3 | wireBytes)
	anyValueString = tag(1<<3 | wireBytes)
	anyValueBool   = tag(2<<3 | wireVarint)
	anyValueInt    = tag(3<<3 | wireVarint)
	anyValueList   = tag(5<<3 | wireBytes)
	listValues     = tag(1<<3 | wireBytes)
)

// appendText appends an attribute, a KeyValue in field t, with a string.
func appendText[T string | []byte](b []byte, t tag, key string, value T) []byte {
	return append(appendTextHead(b, t, key, len(value)), value...)
}

// appendTextHead begins an attribute with a string of n bytes; the caller appends them.
func appendTextHead(b []byte, t tag, key string, n int) []byte {
	size := fieldSize(n)
	b = appendHead(b, t, fieldSize(len(key))+fieldSize(size))
	b = appendField(b, keyValueKey, key)
	b = appendHead(b, keyValueValue, size)
	return appendHead(b, anyValueString, n)
}

// appendTextList appends an attribute with a list of one string.
func appendTextList(b []byte, t tag, key, value string) []byte {
	member := fieldSize(len(value))
	list := fieldSize(member)
	n := fieldSize(list)
	b = appendHead(b, t, fieldSize(len(key))+fieldSize(n))
	b = appendField(b, keyValueKey, key)
	b = appendHead(b, keyValueValue, n)
	b = appendHead(b, anyValueList, list)
	b = appendHead(b, listValues, member)
	return appendField(b, anyValueString, value)
}

// appendInt appends an attribute with an integer, which is not negative.
func appendInt(b []byte, t tag, key string, value uint64) []byte {
	n := 1 + varintSize(value)
	b = appendHead(b, t, fieldSize(len(key))+fieldSize(n))
	b = appendField(b, keyValueKey, key)
	b = appendHead(b, keyValueValue, n)
	return appendVarint(b, anyValueInt, value)
}

// appendTrue appends an attribute that is true.
func appendTrue(b []byte, t tag, key string) []byte {
	const size = 2
	b = appendHead(b, t, fieldSize(len(key))+fieldSize(size))
	b = appendField(b, keyValueKey, key)
	b = appendHead(b, keyValueValue, size)
	return appendVarint(b, anyValueBool, 1)
}

// appendAs appends fields of one tag as fields of another.
func appendAs(b []byte, t tag, fields []byte) []byte {
	for len(fields) > 0 {
		n, head := binary.Uvarint(fields[1:])
		end := 1 + head + int(n) //nolint:gosec // we wrote it
		b = append(append(b, byte(t)), fields[1:end]...)
		fields = fields[end:]
	}
	return b
}

// zigzag encodes a number that may be negative.
func zigzag(v int) uint64 { return uint64(v<<1 ^ v>>63) } //nolint:gosec // that is how it works
