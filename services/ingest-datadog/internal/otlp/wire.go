// SPDX-License-Identifier: Apache-2.0

// Package otlp encodes OpenTelemetry data as it crosses the bus, straight into protobuf: records are bytes from the moment they are
// mapped, so that nothing is copied into structures only to be encoded again, and that their size is known where messages are cut.
package otlp

import (
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Value is an attribute's value: text, a whole number, a number, a truth or bytes.
type Value struct {
	Kind  Kind
	Text  string // also of bytes, and of lists as they are on the wire
	Int   int64
	Float float64
}

// Kind says which field of a Value counts. The numbers are those of the fields of AnyValue.
type Kind uint8

// The kinds. The zero Kind is no value.
const (
	Text  Kind = 1
	Bool  Kind = 2 // Int is 0 or 1
	Int   Kind = 3
	Float Kind = 4
	List  Kind = 5
	Map   Kind = 6
	Bytes Kind = 7
)

// String makes a Value of text; what is no UTF-8 in it becomes U+FFFD, as messages of protobuf want it.
func String(s string) Value { return Value{Kind: Text, Text: strings.ToValidUTF8(s, "\uFFFD")} }

// Integer makes a Value of a whole number.
func Integer(i int64) Value { return Value{Kind: Int, Int: i} }

// Number makes a Value of a number.
func Number(f float64) Value { return Value{Kind: Float, Float: f} }

// Truth makes a Value of a boolean.
func Truth(b bool) Value {
	v := Value{Kind: Bool}
	if b {
		v.Int = 1
	}
	return v
}

// Values makes a Value of values.
func Values(values []Value) Value {
	var b []byte
	for _, v := range values {
		b = v.append(head(b, 1, v.size()))
	}
	return Value{Kind: List, Text: string(b)}
}

// Pairs makes a Value of values with keys.
func Pairs(pairs []Pair) Value {
	var b []byte
	for _, p := range pairs {
		b = Attribute(b, 1, p.Key, p.Value)
	}
	return Value{Kind: Map, Text: string(b)}
}

// Attribute appends a KeyValue as field of a message.
func Attribute(b []byte, field protowire.Number, key string, v Value) []byte {
	inner := v.size()
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(1+protowire.SizeBytes(len(key))+1+protowire.SizeBytes(inner))) //nolint:gosec // a length
	b = appendText(b, 1, key)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(inner)) //nolint:gosec // a length
	return v.append(b)
}

func (v Value) size() int {
	switch v.Kind {
	case Text, List, Map, Bytes:
		return 1 + protowire.SizeBytes(len(v.Text))
	case Bool:
		return 2
	case Int:
		return 1 + protowire.SizeVarint(uint64(v.Int)) //nolint:gosec // as the wire has it
	case Float:
		return 9
	}
	return 0
}

// append appends the value as an AnyValue, without its length.
func (v Value) append(b []byte) []byte {
	field := protowire.Number(v.Kind)
	switch v.Kind {
	case Text, List, Map, Bytes:
		b = appendText(b, field, v.Text)
	case Bool, Int:
		b = protowire.AppendTag(b, field, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(v.Int)) //nolint:gosec // as the wire has it
	case Float:
		b = protowire.AppendTag(b, field, protowire.Fixed64Type)
		b = protowire.AppendFixed64(b, math.Float64bits(v.Float))
	}
	return b
}

func appendText(b []byte, field protowire.Number, s string) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, s)
}

func appendBytes(b []byte, field protowire.Number, s []byte) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendBytes(b, s)
}

func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, v)
}

func appendFixed64(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, v)
}

// appendDouble appends an optional number, zero too.
func appendDouble(b []byte, field protowire.Number, v float64) []byte {
	b = protowire.AppendTag(b, field, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, math.Float64bits(v))
}

// head appends the tag and the length of a message that follows.
func head(b []byte, field protowire.Number, size int) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(size)) //nolint:gosec // a length
}

// sizeField is the size of a message of that size as a field with a number below 16.
func sizeField(size int) int { return 1 + protowire.SizeBytes(size) }
