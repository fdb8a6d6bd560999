// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"slices"
	"strings"

	"github.com/busbar/busbar/services/router/internal/glob"
)

// verdict is what becomes of an attribute because of its key.
type verdict uint8

const (
	look  verdict = iota // its texts are looked into
	allow                // it stays as it is
	hide                 // it is masked or removed as a whole, whatever it holds
	bear                 // it holds a credential
)

// keys are globs over the keys of attributes, in lower case, since keys are compared without regard to the case of a to z.
type keys struct {
	hide, bear, allow []string
	signs             []sign // of hide and bear: one of them is in every key that matches
}

func (k *keys) any() bool { return len(k.hide)+len(k.bear)+len(k.allow) > 0 }

// compile finds the signs.
func (k *keys) compile() {
	for _, g := range slices.Concat(k.hide, k.bear) {
		if s := newSign(g); !slices.Contains(k.signs, s) {
			k.signs = append(k.signs, s)
		}
	}
}

// may tells cheaply whether an encoded payload can have an attribute that is hidden because of its key.
func (k *keys) may(text string) bool {
	return slices.ContainsFunc(k.signs, func(s sign) bool { return s.in(text) })
}

// sign is a text in lower case that every key has that matches a glob: its longest part without "*", "?" and ".", for a dot may lie
// between the keys of two maps. It is looked for by its rarest letter.
type sign struct {
	text string
	rare int // place of that letter
}

// rarest are letters, those that are rarest in telemetry first.
const rarest = "zqjxkwvbygfmhulcdpniorsat"

func newSign(glob string) (s sign) {
	for part := range strings.FieldsFuncSeq(glob, func(c rune) bool { return c == '*' || c == '?' || c == '.' }) {
		if len(part) > len(s.text) {
			s.text = part
		}
	}
	for _, letter := range rarest {
		if at := strings.IndexRune(s.text, letter); at >= 0 {
			s.rare = at
			break
		}
	}
	return s
}

// in tells whether a text has the sign, in any case.
func (s sign) in(text string) bool {
	if s.text == "" {
		return true
	}
	letter := s.text[s.rare]
	variants := []byte{letter}
	if 'a' <= letter && letter <= 'z' {
		variants = append(variants, letter-('a'-'A'))
	}
	for _, v := range variants {
		for i := s.rare; i < len(text); i++ {
			next := strings.IndexByte(text[i:], v)
			if next < 0 {
				break
			}
			i += next
			if from := i - s.rare; from+len(s.text) <= len(text) && equalFold(text[from:from+len(s.text)], s.text) {
				return true
			}
		}
	}
	return false
}

// equalFold tells whether a text is what is in lower case and as long, in any case.
func equalFold(text, lower string) bool {
	for i := range len(lower) {
		if small(text[i]) != lower[i] {
			return false
		}
	}
	return true
}

// fold makes A to Z small, and leaves all else as it is.
func fold(s string) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = small(c)
	}
	return string(b)
}

func small(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// judge decides about an attribute by its key and its path, which is the keys of the maps around it and its own, joined by dots.
func (k *keys) judge(key, path string) verdict {
	key, path = fold(key), fold(path)
	matches := func(globs []string) bool {
		for _, g := range globs {
			if glob.Match(g, key) || glob.Match(g, path) {
				return true
			}
		}
		return false
	}
	switch {
	case matches(k.allow):
		return allow
	case matches(k.hide):
		return hide
	case matches(k.bear):
		return bear
	}
	return look
}

// judge remembers verdicts while it works on one payload, where the same keys come again and again, and knows where it is.
type judge struct {
	keys *keys
	path []byte
	of   map[string]verdict // by path
}

// What a judge remembers is bounded: the keys of a payload may all be different, and long.
const (
	maxVerdicts = 1000
	maxPath     = 200
)

// enter goes to an attribute of the map where the judge is; leave, with what it returns, back to the map.
func (j *judge) enter(key string) (v verdict, leave int) {
	if !j.keys.any() {
		return look, 0
	}
	leave = len(j.path)
	if leave > 0 {
		j.path = append(j.path, '.')
	}
	j.path = append(j.path, key...)
	v, known := j.of[string(j.path)]
	if known {
		return v, leave
	}
	path := string(j.path)
	v = j.keys.judge(key, path)
	if j.of == nil {
		j.of = map[string]verdict{}
	}
	if len(j.of) < maxVerdicts && len(path) <= maxPath {
		j.of[path] = v
	}
	return v, leave
}

func (j *judge) leave(to int) { j.path = j.path[:to] }
