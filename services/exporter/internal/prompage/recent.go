// SPDX-License-Identifier: Apache-2.0

package prompage

import "hash/maphash"

// recentIDs is how many requests are remembered. The bus redelivers within half a minute of a death, and publishers repeat
// within the two minutes of a stream's own deduplication: this covers 500 requests per second.
const recentIDs = 1 << 16

// recent remembers the latest ids, as hashes: two of them agree by chance once in 10^14.
type recent struct {
	seed maphash.Seed
	seen map[uint64]struct{}
	ring []uint64 // in order of arrival, from next on once it is full
	next int
}

func newRecent() recent {
	return recent{seed: maphash.MakeSeed(), seen: make(map[uint64]struct{})}
}

func (r *recent) has(id string) bool {
	_, ok := r.seen[maphash.String(r.seed, id)]
	return ok
}

// add remembers id in place of the oldest.
func (r *recent) add(id string) {
	h := maphash.String(r.seed, id)
	r.seen[h] = struct{}{}
	if len(r.ring) < recentIDs {
		r.ring = append(r.ring, h)
		return
	}
	delete(r.seen, r.ring[r.next])
	r.ring[r.next] = h
	r.next = (r.next + 1) % recentIDs
}
