// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/busbar/busbar/services/exporter/internal/otlp"
)

// Phase is how a destination does.
type Phase string

// The phases.
const (
	OK            Phase = "ok"
	Retrying      Phase = "retrying"      // the back end does not answer, fails, or asks to wait
	Refusing      Phase = "refusing"      // it answers that it does not want us: credentials, address, permission
	Full          Phase = "full"          // its stream is at its limit, and drops the oldest of what it has not taken
	Misconfigured Phase = "misconfigured" // it cannot even be tried: a secret, a certificate, a port
)

// phases lists them all.
func phases() []Phase { return []Phase{OK, Retrying, Refusing, Full, Misconfigured} }

// state is the phase of one destination, with its story.
type state struct {
	name    string
	log     *slog.Logger
	metrics *Metrics

	mu    sync.Mutex // guards what follows
	phase Phase
	since time.Time // when it was last OK, unless it is
	cause string

	pending uint64    // messages that wait, as last seen
	seen    time.Time // when that was
	oldest  time.Time // when the oldest of them was stored, if known
	dropped time.Time // when the stream was last seen to drop some
	full    time.Time // since when it does so; zero if it does not

	told   bool      // the present trouble was logged
	quiet  time.Time // none is logged before
	untold int       // troubles since the last one that was logged
}

// quietTime is how long after one trouble was logged the next one is. Behind a balancer with one dead back end of two, trouble
// comes and goes many times a second.
const quietTime = 10 * time.Second

func newState(name string, log *slog.Logger, m *Metrics) *state {
	s := &state{name: name, log: log, metrics: m, phase: OK}
	m.phase(name, OK)
	return s
}

// ok notes that the back end works.
func (s *state) ok() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == OK {
		return
	}
	if s.told {
		s.log.Info("destination works again", "was", string(s.phase), "for", time.Since(s.since).Round(time.Millisecond))
	}
	s.phase, s.cause, s.told = OK, "", false
	s.show()
}

// fails notes why the back end does not work now.
func (s *state) fails(phase Phase, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cause = err.Error()
	now := time.Now()
	if s.phase == OK {
		s.since = now
	}
	if s.phase != phase {
		s.phase, s.told = phase, false
		s.untold++
		s.show()
	}
	if s.told || now.Before(s.quiet) {
		return
	}
	attributes := []any{"state", string(phase), "error", err}
	if s.untold > 1 {
		attributes = append(attributes, "more", s.untold-1)
	}
	s.log.Warn("destination does not work", attributes...)
	s.told, s.quiet, s.untold = true, now.Add(quietTime), 0
}

// degraded tells an operator what does not work, "" if all is well.
func (s *state) degraded() string {
	at := s.status()
	if at.State == OK {
		return ""
	}
	return fmt.Sprintf("destination %s: %s since %s: %s", s.name, at.State, at.Since.UTC().Format(time.RFC3339), at.Cause)
}

// Status is how a destination does, for people and programs.
type Status struct {
	Name    string     `json:"name"`
	State   Phase      `json:"state"`
	Since   *time.Time `json:"since,omitempty"` // nil while it is ok
	Cause   string     `json:"cause,omitempty"`
	Pending uint64     `json:"pendingMessages"`
	Oldest  *time.Time `json:"oldest,omitempty"` // when the oldest of them was stored, if known
	Leaving bool       `json:"leaving,omitempty"`
}

func (s *state) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := Status{Name: s.name, State: s.phase, Pending: s.pending}
	if since := s.since.UTC(); s.phase != OK {
		at.Since, at.Cause = &since, s.cause
	}
	if oldest := s.oldest.UTC(); !s.oldest.IsZero() && s.pending > 0 {
		at.Oldest = &oldest
	}
	if since := s.full.UTC(); !s.full.IsZero() {
		at.State, at.Since = Full, &since
		at.Cause = strings.TrimSuffix("its stream is at its limit and drops the oldest messages; "+s.cause, "; ")
	}
	return at
}

// phaseOf is the phase that a failed attempt tells of.
func phaseOf(c otlp.Class) Phase {
	if c == otlp.Refused {
		return Refusing
	}
	return Retrying
}

// phaseOfOpening is the phase that a failure to open a destination tells of. It is ours to repair, unless the back end had a say.
func phaseOfOpening(err error) Phase {
	if e, ok := errors.AsType[*otlp.Error](err); ok {
		return phaseOf(e.Class)
	}
	return Misconfigured
}

// fullFor is how long a stream counts as full after it has dropped something.
const fullFor = 4 * lookEvery

// sees notes how many messages wait, since when, and whether the stream has dropped some since the last time.
func (s *state) sees(pending uint64, oldest time.Time, dropped bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.pending, s.oldest, s.seen = pending, oldest, now
	switch {
	case dropped && s.full.IsZero():
		s.full, s.dropped = now, now
		s.log.Warn("destination loses what it has not taken: its stream is at its limit")
	case dropped:
		s.dropped = now
	case !s.full.IsZero() && now.Sub(s.dropped) > fullFor:
		s.full = time.Time{}
	default:
		return
	}
	s.show()
}

// show puts the state in the metrics.
func (s *state) show() {
	if s.full.IsZero() {
		s.metrics.phase(s.name, s.phase)
	} else {
		s.metrics.phase(s.name, Full)
	}
}

// waits returns how many messages wait, and when that was seen.
func (s *state) waits() (pending uint64, seen time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending, s.seen
}
