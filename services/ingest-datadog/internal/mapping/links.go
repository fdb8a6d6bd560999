// SPDX-License-Identifier: Apache-2.0

package mapping

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/busbar/busbar/services/ingest-datadog/internal/otlp"
)

// target is the span that a link leads to.
type target struct {
	trace [16]byte
	span  uint64
}

// links adds the links of the span: those of its own field, and those that are text in an attribute, each once.
func (f *facts) links(e *otlp.Span) {
	var known []target
	for _, l := range f.Links() {
		t := target{span: l.SpanID()}
		id := l.TraceID()
		copy(t.trace[max(0, 16-len(id)):], id)
		known = append(known, t)
		link := otlp.NewLink(t.trace, t.span, l.Tracestate(), l.Flags()&flagBits)
		for ref, value := range l.Attributes() {
			link.Attribute(l.Strings.Get(ref), convert(l.Strings, value, maxNesting))
		}
		e.Link(link)
	}
	text := f.view.text(linksText)
	if text == "" {
		return
	}
	more, err := readLinks(text)
	if err != nil {
		f.out.Left[BadStructure]++
		e.Attribute("_dd.span_links", otlp.String(text))
		return
	}
	for _, l := range more {
		if slices.Contains(known, l.target) {
			continue
		}
		link := otlp.NewLink(l.trace, l.span, l.state, l.flags&flagBits)
		for _, k := range slices.Sorted(maps.Keys(l.attributes)) {
			link.Attribute(k, jsonValue(l.attributes[k], maxNesting))
		}
		e.Link(link)
	}
}

// flagBits are the flags of a trace that have a meaning.
const flagBits = 0xff

type textLink struct {
	target
	state      string
	flags      uint32
	attributes map[string]any
}

// readLinks reads links as clients write them into an attribute: ids are numbers, or text, then hexadecimal.
func readLinks(text string) (out []textLink, err error) {
	var all []struct {
		Trace      any            `json:"trace_id"`
		High       any            `json:"trace_id_high"`
		Span       any            `json:"span_id"`
		State      string         `json:"tracestate"`
		Flags      json.Number    `json:"flags"`
		Attributes map[string]any `json:"attributes"`
	}
	if err := decodeNumbers(text, &all); err != nil {
		return nil, err
	}
	for _, l := range all {
		one := textLink{state: l.State, attributes: l.Attributes}
		if one.trace, err = traceID(l.Trace); err != nil {
			return nil, err
		}
		if one.span, err = id(l.Span); err != nil {
			return nil, err
		}
		if l.High != nil {
			high, err := id(l.High)
			if err != nil {
				return nil, err
			}
			binary.BigEndian.PutUint64(one.trace[:8], high)
		}
		if n, err := strconv.ParseUint(l.Flags.String(), 10, 32); err == nil {
			one.flags = uint32(n)
		}
		out = append(out, one)
	}
	return out, nil
}

func decodeNumbers(text string, into any) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	return d.Decode(into)
}

var errID = errors.New("not an id")

// id reads an id of 64 bits: a number is decimal, text hexadecimal.
func id(v any) (uint64, error) {
	switch v := v.(type) {
	case json.Number:
		return strconv.ParseUint(v.String(), 10, 64)
	case string:
		return strconv.ParseUint(v, 16, 64)
	}
	return 0, errID
}

// traceID reads the id of a trace: a number is its lower half, text is hexadecimal.
func traceID(v any) (out [16]byte, err error) {
	if text, ok := v.(string); ok {
		if len(text) > 32 {
			return out, errID
		}
		_, err := hex.Decode(out[:], []byte(strings.Repeat("0", 32-len(text))+text))
		return out, err
	}
	low, err := id(v)
	binary.BigEndian.PutUint64(out[8:], low)
	return out, err
}

// ParseIDs reads the ids of a trace and a span that a log has: of a trace 32 hexadecimal digits, or else a decimal number, of a span a
// decimal number, or 16 hexadecimal digits if it is none.
func ParseIDs(trace, span string) (t [16]byte, s uint64, ok bool) {
	if trace == "" || trace == "0" {
		return t, 0, false
	}
	if len(trace) == 32 {
		if _, err := hex.Decode(t[:], []byte(trace)); err != nil {
			return t, 0, false
		}
	} else if low, err := strconv.ParseUint(trace, 10, 64); err == nil {
		binary.BigEndian.PutUint64(t[8:], low)
	} else {
		return t, 0, false
	}
	if t == [16]byte{} {
		return t, 0, false
	}
	s, err := strconv.ParseUint(span, 10, 64)
	if err != nil && len(span) == 16 {
		s, _ = strconv.ParseUint(span, 16, 64)
	}
	return t, s, true
}

// events adds the events of the span: those of its own field, and those that are text in an attribute.
func (f *facts) events(e *otlp.Span) {
	for _, ev := range f.Events() {
		one := otlp.NewEvent(ev.Name(), ev.Time())
		for ref, value := range ev.Attributes() {
			one.Attribute(ev.Strings.Get(ref), convert(ev.Strings, value, maxNesting))
		}
		e.Event(one)
	}
	text := f.view.text(eventsText)
	if text == "" {
		return
	}
	var all []struct {
		Name       string         `json:"name"`
		Time       json.Number    `json:"time_unix_nano"`
		Attributes map[string]any `json:"attributes"`
	}
	if decodeNumbers(text, &all) != nil {
		f.out.Left[BadStructure]++
		e.Attribute("events", otlp.String(text))
		return
	}
	if len(f.Events()) > 0 {
		return // the same ones
	}
	for _, ev := range all {
		at, err := strconv.ParseUint(ev.Time.String(), 10, 64)
		if err != nil {
			at = f.Start()
		}
		one := otlp.NewEvent(ev.Name, at)
		for _, k := range slices.Sorted(maps.Keys(ev.Attributes)) {
			one.Attribute(k, jsonValue(ev.Attributes[k], maxNesting))
		}
		e.Event(one)
	}
}

// jsonValue makes a value of one of JSON.
func jsonValue(v any, deeper int) otlp.Value {
	switch v := v.(type) {
	case string:
		return otlp.String(v)
	case bool:
		return otlp.Truth(v)
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return otlp.Integer(n)
		}
		f, err := v.Float64()
		if err != nil {
			return otlp.String(v.String())
		}
		return otlp.Number(f)
	case []any:
		if deeper == 0 {
			break
		}
		var all []otlp.Value
		for _, e := range v {
			all = append(all, jsonValue(e, deeper-1))
		}
		return otlp.Values(all)
	case map[string]any:
		if deeper == 0 {
			break
		}
		var all []otlp.Pair
		for _, k := range slices.Sorted(maps.Keys(v)) {
			all = append(all, otlp.Pair{Key: k, Value: jsonValue(v[k], deeper-1)})
		}
		return otlp.Pairs(all)
	case nil:
		return otlp.Value{}
	}
	return otlp.String(fmt.Sprint(v))
}
