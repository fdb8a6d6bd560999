// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Log is a log line. What is not known is empty.
type Log struct {
	Message, Status, Host, Service, Source string
	Time                                   uint64 // nanoseconds since the epoch
	Tags                                   []string
	Trace, Span                            string  // ids as they were written: decimal or hexadecimal
	Fields                                 []Field // what else it has, sorted by name
}

// Field is something that a JSON object has, nested ones by names with dots: text, a json.Number or a bool.
type Field struct {
	Name  string
	Value any
}

// Logs reads /api/v2/logs and /v1/input: an array of objects, or objects one after another, or lines of text if text says that
// this may be. An object without anything in it is no log: agents ask with one whether somebody listens.
func Logs(body []byte, text bool) (out []Log, err error) {
	defer guard(&err)
	body = bytes.TrimSpace(body)
	if text && len(body) > 0 && body[0] != '{' && body[0] != '[' {
		for line := range bytes.Lines(body) {
			if line = bytes.TrimSpace(line); len(line) > 0 {
				out = append(out, Log{Message: strings.ToValidUTF8(string(line), "�")})
			}
		}
		return out, nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	for {
		var v any
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, fmt.Errorf("JSON: byte %d: %w", d.InputOffset(), err)
		}
		entries, ok := v.([]any)
		if !ok {
			entries = []any{v}
		}
		for i, e := range entries {
			object, ok := e.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("JSON: entry %d is not an object", i)
			}
			if len(object) > 0 {
				out = append(out, log(object))
			}
		}
	}
}

func log(object map[string]any) (l Log) {
	for _, f := range flatten(object) {
		switch f.Name {
		case "message":
			l.Message = text(f.Value)
		case "status", "level", "severity":
			if l.Status == "" || f.Name == "status" {
				l.Status = text(f.Value)
			}
		case "hostname", "host":
			l.Host = text(f.Value)
		case "service":
			l.Service = text(f.Value)
		case "ddsource":
			l.Source = text(f.Value)
		case "ddtags":
			l.Tags = append(l.Tags, SplitTags(text(f.Value))...)
		case "timestamp", "date":
			if n, ok := f.Value.(json.Number); ok {
				l.Time = milliseconds(n)
				continue
			}
			l.Fields = append(l.Fields, f)
		case "dd.trace_id":
			l.Trace = text(f.Value)
		case "dd.span_id":
			l.Span = text(f.Value)
		default:
			l.Fields = append(l.Fields, f)
		}
	}
	if l.Trace == "" {
		l.Trace, l.Span = inside(l.Message)
	}
	return l
}

// milliseconds is a time in milliseconds since the epoch, in nanoseconds; zero if it cannot be meant.
func milliseconds(n json.Number) uint64 {
	if whole, err := n.Int64(); err == nil && whole > 0 && whole < 1<<43 {
		return uint64(whole) * 1e6
	}
	ms, err := n.Float64()
	if err != nil {
		return 0
	}
	return Nanoseconds(ms / 1e3)
}

// inside returns the ids of a trace and a span that a message in JSON has.
func inside(message string) (trace, span string) {
	if !strings.HasPrefix(message, "{") || !strings.Contains(message, "trace_id") {
		return "", ""
	}
	var m struct {
		DD struct {
			Trace any `json:"trace_id"`
			Span  any `json:"span_id"`
		} `json:"dd"`
		Trace any `json:"dd.trace_id"`
		Span  any `json:"dd.span_id"`
	}
	d := json.NewDecoder(strings.NewReader(message))
	d.UseNumber()
	if d.Decode(&m) != nil {
		return "", ""
	}
	if m.Trace != nil {
		return text(m.Trace), text(m.Span)
	}
	return text(m.DD.Trace), text(m.DD.Span)
}

// SplitTags splits tags that commas part.
func SplitTags(s string) (out []string) {
	for tag := range strings.SplitSeq(s, ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			out = append(out, tag)
		}
	}
	return out
}

// text is a JSON value as text.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

// maxNesting is how deep objects are taken apart; what is below is text in JSON.
const maxNesting = 8

// flatten returns the fields of an object by name.
func flatten(object map[string]any) (out []Field) {
	add(&out, "", object, maxNesting)
	slices.SortFunc(out, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func add(out *[]Field, prefix string, object map[string]any, deeper int) {
	for k, v := range object {
		switch v := v.(type) {
		case nil:
		case string, json.Number, bool:
			*out = append(*out, Field{prefix + k, v})
		case map[string]any:
			if deeper > 0 {
				add(out, prefix+k+".", v, deeper-1)
				continue
			}
			*out = append(*out, Field{prefix + k, text(v)})
		default:
			*out = append(*out, Field{prefix + k, text(v)})
		}
	}
}
