// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"slices"
)

// Examine loads like [Load] and runs checks, and reports the faults of both at once, in the order of files and positions.
// Checks see faulty resources too, as far as they could be read, so that a reference to one is not a fault of its own;
// what they say about a faulty resource is left out, for it may come of what could not be read.
func Examine(paths []string, kinds Kinds, checks ...func(*Set) Faults) (*Set, Faults) {
	sources, faults := read(paths)
	set, faults, faulty := assemble(sources, faults, kinds)
	var found Faults
	for _, check := range checks {
		for _, f := range check(set) {
			if !faulty[set.at(f)] {
				found = append(found, f)
			}
		}
	}
	if faults = append(faults, found...); len(faults) == 0 {
		return set, nil
	}
	slices.SortStableFunc(faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return set, slices.Compact(faults)
}

// at returns the resource in whose document a fault is, or nil.
func (s *Set) at(f Fault) (in *Resource) {
	for _, r := range s.Resources {
		if r.doc.src.Name == f.File && r.doc.root.Line <= f.Line {
			in = r // documents of a file are in order: the last one that begins before the fault has it
		}
	}
	return in
}
