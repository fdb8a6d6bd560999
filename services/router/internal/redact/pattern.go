// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// pattern masks what a regular expression matches.
type pattern struct {
	re   *regexp.Regexp
	with string // what stands there instead; "$1" is the first group of the match
	has  string // every match contains this; "" if no such text is known
}

func newPattern(expression, with string) (*pattern, error) {
	re, err := regexp.Compile(expression)
	if err != nil {
		return nil, err
	}
	if re.MatchString("") {
		return nil, errors.New("it matches where there is nothing")
	}
	if with == "" {
		with = Mask
	}
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return nil, err
	}
	return &pattern{re: re, with: with, has: required(parsed)}, nil
}

func (p *pattern) mask(text string) (string, int) {
	if !p.may(text) || !p.re.MatchString(text) {
		return text, 0
	}
	n := len(p.re.FindAllStringIndex(text, -1))
	return p.re.ReplaceAllString(text, p.with), n
}

// may tells whether there can be a match in a text, or in some part of it.
func (p *pattern) may(text string) bool { return strings.Contains(text, p.has) }

// required returns the longest text known to be in everything that an expression matches.
func required(re *syntax.Regexp) (longest string) {
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 {
			return string(re.Rune)
		}
	case syntax.OpConcat, syntax.OpCapture, syntax.OpPlus:
		for _, sub := range re.Sub {
			if text := required(sub); len(text) > len(longest) {
				longest = text
			}
		}
	case syntax.OpRepeat:
		if re.Min > 0 {
			return required(re.Sub[0])
		}
	default: // may match without
	}
	return longest
}

// offset is where in an expression, in characters, the fault is that made an error.
func offset(expression string, err error) int {
	fault, ok := errors.AsType[*syntax.Error](err)
	if !ok {
		return 0
	}
	at := strings.Index(expression, fault.Expr)
	if at < 0 {
		return 0
	}
	return utf8.RuneCountInString(expression[:at])
}
