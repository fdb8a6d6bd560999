// SPDX-License-Identifier: Apache-2.0

package route

import (
	"cmp"
	"slices"
)

// join adds what another shape knows, which is used up.
func (s *shape) join(from *shape) {
	s.doubtful = s.doubtful || from.doubtful
	s.merge(&s.root, &from.root)
	s.settleAll()
	for route := range from.exact.routes {
		s.addExact(route)
	}
	if from.exact.full {
		s.fillExact()
	}
}

// settleAll settles every place, from the ends of the paths to their beginning.
func (s *shape) settleAll() {
	s.doubtful = s.doubtful || s.guesses > maxGuesses
	s.settleBehind(&s.root)
}

// settleBehind settles a place and all behind it.
func (s *shape) settleBehind(n *node) {
	for _, child := range n.names {
		s.settleBehind(child)
	}
	if n.values != nil {
		s.settleBehind(n.values)
	}
	s.settle(n)
}

// settle holds a place to what it may show. Names that it may not show any more become values.
func (s *shape) settle(at *node) {
	at.doubtful = at.doubtful || len(at.names) > maxNames
	least := guessed
	if at.doubtful || s.doubtful {
		least = known
	}
	at.full = at.full || at.atLeast(known) > maxNames
	if at.full {
		least = settled
	}
	var values []*node
	at.names = slices.DeleteFunc(at.names, func(n *node) bool {
		if n.standing < least {
			values = append(values, n)
			return true
		}
		return false
	})
	if len(at.names) > maxNames { // replicas that did not know of each other's settled too many; all take the same
		slices.SortFunc(at.names, byName)
		values = append(values, at.names[maxNames:]...)
		at.names = slices.Delete(at.names, maxNames, len(at.names))
	}
	for _, n := range values {
		if n.standing == guessed && n.seen > 0 {
			s.again(at, n.name) // its next success is not the first
		}
		s.toValues(at, n)
	}
}

func byName(a, b *node) int { return cmp.Compare(a.name, b.name) }

func (n *node) atLeast(least standing) (count int) {
	for _, child := range n.names {
		if child.standing >= least {
			count++
		}
	}
	return count
}

// toValues puts what is behind a name, which is no name of the place any more, to what is behind its values.
func (s *shape) toValues(at, n *node) {
	places, guesses := n.count()
	s.grow(-places, -guesses)
	if at.values == nil {
		n.name, n.standing = "", settled
		at.values = n
		n.placed(at)
		s.grow(n.count())
		return
	}
	s.merge(at.values, n)
	s.settleBehind(at.values)
}

// merge puts what is behind from, which is used up, to what is behind n, and leaves it unsettled.
func (s *shape) merge(n, from *node) {
	n.doubtful, n.full = n.doubtful || from.doubtful, n.full || from.full
	for _, child := range from.names {
		same := n.child(child.name)
		if same == nil {
			s.attach(n, child)
			continue
		}
		if child.standing > same.standing {
			s.raise(same, child.standing)
		}
		s.merge(same, child)
	}
	switch {
	case from.values == nil:
	case n.values == nil:
		n.values = from.values
		n.values.placed(n)
		s.grow(n.values.count())
	default:
		s.merge(n.values, from.values)
	}
}
