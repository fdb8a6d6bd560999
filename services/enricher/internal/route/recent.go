// SPDX-License-Identifier: Apache-2.0

package route

import "hash/maphash"

// recent remembers names that are not shown and succeeded once, to know them when they succeed again before a few hundred others of their kind
// have. It holds hashes, the newer one taking the place of an older one. Nobody can tell which names share a hash.
type recent struct {
	seed   maphash.Seed
	hashes [1024]uint64
}

// again tells whether the success of a name at a place is not its first.
func (s *shape) again(at *node, name string) bool {
	if s.recent == nil {
		s.recent = &recent{seed: maphash.MakeSeed()}
	}
	const odd = 0x9e3779b97f4a7c15
	hash := maphash.String(s.recent.seed, at.route)*odd + maphash.String(s.recent.seed, name)
	slot := &s.recent.hashes[hash%uint64(len(s.recent.hashes))]
	before := *slot
	*slot = hash
	return before == hash
}
