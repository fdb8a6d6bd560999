// SPDX-License-Identifier: Apache-2.0

package prompage

import (
	"encoding/binary"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Bounds of what one series may carry; hostile attributes must not fill the memory.
const (
	maxLabels    = 64
	maxValue     = 1024 // bytes
	maxNameCache = 10_000
)

// A key is the labels of a series in one string: for each its name and its value, both behind their length. It identifies
// the series among those of its family, and it is all that is kept of the labels.

const lengthSize = 4

// appendText appends a text with its length.
func appendText(key []byte, text string) []byte {
	key = binary.LittleEndian.AppendUint32(key, uint32(len(text))) //nolint:gosec // far below 4 GiB
	return append(key, text...)
}

// keyLabels reads a key.
func keyLabels(key string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for rest := key; rest != ""; {
			var name, value string
			name, rest = cutText(rest)
			value, rest = cutText(rest)
			if !yield(name, value) {
				return
			}
		}
	}
}

// cutText is the opposite of appendText.
func cutText(key string) (text, rest string) {
	n := int(key[0]) | int(key[1])<<8 | int(key[2])<<16 | int(key[3])<<24
	return key[lengthSize : lengthSize+n], key[lengthSize+n:]
}

// labeler turns attributes into keys. It is used by one goroutine at a time.
type labeler struct {
	constant map[string]string
	base     []byte            // key of the constant labels
	names    map[string]string // label name by attribute name
	namer    otlptranslator.LabelNamer
	pairs    []pair // scratch
}

type pair struct {
	label, attribute string
	value            pcommon.Value
}

func newLabeler(constant map[string]string) labeler {
	l := labeler{names: make(map[string]string), constant: constant}
	for _, name := range slices.Sorted(maps.Keys(constant)) {
		if value := clean([]byte(constant[name]), 0); len(value) > 0 {
			l.base = appendText(appendText(l.base, name), string(value))
		}
	}
	return l
}

// Reserved tells whether a label says where a series comes from, or is part of how Prometheus shows a type.
func Reserved(label string) bool {
	switch label {
	case "job", "instance", "service_name", "service_namespace", "le", "quantile", "__name__":
		return true
	}
	return false
}

// append adds the attributes to a key, in the order of their label names. It is false when there are too many.
//
// Different attributes may become one label (a.b and a_b): their values are joined by ';' in the order of the attributes'
// names, as the specification has it. An empty value is no label.
func (l *labeler) append(key []byte, attributes pcommon.Map, skip func(attribute string) bool) ([]byte, bool) {
	if attributes.Len() > maxLabels {
		return key, false
	}
	l.pairs = l.pairs[:0]
	for name, value := range attributes.All() {
		if skip == nil || !skip(name) {
			l.pairs = append(l.pairs, pair{l.name(name), name, value})
		}
	}
	slices.SortFunc(l.pairs, func(a, b pair) int {
		if c := strings.Compare(a.label, b.label); c != 0 {
			return c
		}
		return strings.Compare(a.attribute, b.attribute)
	})
	for i := 0; i < len(l.pairs); {
		before := len(key)
		key = appendText(key, l.pairs[i].label)
		length := len(key)
		key = appendText(key, "")
		value := len(key)
		for first := i; i < len(l.pairs) && l.pairs[i].label == l.pairs[first].label; i++ {
			if i > first {
				key = append(key, ';')
			}
			key = appendValue(key, l.pairs[i].value)
		}
		key = clean(key, value)
		if len(key) == value {
			key = key[:before]
			continue
		}
		binary.LittleEndian.PutUint32(key[length:], uint32(len(key)-value)) //nolint:gosec // at most maxValue
	}
	clear(l.pairs) // they refer to the request
	return key, true
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

// clean makes what b has from start on a label value: valid UTF-8 (one bad byte would spoil the whole page) within maxValue.
func clean(b []byte, start int) []byte {
	if !utf8.Valid(b[start:]) {
		b = append(b[:start], strings.ToValidUTF8(string(b[start:]), "\uFFFD")...)
	}
	if len(b)-start > maxValue {
		end := start + maxValue
		for !utf8.RuneStart(b[end]) {
			end--
		}
		b = b[:end]
	}
	return b
}

// name returns the label name of an attribute. Where that belongs to someone else it begins with exported_, which is what
// Prometheus itself does.
func (l *labeler) name(attribute string) string {
	attribute = attribute[:min(len(attribute), maxValue)] // it is remembered, and its sender has the choice
	if name, ok := l.names[attribute]; ok {
		return name
	}
	name, err := l.namer.Build(attribute)
	if err != nil || strings.HasPrefix(name, "__") { // nothing legal in it, or reserved
		name = "key" + name
	}
	if len(name) > maxValue {
		name = name[:maxValue]
	}
	if _, taken := l.constant[name]; taken || Reserved(name) {
		name = "exported_" + name
	}
	if len(l.names) >= maxNameCache {
		clear(l.names)
	}
	l.names[strings.Clone(attribute)] = name
	return name
}
