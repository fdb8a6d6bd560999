// SPDX-License-Identifier: Apache-2.0

package route

import (
	"errors"
	"fmt"
	"strings"
)

// MaxPattern bounds the length of a pattern in bytes: it becomes the value of an attribute of every span.
const MaxPattern = 128

// Pattern is a compiled path pattern: "/users/{id}" and "/users/:id" match any one segment in place of the name, so does a
// segment "*", and a pattern that ends in "/*" or "/**" matches whatever follows the slash, nothing included.
type Pattern struct {
	text     string
	segments []string // "*" for any one
	prefix   bool
}

// Compile reads a pattern. The error says what is wrong with it, without naming it.
func Compile(text string) (Pattern, error) {
	switch {
	case !strings.HasPrefix(text, "/"):
		return Pattern{}, errors.New(`want a path pattern that begins with "/"`)
	case len(text) > MaxPattern:
		return Pattern{}, fmt.Errorf("want at most %d bytes, got %d", MaxPattern, len(text))
	case strings.ContainsAny(text, "?#"):
		return Pattern{}, errors.New("a path has no query and no fragment: remove what begins with ? or #")
	}
	p := Pattern{text: text, segments: strings.Split(text[1:], "/")}
	last := len(p.segments) - 1
	if s := p.segments[last]; s == "*" || s == "**" {
		p.segments, p.prefix = p.segments[:last], true
	}
	for i, s := range p.segments {
		name, err := compileSegment(s)
		if err != nil {
			return Pattern{}, err
		}
		p.segments[i] = name
	}
	return p, nil
}

// compileSegment returns a literal segment as it is, and "*" for one that matches any.
func compileSegment(s string) (string, error) {
	name, braced := strings.CutPrefix(s, "{")
	if braced {
		var closed bool
		if name, closed = strings.CutSuffix(name, "}"); !closed {
			return "", fmt.Errorf("segment %q has no closing brace at its end", s)
		}
	} else if name, braced = strings.CutPrefix(s, ":"); !braced {
		name = s
	}
	switch {
	case braced && name == "":
		return "", fmt.Errorf("segment %q has no name", s)
	case strings.ContainsAny(name, "{}"):
		return "", fmt.Errorf("segment %q is neither a name nor a parameter", s)
	case braced || s == "*":
		return wildcard, nil
	case s == "**":
		return "", errors.New(`"**" may only be the last segment`)
	case strings.Contains(s, "*"):
		return "", fmt.Errorf(`segment %q: "*" stands for a whole segment`, s)
	}
	return s, nil
}

// Match tells whether the pattern matches a path that begins with "/".
func (p Pattern) Match(path string) bool {
	rest := path
	for _, want := range p.segments {
		if rest == "" {
			return false
		}
		rest = rest[1:] // the slash
		end := strings.IndexByte(rest, '/')
		if end < 0 {
			end = len(rest)
		}
		got := rest[:end]
		rest = rest[end:]
		if got != want && (want != wildcard || got == "") {
			return false
		}
	}
	if p.prefix {
		return rest != ""
	}
	return rest == ""
}

// String returns the pattern as it was written; it is the route of the paths that it matches.
func (p Pattern) String() string { return p.text }

// first returns the first pattern that matches path.
func first(patterns []Pattern, path string) (string, bool) {
	for _, p := range patterns {
		if p.Match(path) {
			return p.text, true
		}
	}
	return "", false
}
