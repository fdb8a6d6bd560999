// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"sync"
	"time"
)

// A message is hopeless when it has failed so often, each time with others taken since the last, over so long a time.
// The back end works then, and chokes on this one.
const (
	hopelessFailures = 20
	hopelessAfter    = 10 * time.Minute
)

// reasonUnavailable is why a hopeless message is a dead letter.
const reasonUnavailable = "unavailable"

// stubborn knows the messages that fail while others do not. It holds no more than may be under way, and forgets with the process.
type stubborn struct {
	mu    sync.Mutex
	taken uint64            // messages, so far
	tries map[uint64]*tries // by sequence
}

// tries are the failures of one message.
type tries struct {
	first time.Time
	taken uint64 // at the last one that counted
	count int
}

func newStubborn() *stubborn { return &stubborn{tries: map[uint64]*tries{}} }

// succeeded notes that a message was taken.
func (s *stubborn) succeeded(sequence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken++
	delete(s.tries, sequence)
}

// failed notes that a message was not taken, and tells whether it is hopeless.
func (s *stubborn) failed(sequence uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	t := s.tries[sequence]
	if t == nil {
		if len(s.tries) >= 2*maxAckPending { // others have gone, with another process
			clear(s.tries)
		}
		s.tries[sequence] = &tries{now, s.taken, 1}
		return false
	}
	if s.taken == t.taken {
		return false // nobody else got through either
	}
	t.taken = s.taken
	t.count++
	if t.count < hopelessFailures || now.Sub(t.first) < hopelessAfter {
		return false
	}
	delete(s.tries, sequence)
	return true
}
