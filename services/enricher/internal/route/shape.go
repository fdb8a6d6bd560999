// SPDX-License-Identifier: Apache-2.0

package route

import "strings"

const (
	// maxChildren is how many names may follow one another at one place; with more, they are values after all.
	maxChildren = 10
	// maxNodes bounds the places remembered per shape, some 200 bytes each. Beyond it new names become "*" and routes end there.
	maxNodes = 2000
)

// Set is a set of strings per key that replicas may share. AddBounded adds member unless that would make the set larger than
// limit; it tells whether the member is in the set now.
type Set interface {
	AddBounded(key, member string, limit int) bool
}

// shape is what the paths of one service look like: a trie of the names seen at each place. A place with too many names
// collapses: all of them become "*", for as long as the process lives. Which names those are is told to the Set, so that
// replicas agree on when to collapse.
//
// A request proves a name when the service answered it with success. Names that are not proven (a scanner tries thousands)
// are counted apart, and when they are too many they alone become "*": nobody can wipe out the routes of a service
// by asking it for what it has not.
type shape struct {
	key      string // of the sets
	set      Set    // nil: nothing is shared
	root     node
	nodes    int
	collapse int // places that collapsed so far; a route given earlier may be different now
}

type node struct {
	children map[string]*node
	values   *node // where "*" leads
	proven   int   // children with proof
	unproven int   // children without
	doubtful bool  // unproven children were too many
	full     bool  // all children were too many
	proof    bool  // this node itself has proof
}

// route puts together the route of a path that begins with "/".
func (s *shape) route(path string, proven bool) string {
	at := &s.root
	return assemble(path, func(place, segment string) (string, bool) {
		name := wildcard
		if isName(segment) {
			name = s.learn(at, place, segment, proven)
		}
		at = s.step(at, name)
		return name, at != nil
	})
}

// learn returns the name of a segment at a place: itself or "*".
func (s *shape) learn(at *node, place, segment string, proven bool) string {
	if at.full {
		return wildcard
	}
	child := at.children[segment]
	switch {
	case child == nil && !proven && at.doubtful, child == nil && s.nodes >= maxNodes:
		return wildcard
	case child != nil && (child.proof || !proven):
		return segment
	case proven:
		if at.proven == maxChildren || s.set != nil && !s.set.AddBounded(s.key+place, segment, maxChildren) {
			s.forget(at, func(*node) bool { return true })
			at.full = true
			s.collapse++
			return wildcard
		}
		at.proven++
	case at.unproven == maxChildren:
		s.forget(at, func(n *node) bool { return !n.proof })
		at.doubtful = true
		s.collapse++
		return wildcard
	default:
		at.unproven++
	}
	if child == nil {
		child = &node{}
		if at.children == nil {
			at.children = map[string]*node{}
		}
		at.children[strings.Clone(segment)] = child // the path it is cut from may be a piece of a large message
		s.nodes++
	} else {
		at.unproven--
	}
	child.proof = proven
	return segment
}

// step goes on to the place after name. It is nil when that would be too much to remember: there the route ends.
func (s *shape) step(at *node, name string) *node {
	if child := at.children[name]; child != nil {
		return child
	}
	if at.values == nil && s.nodes < maxNodes {
		at.values = &node{}
		s.nodes++
	}
	return at.values
}

// forget drops the children that are chosen, and all below them.
func (s *shape) forget(at *node, chosen func(*node) bool) {
	for name, child := range at.children {
		if chosen(child) {
			s.nodes -= child.size()
			delete(at.children, name)
		}
	}
}

// size counts n and all below it.
func (n *node) size() int {
	size := 1
	for _, child := range n.children {
		size += child.size()
	}
	if n.values != nil {
		size += n.values.size()
	}
	return size
}
