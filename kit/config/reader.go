// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// Bounds of one document. They are far above what people write and far below what hurts: aliases can spell out an
// enormous, even endless, document in a few lines.
const (
	maxValues = 100_000
	maxDepth  = 64
)

// reader turns nodes into values and collects what is wrong. Its methods take nodes that were resolved; those that return
// an ok report their fault before they return false.
type reader struct {
	file   string
	faults Faults
	values int // that were visited, counting those behind aliases each time
	depth  int
}

func (r *reader) fault(n *yaml.Node, path, format string, args ...any) {
	r.faults = append(r.faults,
		Fault{File: r.file, Line: n.Line, Col: n.Column, Path: path, Reason: fmt.Sprintf(format, args...)})
}

// want reports a node of the wrong type. Its text is not shown: where a map or a list was wanted it may be a secret.
func (r *reader) want(n *yaml.Node, path, what string) {
	got := "text"
	switch {
	case n.Kind == yaml.MappingNode:
		got = "a map"
	case n.Kind == yaml.SequenceNode:
		got = "a list"
	case isNull(n):
		got = "nothing"
	case n.ShortTag() == "!!int", n.ShortTag() == "!!float":
		got = "a number"
	case n.ShortTag() == "!!bool":
		got = "a bool"
	}
	r.fault(n, path, "want %s, got %s", what, got)
}

// wantScalar is want where only a number, a bool or one of a few words can stand, so that the text may be shown.
func (r *reader) wantScalar(n *yaml.Node, path, what string) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		r.want(n, path, what)
		return
	}
	got := n.Value
	if n.ShortTag() == "!!str" {
		got = "text " + quoted(got)
	}
	r.fault(n, path, "want %s, got %s", what, got)
}

// quoted is a text as messages show it: quoted, and short.
func quoted(s string) string {
	const longest = 40
	if c := []rune(s); len(c) > longest {
		s = string(c[:longest]) + "…"
	}
	return strconv.Quote(s)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// resolve follows an alias and holds the document to its bounds. It returns nil for a node that is not to be read.
func (r *reader) resolve(n *yaml.Node, path string) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if r.values++; r.values > maxValues {
		if r.values == maxValues+1 {
			r.fault(n, path, "more than %d values in one document, counting those behind aliases", maxValues)
		}
		return nil
	}
	switch n.ShortTag() {
	case "!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp", "!!map", "!!seq", "!!merge":
		return n
	}
	r.fault(n, path, "tag %s is not supported", n.ShortTag())
	return nil
}

// mapping calls each for the entries of a map, leaving out those whose key or value is faulty in itself.
func (r *reader) mapping(n *yaml.Node, path string, each func(key, value *yaml.Node, path string)) bool {
	if n.Kind != yaml.MappingNode {
		r.want(n, path, "a map")
		return false
	}
	if !r.descend(n, path) {
		return false
	}
	defer r.ascend()
	first := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || isNull(key) {
			r.want(key, path, "text as key")
			continue
		}
		p := child(path, key.Value)
		if key.ShortTag() == "!!merge" {
			r.fault(key, p, "merge keys are not supported: write the fields out")
			continue
		}
		if line, ok := first[key.Value]; ok {
			r.fault(key, p, "duplicate key, first in line %d", line)
			continue
		}
		first[key.Value] = key.Line
		if value := r.resolve(n.Content[i+1], p); value != nil {
			each(key, value, p)
		}
	}
	return true
}

// list calls each for the elements of a list, leaving out those that are faulty in themselves.
func (r *reader) list(n *yaml.Node, path string, each func(value *yaml.Node, path string)) bool {
	if n.Kind != yaml.SequenceNode {
		r.want(n, path, "a list")
		return false
	}
	if !r.descend(n, path) {
		return false
	}
	defer r.ascend()
	for i, item := range n.Content {
		p := element(path, i)
		if value := r.resolve(item, p); value != nil {
			each(value, p)
		}
	}
	return true
}

func (r *reader) descend(n *yaml.Node, path string) bool {
	if r.depth >= maxDepth {
		r.fault(n, path, "nested deeper than %d levels", maxDepth)
		return false
	}
	r.depth++
	return true
}

func (r *reader) ascend() { r.depth-- }

// text takes any scalar as it is written: 8080 and 1.10 lose nothing by being text.
func (r *reader) text(n *yaml.Node, path string) (string, bool) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		r.want(n, path, "text")
		return "", false
	}
	return n.Value, true
}

func (r *reader) boolean(n *yaml.Node, path string) (v, ok bool) {
	if n.ShortTag() != "!!bool" || n.Decode(&v) != nil {
		r.wantScalar(n, path, "true or false")
		return false, false
	}
	return v, true
}

func (r *reader) integer(n *yaml.Node, path string, bits int) (int64, bool) {
	if n.ShortTag() == "!!int" {
		if v, err := strconv.ParseInt(n.Value, 0, bits); err == nil {
			return v, true
		}
	}
	r.wantScalar(n, path, fmt.Sprintf("a whole number from %d to %d", -1<<(bits-1), int64(1<<(bits-1)-1)))
	return 0, false
}

func (r *reader) unsigned(n *yaml.Node, path string, bits int) (uint64, bool) {
	if n.ShortTag() == "!!int" {
		if v, err := strconv.ParseUint(n.Value, 0, bits); err == nil {
			return v, true
		}
	}
	r.wantScalar(n, path, fmt.Sprintf("a whole number from 0 to %d", uint64(math.MaxUint64)>>(64-bits)))
	return 0, false
}

func (r *reader) number(n *yaml.Node, path string, bits int) (v float64, ok bool) {
	if isNumber(n) && n.Decode(&v) == nil && !math.IsNaN(v) && !math.IsInf(v, 0) &&
		(bits == 64 || math.Abs(v) <= math.MaxFloat32) {
		return v, true
	}
	r.wantScalar(n, path, "a number")
	return 0, false
}

func isNumber(n *yaml.Node) bool { return n.ShortTag() == "!!int" || n.ShortTag() == "!!float" }

func (r *reader) bytes(n *yaml.Node, path string) ([]byte, bool) {
	s, ok := r.text(n, path)
	if !ok {
		return nil, false
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		r.fault(n, path, "want base64")
		return nil, false
	}
	return b, true
}

// Duration reads a duration as documents write it: "500ms", "1h30m"; empty is zero, and none is negative.
func Duration(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("want a duration such as 500ms or 1h30m, got %s", quoted(text))
	}
	return d, nil
}
