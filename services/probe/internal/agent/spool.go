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
	lost  func(reason string, items int)
	wake  chan struct{} // told of new messages and of finished ones; holds one token

	mu      sync.Mutex
	waiting list.List // of bus.Msg, oldest first
	bytes   int       // of waiting
	flying  int       // messages that the bus has and did not confirm
	resume  time.Time // nothing is sent before
}

func newSpool(limit int, out Publisher, lost func(reason string, items int)) *spool {
	return &spool{limit: limit, out: out, lost: lost, wake: make(chan struct{}, 1)}
}

// put adds a message.
func (s *spool) put(m bus.Msg) {
	s.mu.Lock()
	s.waiting.PushBack(m)
	s.bytes += len(m.Data)
	s.trim()
	s.mu.Unlock()
	s.signal()
}

// trim drops the oldest messages until the rest is within the limit. The caller holds mu.
func (s *spool) trim() {
	for s.bytes > s.limit {
		s.lost("spool", s.pop().Items)
	}
}

// pop takes the oldest message. The caller holds mu and knows that there is one.
func (s *spool) pop() bus.Msg {
	m, _ := s.waiting.Remove(s.waiting.Front()).(bus.Msg)
	s.bytes -= len(m.Data)
	return m
}

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
		if pause := s.send(); pause > 0 {
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
func (s *spool) send() time.Duration {
	for {
		s.mu.Lock()
		pause := time.Until(s.resume)
		if pause > 0 || s.waiting.Len() == 0 {
			s.mu.Unlock()
			return max(pause, 0)
		}
		m := s.pop()
		s.flying++
		s.mu.Unlock()
		err := s.out.PublishAsync(m, func(err error) { s.finish(m, err); s.signal() })
		if err != nil {
			s.finish(m, err)
		}
		if errors.Is(err, bus.ErrWindowFull) {
			return retryPause // the end of another flight wakes us before
		}
	}
}

// finish ends the flight of a message: it is stored, or hopeless, or to be tried again before all others.
func (s *spool) finish(m bus.Msg, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flying--
	switch {
	case err == nil:
		return
	case errors.Is(err, bus.ErrTooLarge):
		s.lost("too_large", m.Items)
		return
	case errors.Is(err, bus.ErrClosed):
		s.lost("shutdown", m.Items)
		return
	case !errors.Is(err, bus.ErrWindowFull):
		s.resume = time.Now().Add(retryPause)
	}
	s.waiting.PushFront(m)
	s.bytes += len(m.Data)
	s.trim()
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
		s.lost("shutdown", s.pop().Items)
	}
}

func (s *spool) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
