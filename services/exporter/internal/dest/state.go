// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"errors"
	"fmt"
	"log/slog"
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
	Misconfigured Phase = "misconfigured" // it cannot even be tried: a secret, a certificate, a port
)

// phases lists them all.
func phases() []Phase { return []Phase{OK, Retrying, Refusing, Misconfigured} }

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
	s.metrics.phase(s.name, OK)
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
		s.metrics.phase(s.name, phase)
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == OK {
		return ""
	}
	return fmt.Sprintf("destination %s: %s since %s: %s", s.name, s.phase, s.since.UTC().Format(time.RFC3339), s.cause)
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

func (s *state) get() Phase {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase
}

// sees notes how many messages wait.
func (s *state) sees(pending uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending, s.seen = pending, time.Now()
}

// waits returns how many messages wait, and when that was seen.
func (s *state) waits() (pending uint64, seen time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending, s.seen
}
