// SPDX-License-Identifier: Apache-2.0

package route

import (
	"math"
	"strings"
)

// matcher finds the first of many patterns that matches a path, in time that hardly grows with their number. The zero value has
// none.
type matcher struct {
	patterns []string
	root     branch
}

// branch is a place in the patterns. Indexes are those of patterns, none when there is none.
type branch struct {
	literal map[string]*branch
	globs   []globBranch
	end     int // of the pattern that ends here
	rest    int // of the pattern that takes whatever follows
	least   int // of all that are here and below
}

type globBranch struct {
	glob glob
	to   *branch
}

const none = math.MaxInt

func newMatcher(patterns []Pattern) matcher {
	m := matcher{root: branch{end: none, rest: none, least: none}}
	for i, p := range patterns {
		m.patterns = append(m.patterns, p.text)
		m.root.add(p.segments, p.rest, i)
		if p.optional {
			m.root.add(p.segments[:len(p.segments)-1], false, i)
		}
	}
	return m
}

func (b *branch) add(segments []glob, rest bool, index int) {
	b.least = min(b.least, index)
	switch {
	case len(segments) > 0:
		b.to(segments[0]).add(segments[1:], rest, index)
	case rest:
		b.rest = min(b.rest, index)
	default:
		b.end = min(b.end, index)
	}
}

// to returns where a segment leads.
func (b *branch) to(g glob) *branch {
	fresh := &branch{end: none, rest: none, least: none}
	if len(g) == 1 {
		if b.literal == nil {
			b.literal = map[string]*branch{}
		}
		if b.literal[g[0]] == nil {
			b.literal[g[0]] = fresh
		}
		return b.literal[g[0]]
	}
	for _, known := range b.globs {
		if strings.Join(known.glob, "*") == strings.Join(g, "*") {
			return known.to
		}
	}
	b.globs = append(b.globs, globBranch{g, fresh})
	return fresh
}

// first returns the first pattern that matches a path, which begins with "/".
func (m *matcher) first(path string) (pattern string, ok bool) {
	if len(m.patterns) == 0 {
		return "", false
	}
	if i := m.root.match(path, none); i != none {
		return m.patterns[i], true
	}
	return "", false
}

// match returns the least index below best of a pattern that matches rest, or else best.
func (b *branch) match(rest string, best int) int {
	if b.least >= best {
		return best
	}
	if rest == "" {
		return min(best, b.end)
	}
	best = min(best, b.rest)
	segment := upTo(rest[1:], "/")
	after := rest[1+len(segment):]
	if to := b.literal[segment]; to != nil {
		best = to.match(after, best)
	}
	for _, g := range b.globs {
		if g.to.least < best && g.glob.match(segment) {
			best = g.to.match(after, best)
		}
	}
	return best
}
