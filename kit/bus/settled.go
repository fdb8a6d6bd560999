// SPDX-License-Identifier: Apache-2.0

package bus

// A server that is killed forgets the answers it has not written yet, and delivers their messages again when they have waited
// for AckWait; after several deaths, for several times that.
const (
	settledChunk  = 1024
	settledChunks = 64
	maxSettled    = settledChunks * settledChunk // messages of a stream: two minutes of 500 a second
)

// settled remembers which of the last messages of a stream need not come again, so that one that does is not handled again.
// It holds the time at which each was stored, at its sequence modulo maxSettled, and takes at most half a MiB.
type settled struct {
	chunks [settledChunks]*[settledChunk]int64
}

func (s *settled) has(at place) bool {
	chunk := s.chunks[at.sequence%maxSettled/settledChunk]
	return chunk != nil && chunk[at.sequence%settledChunk] == at.stored
}

func (s *settled) add(at place) {
	chunk := &s.chunks[at.sequence%maxSettled/settledChunk]
	if *chunk == nil {
		*chunk = new([settledChunk]int64)
	}
	(*chunk)[at.sequence%settledChunk] = at.stored
}
