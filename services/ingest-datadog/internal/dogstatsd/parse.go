// SPDX-License-Identifier: Apache-2.0

// Package dogstatsd takes what clients of DogStatsD send, over UDP, unix sockets and HTTP, and adds it up for ten seconds before it goes
// on. A sender never waits: what cannot be kept is counted and gone.
package dogstatsd

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"strings"
	"unsafe"

	"github.com/busbar/busbar/services/ingest-datadog/internal/decode"
)

// Kind is the type of a metric.
type Kind byte

// The kinds.
const (
	Counter      Kind = 'c'
	Gauge        Kind = 'g'
	Set          Kind = 's'
	Timer        Kind = 'm'
	Histogram    Kind = 'h'
	Distribution Kind = 'd'
)

// Sample is a line about a metric. It refers to the packet that it was read from.
type Sample struct {
	Name      string
	Kind      Kind
	Values    string // one or more, parted by colons
	Rate      float64
	Tags      string // parted by commas
	Container string
	External  string
	Time      uint64 // nanoseconds since the epoch; zero: now
}

// Line is what a line says: one of the three, the kind of which tells.
type Line struct {
	Sample Sample
	Event  *decode.Event
	Check  *decode.Check
}

// Errors of lines, which are reasons for metrics as well.
var (
	errFormat = errors.New("format")
	errKind   = errors.New("type")
	errValue  = errors.New("value")
	errRate   = errors.New("rate")
)

// maxLine bounds a line, in bytes.
const maxLine = 64 << 10

// Parse reads a line. What it returns refers to the line, except for events and checks.
func Parse(line []byte) (l Line, err error) {
	if len(line) > maxLine {
		return l, errFormat
	}
	switch {
	case bytes.HasPrefix(line, []byte("_e{")):
		l.Event, err = event(string(line))
	case bytes.HasPrefix(line, []byte("_sc|")):
		l.Check, err = check(string(line))
	default:
		l.Sample, err = sample(unsafe.String(unsafe.SliceData(line), len(line)))
	}
	return l, err
}

// sample reads name:values|type and sections in any order.
func sample(line string) (s Sample, err error) {
	name, rest, ok := strings.Cut(line, ":")
	values, rest, more := strings.Cut(rest, "|")
	if !ok || !more || name == "" || values == "" {
		return s, errFormat
	}
	kind, rest, more := strings.Cut(rest, "|")
	s = Sample{Name: name, Values: values, Rate: 1}
	switch kind {
	case "c", "g", "s", "h", "d":
		s.Kind = Kind(kind[0])
	case "ms":
		s.Kind = Timer
	default:
		return s, errKind
	}
	for more {
		var section string
		section, rest, more = strings.Cut(rest, "|")
		if err := s.section(section); err != nil {
			return s, err
		}
	}
	return s, nil
}

// section reads what follows a type. Those that are not known are skipped.
func (s *Sample) section(text string) (err error) {
	if text == "" {
		return nil
	}
	switch rest := text[1:]; text[0] {
	case '@':
		s.Rate, err = strconv.ParseFloat(rest, 64)
		if err != nil || !(s.Rate > 0 && s.Rate <= 1) {
			return errRate
		}
	case '#':
		s.Tags = rest
	case 'T':
		at, err := strconv.ParseInt(rest, 10, 64)
		if s.Time = decode.Nanoseconds(float64(at)); err != nil || s.Time == 0 {
			return errFormat
		}
	case 'c':
		s.Container = container(rest)
	case 'e':
		s.External = strings.TrimPrefix(rest, ":")
	}
	return nil
}

// container is the id that c:ci-…, c:in-…,ci-… or c:… names; in- is an inode, of which nothing is known here.
func container(text string) string {
	rest, ok := strings.CutPrefix(text, ":")
	if !ok {
		return ""
	}
	for part := range strings.SplitSeq(rest, ",") {
		if id, ok := strings.CutPrefix(part, "ci-"); ok {
			return id
		}
		if !strings.HasPrefix(part, "in-") && len(part) == 64 {
			return part
		}
	}
	return ""
}

// number reads a value.
func number(text string) (float64, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, errValue
	}
	return f, nil
}

// event reads _e{length of title,length of text}:title|text|sections. Lengths are in bytes: the text may hold anything.
func event(line string) (*decode.Event, error) {
	head, rest, ok := strings.Cut(strings.TrimPrefix(line, "_e{"), "}:")
	first, second, both := strings.Cut(head, ",")
	title, err1 := strconv.ParseUint(first, 10, 31)
	text, err2 := strconv.ParseUint(second, 10, 31)
	if !ok || !both || err1 != nil || err2 != nil || title == 0 || uint64(len(rest)) < title+1+text || rest[title] != '|' {
		return nil, errFormat
	}
	e := &decode.Event{Title: valid(rest[:title]), Text: valid(rest[title+1 : title+1+text])}
	rest = rest[title+1+text:]
	if rest != "" && rest[0] != '|' {
		return nil, errFormat
	}
	for section := range strings.SplitSeq(strings.TrimPrefix(rest, "|"), "|") {
		key, value, ok := strings.Cut(section, ":")
		switch {
		case strings.HasPrefix(section, "#"):
			e.Tags = decode.SplitTags(valid(section[1:]))
		case !ok:
		case key == "d":
			e.Time = when(value)
		case key == "h":
			e.Host = valid(value)
		case key == "k":
			e.Key = valid(value)
		case key == "p":
			e.Priority = valid(value)
		case key == "s":
			e.Source = valid(value)
		case key == "t":
			e.Alert = valid(value)
		}
	}
	return e, nil
}

// valid is text as events and checks have it: line ends are written as two characters.
func valid(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "�"), `\n`, "\n")
}

func when(text string) uint64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return decode.Nanoseconds(float64(n))
}

// check reads _sc|name|status and sections, of which the message is the last one.
func check(line string) (*decode.Check, error) {
	name, rest, ok := strings.Cut(strings.TrimPrefix(line, "_sc|"), "|")
	state, rest, more := strings.Cut(rest, "|")
	status, err := strconv.ParseUint(state, 10, 8)
	if !ok || name == "" || err != nil || status > 3 {
		return nil, errFormat
	}
	c := &decode.Check{Name: valid(name), Status: int(status)} //nolint:gosec // at most 3
	for more {
		var section string
		section, rest, more = strings.Cut(rest, "|")
		switch {
		case strings.HasPrefix(section, "#"):
			c.Tags = decode.SplitTags(valid(section[1:]))
		case strings.HasPrefix(section, "d:"):
			c.Time = when(section[2:])
		case strings.HasPrefix(section, "h:"):
			c.Host = valid(section[2:])
		case strings.HasPrefix(section, "m:"):
			c.Message = valid(section[2:])
		}
	}
	return c, nil
}
