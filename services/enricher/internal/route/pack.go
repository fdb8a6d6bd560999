// SPDX-License-Identifier: Apache-2.0

package route

import (
	"bytes"
	"maps"
	"slices"

	routev1 "github.com/busbar/busbar/contract/route/v1"
)

// maxUnpacked bounds the places of a shape that is read: replicas that do not know of each other may have learned more than maxPlaces together.
const maxUnpacked = 4 * maxPlaces

// pack returns a shape as it is stored: the same bytes for what is the same.
func (s *shape) pack() *routev1.Shape {
	return &routev1.Shape{
		Root: s.root.pack(), Doubtful: s.doubtful,
		Exact: slices.Sorted(maps.Keys(s.exact.routes)), ExactFull: s.exact.full,
	}
}

func (n *node) pack() *routev1.Place {
	p := &routev1.Place{Name: n.name, Standing: routev1.Place_Standing(n.standing), Doubtful: n.doubtful, Full: n.full}
	for _, child := range slices.SortedFunc(slices.Values(n.names), byName) {
		p.Names = append(p.Names, child.pack())
	}
	if n.values != nil {
		p.Values = n.values.pack()
	}
	return p
}

// unpack adds what a stored shape has to an empty one, and leaves out what no shape can have.
func (s *shape) unpack(from *routev1.Shape) {
	s.doubtful = from.GetDoubtful()
	s.unpackBehind(&s.root, from.GetRoot(), 0)
	for _, route := range from.GetExact() {
		s.addExact(route)
	}
	if from.GetExactFull() {
		s.fillExact()
	}
	s.settleAll()
}

func (s *shape) unpackBehind(n *node, from *routev1.Place, depth int) {
	n.doubtful, n.full = from.GetDoubtful(), from.GetFull()
	if depth == maxSegments {
		return
	}
	for _, p := range from.GetNames() {
		if name := p.GetName(); name == "" || len(name) > maxName || n.child(name) != nil || s.places >= maxUnpacked {
			continue
		}
		child := &node{name: p.GetName(), standing: standing(min(max(p.GetStanding(), 0), routev1.Place_STANDING_SETTLED))}
		s.attach(n, child)
		s.unpackBehind(child, p, depth+1)
	}
	if from.GetValues() != nil && s.places < maxUnpacked {
		s.addValues(n)
		s.unpackBehind(n.values, from.GetValues(), depth+1)
	}
}

// same tells whether two packed shapes have learned the same.
func same(a, b *routev1.Shape) bool {
	x, errX := a.MarshalVT()
	y, errY := b.MarshalVT()
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
