// SPDX-License-Identifier: Apache-2.0

package cumulative

import "github.com/cespare/xxhash/v2"

// recentIDs is how many messages of a shard are remembered. The stream itself does not store an id twice within two minutes; what is
// stored twice nevertheless is what was under way when the bus went away for longer, which is at most this.
const recentIDs = 1024

// recent remembers the ids of the newest messages as hashes, with the sequences that they were first stored at: a message
// that is read again is no repetition of itself.
type recent struct {
	first  map[uint64]uint64 // sequence by hash
	hashes []uint64          // in order of arrival, from next on once it is full
	next   int
}

// repeats tells whether a message with this id was stored before sequence, and notes it if not.
func (r *recent) repeats(id string, sequence uint64) bool {
	if id == "" {
		return false
	}
	h := xxhash.Sum64String(id)
	if first, ok := r.first[h]; ok {
		return first < sequence
	}
	r.note(h, sequence)
	return false
}

func (r *recent) note(h, sequence uint64) {
	if r.first == nil {
		r.first = make(map[uint64]uint64)
	}
	r.first[h] = sequence
	if len(r.hashes) < recentIDs {
		r.hashes = append(r.hashes, h)
		return
	}
	delete(r.first, r.hashes[r.next])
	r.hashes[r.next] = h
	r.next = (r.next + 1) % recentIDs
}

// list returns what is remembered, oldest first.
func (r *recent) list() (hashes, sequences []uint64) {
	hashes = append(append(hashes, r.hashes[r.next:]...), r.hashes[:r.next]...)
	for _, h := range hashes {
		sequences = append(sequences, r.first[h])
	}
	return hashes, sequences
}
