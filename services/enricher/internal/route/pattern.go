// SPDX-License-Identifier: Apache-2.0

package route

import (
	"errors"
	"fmt"
	"strings"
)

// MaxPattern bounds the length of a pattern in bytes: it becomes the value of an attribute of every span.
const MaxPattern = 128

// Pattern is a compiled path pattern. Parameters are written as frameworks do: {id}, {id:int}, <id>, <int:id>, :id, :id(\d+), or "*".
// What is said about their values is not looked at: any will do that is not empty and has no slash. Letters may stand around one:
// "/report.{format}", "/users/{id}:activate", "/*.html". As the last segment, "*", "**", {path...}, {*path}, {path:path}, {path:.*}, <path:rest> and
// *path take whatever follows the slash, nothing included; {id?} and :id? may be missing; {$} is the end of the path.
type Pattern struct {
	text     string
	segments []glob
	rest     bool // takes whatever follows
	optional bool // the last segment may be missing
}

// Compile reads a pattern. The error says what is wrong with it, without naming it.
func Compile(text string) (Pattern, error) {
	switch {
	case !strings.HasPrefix(text, "/"):
		return Pattern{}, errors.New(`want a path pattern that begins with "/"`)
	case len(text) > MaxPattern:
		return Pattern{}, fmt.Errorf("want at most %d bytes, got %d", MaxPattern, len(text))
	}
	p := Pattern{text: text}
	for rest, more := text[1:], true; more; {
		var s segment
		var err error
		if s, rest, more, err = cutSegment(rest); err != nil {
			return Pattern{}, err
		}
		switch {
		case s.rest && more:
			return Pattern{}, fmt.Errorf("segment %q takes the rest of a path and may only be the last one", s.text)
		case s.optional && more:
			return Pattern{}, fmt.Errorf("segment %q may be missing and may only be the last one", s.text)
		case s.rest:
			p.rest = true
		default:
			p.segments, p.optional = append(p.segments, s.glob), s.optional
		}
	}
	return p, nil
}

// String returns the pattern as it was written; it is the route of the paths that it matches.
func (p Pattern) String() string { return p.text }

// glob is a segment of a pattern: the literal pieces between parameters, each of which is one byte at least. One piece is a literal.
type glob []string

func (g glob) match(s string) bool {
	last := len(g) - 1
	if last == 0 {
		return s == g[0]
	}
	if !strings.HasPrefix(s, g[0]) {
		return false
	}
	s = s[len(g[0]):]
	for _, piece := range g[1:last] {
		if s == "" {
			return false
		}
		at := strings.Index(s[1:], piece)
		if at < 0 {
			return false
		}
		s = s[1+at+len(piece):]
	}
	return len(s) > len(g[last]) && strings.HasSuffix(s, g[last])
}

// segment is a segment of a pattern as it was read.
type segment struct {
	text           string
	glob           glob
	rest, optional bool
}

// end says that nothing follows the slash.
const end = "{$}"

// cutSegment reads the first segment of text, and returns what follows its slash; more is false when there was none.
func cutSegment(text string) (s segment, rest string, more bool, err error) {
	s.glob = glob{""}
	i := 0
	for i < len(text) && text[i] != '/' {
		length, parameter := 1, false
		switch c := text[i]; {
		case c == '{' || c == '<':
			if length, err = s.bracketed(text, i); err != nil {
				return s, "", false, err
			}
			if parameter = text[i:i+length] != end; !parameter && i+length < len(text) {
				return s, "", false, fmt.Errorf("segment %q: %s may only end a pattern", upTo(text, "/"), end)
			}
		case c == ':' && i+1 < len(text) && isIdentifier(text[i+1]) && (i == 0 || strings.IndexByte("-._~", text[i-1]) >= 0):
			length, parameter = s.colon(text[i:]), true
		case c == '*':
			length, parameter = s.star(text[i:]), true
		case c == '?' || c == '#':
			return s, "", false, errors.New("a path has no query and no fragment: remove what begins with ? or #")
		case c == '}' || c == '>' && strings.IndexByte(text[:i], '<') < 0 || c == ':' && i == 0:
			return s, "", false, fmt.Errorf("segment %q is neither a name nor a parameter", upTo(text, "/"))
		}
		s.take(text[i:i+length], parameter)
		i += length
	}
	s.text = text[:i]
	if s.rest && len(s.glob) != 2 || (s.rest || s.optional) && (s.glob[0] != "" || s.glob[1] != "") {
		return s, "", false, fmt.Errorf("segment %q: what may be missing or takes the rest of a path stands for a whole segment", s.text)
	}
	if i == len(text) {
		return s, "", false, nil
	}
	return s, text[i+1:], true, nil
}

// take appends a literal or a parameter; two parameters in a row are one.
func (s *segment) take(text string, parameter bool) {
	last := len(s.glob) - 1
	switch {
	case !parameter && text != end:
		s.glob[last] += text
	case parameter && (last == 0 || s.glob[last] != ""):
		s.glob = append(s.glob, "")
	}
}

// bracketed reads a parameter in braces or angle brackets that begins at a place of text, and returns its length.
func (s *segment) bracketed(text string, at int) (length int, err error) {
	opening, closing := text[at], byte('}')
	if opening == '<' {
		closing = '>'
	}
	if length = enclosed(text[at:], opening, closing); length == 0 {
		return 0, fmt.Errorf("segment %q has no closing %q", upTo(text, "/"), string(closing))
	}
	name, kind, typed := strings.Cut(text[at+1:at+length-1], ":")
	if opening == '<' && typed {
		name, kind = kind, name
	}
	if strings.TrimSuffix(strings.TrimSuffix(strings.TrimLeft(name, "*"), "..."), "?") == "" {
		return 0, fmt.Errorf("parameter %q has no name", text[at:at+length])
	}
	s.rest = s.rest || strings.HasPrefix(name, "*") || strings.HasSuffix(name, "...") || kind == "path" || kind == ".*" || kind == ".+" || kind == "*"
	s.optional = s.optional || strings.HasSuffix(name, "?") || strings.HasSuffix(kind, "?") && isIdentifiers(kind[:len(kind)-1])
	return length, nil
}

// colon reads a parameter that begins with a colon, with what may follow its name, and returns its length.
func (s *segment) colon(text string) (length int) {
	length = 1
	for length < len(text) && isIdentifier(text[length]) {
		length++
	}
	if length < len(text) && text[length] == '(' {
		length += enclosed(text[length:], '(', ')')
	}
	if length < len(text) && text[length] == '?' {
		s.optional = true
		length++
	}
	return length
}

// star reads "*", "**" or, at the end of a pattern, "*name", and returns its length.
func (s *segment) star(text string) (length int) {
	if s.glob[0] != "" || len(s.glob) > 1 {
		return 1
	}
	length = 1 + len(text[1:]) - len(strings.TrimPrefix(text[1:], "*"))
	name := text[length:]
	if length == 2 && (name == "" || name[0] == '/') || name == "" || isIdentifiers(name) {
		s.rest = true
		return length + len(upTo(name, "/"))
	}
	return length
}

// enclosed returns the length of what is between an opening byte, the first of text, and its closing one, with these; 0 if it does not end.
func enclosed(text string, opening, closing byte) int {
	depth := 0
	for i := range len(text) {
		switch text[i] {
		case opening:
			depth++
		case closing:
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// upTo returns text up to where something begins, or all of it.
func upTo(text, stop string) string {
	before, _, _ := strings.Cut(text, stop)
	return before
}

// isIdentifier tells whether c may be in the name of a parameter without brackets.
func isIdentifier(c byte) bool { return isLetter(c) || isDigit(c) || c == '_' }

// isIdentifiers tells whether s is a name of such bytes.
func isIdentifiers(s string) bool {
	for i := range len(s) {
		if !isIdentifier(s[i]) {
			return false
		}
	}
	return s != ""
}
