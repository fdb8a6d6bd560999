// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/busbar/busbar/kit/bus"
)

const (
	retryPause   = time.Second     // after the bus refused a message for a reason that time may cure
	drainTimeout = 5 * time.Second // for what is left when the agent stops
	// messageBytes is what a message takes in memory besides its payload: headers, subject, id and list element.
	messageBytes = 1 << 10
)

// Publisher stores messages on the bus; *bus.Bus is one.
type Publisher interface {
	PublishAsync(msg bus.Msg, done func(error)) error
}

// spool holds messages between the agent, which never waits, and the bus, which may be away. It keeps up to limit bytes besides
// what the bus has in its own window; beyond that the oldest messages go, because fresh data is worth more, and are counted.
type spool struct {
	limit int
	out   Publisher
	lost  func(reason string, m bus.Msg)
	wake  chan struct{} // there is something to do; holds one token

	mu      sync.Mutex
	waiting list.List // of bus.Msg, oldest first
	bytes   int       // of waiting
	flying  int       // messages that the bus has and did not confirm
	resume  time.Time // nothing is sent before
	eager   bool      // run waits for flights to end: for room, or for the last one
}

func newSpool(limit int, out Publisher, lost func(reason string, m bus.Msg)) *spool {
	return &spool{limit: limit, out: out, lost: lost, wake: make(chan struct{}, 1)}
}

// put adds a message, which is sent at the next kick.
func (s *spool) put(m bus.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting.PushBack(m)
	s.bytes += cost(m)
	s.trim()
}

// trim drops the oldest messages until the rest is within the limit. The caller holds mu.
func (s *spool) trim() {
	for s.bytes > s.limit {
		s.lost("spool", s.pop())
	}
}

// pop takes the oldest message. The caller holds mu and knows that there is one.
func (s *spool) pop() bus.Msg {
	m, _ := s.waiting.Remove(s.waiting.Front()).(bus.Msg)
	s.bytes -= cost(m)
	return m
}

// cost is what a message counts against the limit. On a quiet machine most of it is no payload.
func cost(m bus.Msg) int { return messageBytes + len(m.Data) }

// size returns the bytes that wait.
func (s *spool) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

// run hands messages to the bus until ctx has ended and everything is stored, but not for longer than drainTimeout then.
func (s *spool) run(ctx context.Context) {
	stop := ctx.Done()
	var deadline <-chan time.Time
	for {
		var again <-chan time.Time
		if pause := s.send(stop == nil); pause > 0 {
			again = time.After(pause)
		}
		if stop == nil && s.empty() {
			return
		}
		select {
		case <-s.wake:
		case <-again:
		case <-stop:
			stop, deadline = nil, time.After(drainTimeout)
		case <-deadline:
			s.abandon()
			return
		}
	}
}

// send hands over what the bus takes. It returns after how long to try again at the latest; zero means when something happens.
// With last set nothing will follow.
func (s *spool) send(last bool) time.Duration {
	for {
		s.mu.Lock()
		s.eager = last || s.waiting.Len() > 0
		pause := time.Until(s.resume)
		if pause > 0 || s.waiting.Len() == 0 {
			s.mu.Unlock()
			return max(pause, 0)
		}
		m := s.pop()
		s.flying++
		s.mu.Unlock()
		err := s.out.PublishAsync(m, func(err error) {
			if s.finish(m, err) {
				s.kick()
			}
		})
		if err != nil {
			s.finish(m, err)
		}
		if errors.Is(err, bus.ErrWindowFull) {
			return retryPause // the end of another flight wakes us before
		}
	}
}

// finish ends the flight of a message: it is stored, or hopeless, or to be tried again before all others. It tells whether run
// has something to do about it; waking it for each message would cost more than the rest of the message's way.
func (s *spool) finish(m bus.Msg, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flying--
	switch {
	case err == nil:
		return s.eager
	case errors.Is(err, bus.ErrTooLarge):
		s.lost("too_large", m)
		return s.eager
	case errors.Is(err, bus.ErrClosed):
		s.lost("shutdown", m)
		return s.eager
	case !errors.Is(err, bus.ErrWindowFull):
		s.resume = time.Now().Add(retryPause)
	}
	s.waiting.PushFront(m)
	s.bytes += cost(m)
	s.trim()
	return true
}

func (s *spool) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting.Len() == 0 && s.flying == 0
}

// abandon counts what no time is left for. What is in flight is the bus's to finish; it calls back before it closes.
func (s *spool) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.waiting.Len() > 0 {
		s.lost("shutdown", s.pop())
	}
}

// kick has what waits sent.
func (s *spool) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
