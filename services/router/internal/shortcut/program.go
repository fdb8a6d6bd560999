// SPDX-License-Identifier: Apache-2.0

package shortcut

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/router/internal/otlp"
)

// maxKeys bounds how many attributes of a record, and of a resource, a program is about.
const maxKeys = 8

// Program is a list of expressions, compiled. It is immutable and safe for concurrent use.
type Program struct {
	attributes int      // field of the record that holds them
	record     []string // keys of the record that it is about
	resource   []string // keys of the resource
	drops      []rule   // one that holds drops the record
	edits      []edit
}

// edit is a statement.
type edit struct {
	where rule
	key   int    // index into Program.record
	field []byte // the attribute, encoded as a field of the record; nil removes it
	value []byte // its value, encoded
}

// rule is a condition, with indexes in place of keys.
type rule struct {
	any   bool
	terms []test
}

type test struct {
	resource bool
	key      int
	not      bool
	value    literal
}

// Field numbers of OTLP (opentelemetry/proto/trace/v1, logs/v1, resource/v1, common/v1).
const (
	spanAttributes     = 9
	logAttributes      = 6
	resourceAttributes = 1
	keyValueKey        = 1
	keyValueValue      = 2
	valueText          = 1
	valueBool          = 2
	valueInt           = 3
	valueDouble        = 4
	valueLast          = 7 // arrays, maps, bytes
)

// Conditions compiles conditions one of which drops a record; ok is false if they are not all of our shapes and about the records of
// a signal.
func Conditions(signal subject.Signal, texts []string) (p *Program, ok bool) {
	return compile(signal, texts, func(p *Program, e expression) bool {
		where, ok := p.rule(e.where)
		p.drops = append(p.drops, where)
		return ok && e.verb == ""
	})
}

// Statements compiles statements, which are done in order; ok is false if they are not all of our shapes and about the records of a
// signal.
func Statements(signal subject.Signal, texts []string) (p *Program, ok bool) {
	return compile(signal, texts, func(p *Program, e expression) bool {
		where, ok := p.rule(e.where)
		key := index(&p.record, e.key)
		if !ok || e.verb == "" || key < 0 {
			return false
		}
		statement := edit{where: where, key: key}
		if e.verb == "set" {
			statement.value = e.value.encode()
			statement.field = p.attribute(e.key, statement.value)
		}
		p.edits = append(p.edits, statement)
		return true
	})
}

func compile(signal subject.Signal, texts []string, add func(*Program, expression) bool) (*Program, bool) {
	context := "span"
	p := &Program{attributes: spanAttributes}
	switch signal {
	case subject.Traces:
	case subject.Logs:
		context, p.attributes = "log", logAttributes
	case subject.Metrics:
		return nil, false
	}
	for _, text := range texts {
		e, ok := parse(text)
		if !ok || e.context != context || !add(p, e) {
			return nil, false
		}
	}
	return p, len(texts) > 0
}

func (p *Program) rule(c condition) (r rule, ok bool) {
	r.any = c.any
	for _, t := range c.terms {
		keys := &p.record
		if t.resource {
			keys = &p.resource
		}
		key := index(keys, t.key)
		if key < 0 {
			return r, false
		}
		r.terms = append(r.terms, test{t.resource, key, t.not, t.value})
	}
	return r, true
}

// index returns where a key is in a list, after appending it if need be; -1 if there are too many.
func index(keys *[]string, key string) int {
	if i := slices.Index(*keys, key); i >= 0 {
		return i
	}
	if len(*keys) == maxKeys {
		return -1
	}
	*keys = append(*keys, key)
	return len(*keys) - 1
}

// attribute encodes an attribute as a field of a record.
func (p *Program) attribute(key string, value []byte) []byte {
	kv := protowire.AppendTag(nil, keyValueKey, protowire.BytesType)
	kv = protowire.AppendString(kv, key)
	kv = protowire.AppendTag(kv, keyValueValue, protowire.BytesType)
	kv = protowire.AppendBytes(kv, value)
	field := protowire.AppendTag(nil, protowire.Number(p.attributes), protowire.BytesType) //nolint:gosec // a constant
	return protowire.AppendBytes(field, kv)
}

// encode returns the literal as an AnyValue.
func (l literal) encode() []byte {
	switch l.kind {
	case isText:
		return protowire.AppendString(protowire.AppendTag(nil, valueText, protowire.BytesType), l.text)
	case isBool:
		return protowire.AppendVarint(protowire.AppendTag(nil, valueBool, protowire.VarintType), uint64(l.n)) //nolint:gosec // 0 or 1
	case isInt:
		return protowire.AppendVarint(protowire.AppendTag(nil, valueInt, protowire.VarintType), uint64(l.n)) //nolint:gosec // two's complement
	case isNil:
	}
	return nil
}

// holds tells whether a rule holds for the attributes of a record and its resource; ok is false if one of them is malformed.
func (r rule) holds(record, resource *cells) (yes, ok bool) {
	for _, t := range r.terms {
		of := record
		if t.resource {
			of = resource
		}
		equal, ok := t.value.equals(of[t.key].value)
		if !ok {
			return false, false
		}
		if (equal != t.not) == r.any {
			return r.any, true
		}
	}
	return !r.any || len(r.terms) == 0, true
}

// equals compares an encoded AnyValue with a literal as the language does: numbers by value, anything else by kind and value. Nil is
// what no attribute has, or an attribute without a value; ok is false if the value is malformed.
func (l literal) equals(value []byte) (equal, ok bool) {
	equal = l.kind == isNil
	for len(value) > 0 {
		f, size := otlp.NextField(value)
		if size == 0 {
			return false, false
		}
		value = value[size:]
		if f.Number > valueLast {
			continue // not ours to know
		}
		if f.Kind != kinds[f.Number] {
			return false, false
		}
		switch f.Number { // the last one counts
		case valueText:
			equal = l.kind == isText && string(f.Content) == l.text
		case valueBool:
			equal = l.kind == isBool && (f.Varint() != 0) == (l.n != 0)
		case valueInt:
			equal = l.kind == isInt && int64(f.Varint()) == l.n //nolint:gosec // two's complement
		case valueDouble:
			equal = l.kind == isInt && math.Float64frombits(binary.LittleEndian.Uint64(f.Content)) == float64(l.n)
		default:
			equal = false
		}
	}
	return equal, true
}

// kinds says how the fields of an AnyValue are encoded.
var kinds = [valueLast + 1]protowire.Type{ //nolint:gochecknoglobals // a constant
	-1, protowire.BytesType, protowire.VarintType, protowire.VarintType, protowire.Fixed64Type, protowire.BytesType, protowire.BytesType, protowire.BytesType,
}

// cells are the attributes that a program is about, of one record or resource.
type cells [maxKeys]cell

type cell struct {
	value      []byte // encoded AnyValue; nil: there is none
	begin, end int    // of the field in the record; both 0: it has none
	edit       int    // 1 + index of the statement that wrote it last; 0: none
}

// read finds the attributes of a message that these keys have; ok is false if it is malformed, or has one of them twice.
func (c *cells) read(message []byte, attributes int, keys []string) (ok bool) {
	clear(c[:len(keys)])
	for at := 0; at < len(message); {
		content, size, is := short(message[at:], attributes)
		if size == 0 {
			f, n := otlp.NextField(message[at:])
			if n == 0 || f.Number == attributes && f.Kind != protowire.BytesType {
				return false
			}
			content, size, is = f.Content, n, f.Number == attributes
		}
		if is {
			key, value, ok := keyValue(content)
			if !ok {
				return false
			}
			for i, k := range keys {
				if string(key) != k {
					continue
				}
				if c[i].end > 0 {
					return false
				}
				c[i] = cell{value: value, begin: at, end: at + size}
			}
		}
		at += size
	}
	return true
}

// short reads the first field of a message if it is one of the many with a low number and a short content. It tells whether it is a
// message of a given number. The size is 0 if the field is another one, or malformed.
func short(b []byte, number int) (content []byte, size int, is bool) {
	const low, few = 0x80, 0x80
	if len(b) < 2 || b[0] >= low || b[0] < 8 || b[1] >= few {
		return nil, 0, false
	}
	switch protowire.Type(b[0] & 7) { //nolint:gosec // at most 7
	case protowire.BytesType:
		if size = 2 + int(b[1]); size <= len(b) {
			return b[2:size], size, int(b[0]>>3) == number
		}
	case protowire.VarintType:
		if int(b[0]>>3) != number {
			return nil, 2, false
		}
	}
	return nil, 0, false
}

// keyValue takes an attribute apart; ok is false if it is malformed, or has a part twice, which the two would be merged to.
func keyValue(kv []byte) (key, value []byte, ok bool) {
	// Nearly all are a short key and a short value: in this order, or the other one as the Collector writes them.
	if key, value, ok = pair(kv, keyValueKey); ok {
		return key, value, true
	}
	if value, key, ok = pair(kv, keyValueValue); ok {
		return key, value, true
	}
	var has [2]bool
	for len(kv) > 0 {
		f, size := otlp.NextField(kv)
		if size == 0 {
			return nil, nil, false
		}
		kv = kv[size:]
		if f.Number != keyValueKey && f.Number != keyValueValue {
			continue
		}
		if f.Kind != protowire.BytesType || has[f.Number-1] {
			return nil, nil, false
		}
		has[f.Number-1] = true
		if f.Number == keyValueKey {
			key = f.Content
		} else {
			value = f.Content
		}
	}
	return key, value, true
}

// pair takes a message of two short fields apart, the numbers of which are 1 and 2, in the order that begins with number first.
func pair(b []byte, first byte) (a, c []byte, ok bool) {
	const few, both = 0x80, keyValueKey + keyValueValue
	if len(b) < 4 || b[0] != first<<3|2 || b[1] >= few {
		return nil, nil, false
	}
	at := 2 + int(b[1])
	if at+2 > len(b) || b[at] != (both-first)<<3|2 || b[at+1] >= few || at+2+int(b[at+1]) != len(b) {
		return nil, nil, false
	}
	return b[2:at], b[at+2:], true
}

// verdict is what becomes of a record.
type verdict uint8

const (
	keep verdict = iota
	drop
	change
)

// judge decides about a record, and does the statements to its cells; ok is false if it is malformed.
func (p *Program) judge(record []byte, own, resource *cells) (v verdict, ok bool) {
	if !own.read(record, p.attributes, p.record) {
		return keep, false
	}
	for _, r := range p.drops {
		yes, ok := r.holds(own, resource)
		if !ok {
			return keep, false
		}
		if yes {
			return drop, true
		}
	}
	for i := range p.edits {
		e := &p.edits[i]
		yes, ok := e.where.holds(own, resource)
		if !ok {
			return keep, false
		}
		if yes {
			own[e.key].value, own[e.key].edit = e.value, i+1
			v = change
		}
	}
	return v, true
}

// write appends a record whose cells statements have changed.
func (p *Program) write(to, record []byte, own *cells) []byte {
	at := 0
	for {
		next := -1 // the first changed attribute from there on
		for i := range p.record {
			if c := &own[i]; c.edit > 0 && c.end > at && (next < 0 || c.begin < own[next].begin) {
				next = i
			}
		}
		if next < 0 {
			break
		}
		to = append(to, record[at:own[next].begin]...)
		to = append(to, p.edits[own[next].edit-1].field...)
		at = own[next].end
	}
	to = append(to, record[at:]...)
	for i := range p.record {
		if c := &own[i]; c.edit > 0 && c.end == 0 {
			to = append(to, p.edits[c.edit-1].field...)
		}
	}
	return to
}

// mayHold tells whether a payload can have what would make a program do anything. A condition needs one of its texts; it is enough to
// look for that which is cheapest to find.
func (p *Program) mayHold(payload []byte) bool {
	for i := range p.edits {
		if p.edits[i].where.may(payload) {
			return true
		}
	}
	for _, r := range p.drops {
		if r.may(payload) {
			return true
		}
	}
	return false
}

func (r rule) may(payload []byte) bool {
	for _, t := range r.terms {
		needs := !t.not && t.value.kind == isText && t.value.text != ""
		found := !needs || bytes.Contains(payload, []byte(t.value.text))
		if found == r.any {
			return found
		}
	}
	return !r.any
}
