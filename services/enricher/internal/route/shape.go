// SPDX-License-Identifier: Apache-2.0

package route

import (
	"strings"
	"sync/atomic"
)

const (
	// maxSegments is the depth of a route that was not declared; what is deeper becomes one "*".
	maxSegments = 10
	// maxName is the length of a name in bytes; what is longer is a value.
	maxName = 64
	// MaxRoute is the length of a route in bytes, whatever it comes from.
	MaxRoute = maxSegments*(1+maxName) + 2
	// maxNames is how many names are shown at one place.
	maxNames = 10
	// maxGuesses is how many names of a shape are shown that are not known.
	maxGuesses = 200
	// maxPlaces is how many places a shape remembers, some 300 bytes each. Beyond it new names become "*" and routes end there.
	maxPlaces = 1000
	// maxTotal is the same over all shapes.
	maxTotal = 100_000
	// knownAfter is how many requests for a name have to succeed until it counts as known, and settledAfter until it stays for good, by the
	// count of one replica.
	knownAfter, settledAfter = 2, 100
)

// standing is how sure it is that a segment is a name that the service has, and not a value that somebody brought.
type standing uint8

const (
	guessed standing = iota // seen
	known                   // asked for with success, more than once
	settled                 // so often that it stays whatever others come
)

// shape is what the paths of one side of a service look like: a trie of names.
//
// A place shows at most maxNames names. As long as no more were ever seen there, each of them is shown from the first time. After that
// the place is doubtful, and only those are shown which are known: nobody can wipe out the routes of a service by asking it for what
// it has not. When more are known than may be shown, the place is full: they are values after all, all of them become "*", and what was
// learned behind them is put together. Only those stay that had settled before, so that neither can somebody who asks
// a service that answers everything with success.
//
// All of that only ever goes one way, and joining two shapes (see join) gives what one would be that had seen what both
// have seen. So replicas that exchange their shapes end up with the same one, in whatever order they do, and as
// long as no place is doubtful it is one that hardly depends on what they saw in which order.
type shape struct {
	root     node
	doubtful bool // guesses were too many over all places; none is shown any more
	places   int  // nodes besides the root
	guesses  int  // of these, how many are guessed
	exact    exact
	total    *atomic.Int64 // places of all shapes
	recent   *recent       // names that are not shown, once there are any
	changed  bool          // there is something that others do not know
}

type node struct {
	name     string
	route    string // that ends here; "" at the root
	rest     string // that goes on here into what is not remembered, once that was needed
	names    []*node
	values   *node // where "*" leads
	standing standing
	seen     uint8 // successes, up to settledAfter
	doubtful bool  // more names were seen here than are shown
	full     bool  // more names are known here than are shown
}

// route returns the route of a path that begins with "/". Proven says that the service answered with success.
func (s *shape) route(path string, proven bool) string {
	at, depth := &s.root, 0
	for path != "" {
		segment := upTo(path[1:], "/")
		path = path[1+len(segment):]
		if segment = upTo(segment, ";"); segment == "" { // a parameter (";jsessionid=...") is no part of a segment
			continue
		}
		next := (*node)(nil)
		if depth < maxSegments {
			next = s.step(at, segment, proven)
		}
		if next == nil {
			return at.unremembered()
		}
		at, depth = next, depth+1
	}
	if at.route == "" {
		return "/"
	}
	return at.route
}

// unremembered returns the route of all that goes on behind n in ways that are not remembered.
func (n *node) unremembered() string {
	if n.rest == "" {
		n.rest = n.route + "/" + wildcard
	}
	return n.rest
}

// step goes on from a place by a segment. It returns nil when that would be too much to remember.
func (s *shape) step(at *node, segment string, proven bool) *node {
	if child := at.child(segment); child != nil {
		if proven && child.seen < settledAfter {
			return s.confirm(at, child)
		}
		return child
	}
	if at.full || len(segment) > maxName || !isName(segment) || !s.room() {
		return s.value(at)
	}
	standing, seen := guessed, uint8(0)
	if at.doubtful || s.doubtful {
		if !proven || !s.again(at, segment) {
			return s.value(at)
		}
		standing, seen = known, knownAfter
	} else if proven {
		seen = 1
	}
	// The path that the name is cut from may be a piece of a large message.
	child := &node{name: strings.Clone(segment), standing: standing, seen: seen}
	s.attach(at, child)
	s.changed = true
	return s.shown(at, child)
}

func (n *node) child(name string) *node {
	for _, child := range n.names {
		if child.name == name {
			return child
		}
	}
	return nil
}

// value goes on from a place by a segment that is no name.
func (s *shape) value(at *node) *node {
	if at.values == nil {
		if !s.room() {
			return nil
		}
		s.addValues(at)
		s.changed = true
	}
	return at.values
}

func (s *shape) addValues(at *node) {
	at.values = &node{standing: settled}
	at.values.placed(at)
	s.grow(1, 0)
}

// confirm counts a success of a name.
func (s *shape) confirm(at, child *node) *node {
	child.seen++
	switch {
	case child.seen >= settledAfter && child.standing < settled:
		s.raise(child, settled)
	case child.seen >= knownAfter && child.standing < known:
		s.raise(child, known)
		return s.shown(at, child)
	}
	return child
}

func (s *shape) raise(n *node, to standing) {
	if n.standing == guessed {
		s.grow(0, -1)
	}
	n.standing, s.changed = to, true
}

// shown settles a place at which child is new or known now, and returns where its name leads after that.
func (s *shape) shown(at, child *node) *node {
	if s.guesses > maxGuesses {
		s.settleAll()
	} else if len(at.names) > maxNames || at.doubtful {
		s.settle(at)
	}
	if child = at.child(child.name); child != nil {
		return child
	}
	return s.value(at)
}

// room tells whether another place may be remembered.
func (s *shape) room() bool { return s.places < maxPlaces && s.total.Load() < maxTotal }

func (s *shape) grow(places, guesses int) {
	s.places += places
	s.guesses += guesses
	s.total.Add(int64(places))
}

// attach makes child a name of a place.
func (s *shape) attach(at, child *node) {
	at.names = append(at.names, child)
	child.placed(at)
	s.grow(child.count())
}

// placed gives a node, and all behind it, the routes that come of its being at a place.
func (n *node) placed(at *node) {
	n.rest = ""
	if n.route = at.route + "/" + n.name; n.name == "" {
		n.route += wildcard
	}
	for _, child := range n.names {
		child.placed(n)
	}
	if n.values != nil {
		n.values.placed(n)
	}
}

// count counts n and all behind it, and how many of these are guessed.
func (n *node) count() (places, guesses int) {
	places = 1
	if n.standing == guessed {
		guesses = 1
	}
	behind := func(child *node) {
		p, g := child.count()
		places, guesses = places+p, guesses+g
	}
	for _, child := range n.names {
		behind(child)
	}
	if n.values != nil {
		behind(n.values)
	}
	return places, guesses
}
