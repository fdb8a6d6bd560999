// SPDX-License-Identifier: Apache-2.0

package redact

import (
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

// keys are globs over the keys of attributes, in lower case, since keys are compared without regard to case.
type keys struct{ hide, bear, allow []string }

func (k *keys) any() bool { return len(k.hide)+len(k.bear)+len(k.allow) > 0 }

// judge decides about an attribute by its key and its path, which is the keys of the maps around it and its own, joined by dots.
func (k *keys) judge(key, path string) verdict {
	key, path = strings.ToLower(key), strings.ToLower(path)
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
