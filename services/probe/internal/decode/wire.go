// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// The protobuf encoding, as far as exchanges need it. Writing them from the record field by field takes half of the time that it
// takes to fill the generated messages and to marshal those; the tests compare the two byte by byte. As in proto3, what is zero is
// not written.

// A tag is the number of a field and its wire type, encoded as a varint and read as a number: the low byte comes first.
type tag uint16

const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// longTag is the lowest tag of two bytes: those of fields from 16 on.
const longTag = 0x80

func appendTag(b []byte, t tag) []byte {
	if t < longTag {
		return append(b, byte(t))
	}
	return append(b, byte(t)|0x80, byte(t>>7))
}

func appendVarint(b []byte, t tag, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = appendTag(b, t)
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func appendFixed32(b []byte, t tag, v uint32) []byte {
	if v == 0 {
		return b
	}
	return binary.LittleEndian.AppendUint32(appendTag(b, t), v)
}

func appendFixed64(b []byte, t tag, v uint64) []byte {
	if v == 0 {
		return b
	}
	return binary.LittleEndian.AppendUint64(appendTag(b, t), v)
}

// appendText appends a string.
func appendText(b []byte, t tag, s []byte) []byte {
	if len(s) == 0 {
		return b
	}
	return appendBytes(b, t, s)
}

func appendBytes(b []byte, t tag, s []byte) []byte {
	return append(appendHead(b, t, len(s)), s...)
}

// appendHead begins a field of n bytes; the caller appends them.
func appendHead(b []byte, t tag, n int) []byte {
	return binary.AppendUvarint(appendTag(b, t), uint64(n))
}

// valid returns a text as protobuf wants it: valid UTF-8.
func valid(s []byte) []byte {
	if ascii(s) || utf8.Valid(s) {
		return s
	}
	return bytes.ToValidUTF8(s, []byte("\uFFFD"))
}

// ascii tells whether a text is all ASCII, as nearly all are. The last eight bytes are looked at in one go even where some of them
// have been already.
func ascii(s []byte) bool {
	var all uint64
	if len(s) < 8 {
		for _, c := range s {
			all |= uint64(c)
		}
		return all&0x80 == 0
	}
	for at := 0; at < len(s)-8; at += 8 {
		all |= binary.LittleEndian.Uint64(s[at:])
	}
	return (all|binary.LittleEndian.Uint64(s[len(s)-8:]))&0x8080808080808080 == 0
}

// textSize and varintSize are the sizes of such fields with a tag of one byte.
func textSize(s []byte) int {
	if len(s) == 0 {
		return 0
	}
	return 1 + lengthSize(uint64(len(s))) + len(s)
}

func varintSize(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + lengthSize(v)
}

func lengthSize(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }
