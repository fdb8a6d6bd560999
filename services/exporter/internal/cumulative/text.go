// SPDX-License-Identifier: Apache-2.0

package cumulative

import (
	"encoding/binary"
	"iter"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Bounds of what one series may carry; hostile attributes must not fill the memory.
const (
	MaxAttributes = 64
	MaxText       = 1024 // bytes of a name or a value
)

// Attributes is a set of attributes in one string: for each its name and its value as text, both behind their length, in the
// order of names. Equal sets are equal strings. Attributes without a value are left out.
type Attributes string

const lengthSize = 4

// All returns names and values.
func (a Attributes) All() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for rest := string(a); rest != ""; {
			var name, value string
			name, rest = cutText(rest)
			value, rest = cutText(rest)
			if !yield(name, value) {
				return
			}
		}
	}
}

// Get returns the value of an attribute, "" if it is not there.
func (a Attributes) Get(name string) string {
	for n, v := range a.All() {
		if n == name {
			return v
		}
	}
	return ""
}

// cutText is the opposite of appendText.
func cutText(key string) (text, rest string) {
	n := int(key[0]) | int(key[1])<<8 | int(key[2])<<16 | int(key[3])<<24
	return key[lengthSize : lengthSize+n], key[lengthSize+n:]
}

// appendText appends a text with its length.
func appendText(key []byte, text string) []byte {
	key = binary.LittleEndian.AppendUint32(key, uint32(len(text))) //nolint:gosec // at most MaxText
	return append(key, text...)
}

// encoder turns attributes into Attributes. It is used by one goroutine at a time.
type encoder struct{ pairs []pair }

type pair struct {
	name  string
	value pcommon.Value
}

// append adds the attributes that are wanted, all if want is nil, to a key. It is false when there are too many.
func (e *encoder) append(key []byte, attributes pcommon.Map, want func(name string) bool) ([]byte, bool) {
	if attributes.Len() > MaxAttributes {
		return key, false
	}
	e.pairs = e.pairs[:0]
	for name, value := range attributes.All() {
		if want == nil || want(name) {
			e.pairs = append(e.pairs, pair{name, value})
		}
	}
	slices.SortFunc(e.pairs, func(a, b pair) int { return strings.Compare(a.name, b.name) })
	for _, p := range e.pairs {
		before := len(key)
		key = appendText(key, "")
		key = Clean(append(key, p.name...), before+lengthSize)
		putLength(key, before)
		length := len(key)
		key = appendText(key, "")
		key = Clean(appendValue(key, p.value), length+lengthSize)
		if len(key) == length+lengthSize {
			key = key[:before]
			continue
		}
		putLength(key, length)
	}
	clear(e.pairs) // they refer to the request
	return key, true
}

// putLength writes the length of the text that begins behind its place at i and ends the key.
func putLength(key []byte, i int) {
	binary.LittleEndian.PutUint32(key[i:], uint32(len(key)-i-lengthSize)) //nolint:gosec // at most MaxText
}

// appendValue appends the text of a value, without an allocation for the usual types.
func appendValue(b []byte, v pcommon.Value) []byte {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return append(b, v.Str()...)
	case pcommon.ValueTypeInt:
		return strconv.AppendInt(b, v.Int(), 10)
	case pcommon.ValueTypeBool:
		return strconv.AppendBool(b, v.Bool())
	default:
		return append(b, v.AsString()...)
	}
}

// Clean makes what b has from start on valid UTF-8, of which one bad byte would spoil a whole page, within MaxText.
func Clean(b []byte, start int) []byte {
	if !utf8.Valid(b[start:]) {
		b = append(b[:start], strings.ToValidUTF8(string(b[start:]), "\uFFFD")...)
	}
	if len(b)-start > MaxText {
		end := start + MaxText
		for !utf8.RuneStart(b[end]) {
			end--
		}
		b = b[:end]
	}
	return b
}

// list and joined turn attributes into names and values in turn, and back.
func (a Attributes) list() []string {
	var out []string
	for name, value := range a.All() {
		out = append(out, name, value)
	}
	return out
}

func joined(list []string) Attributes {
	var key []byte
	for _, text := range list[:len(list)/2*2] {
		key = appendText(key, text)
	}
	return Attributes(key)
}
