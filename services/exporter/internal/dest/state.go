// SPDX-License-Identifier: Apache-2.0

package dest

import (
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
}

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
	s.log.Info("destination works again", "was", string(s.phase), "for", time.Since(s.since).Round(time.Millisecond))
	s.phase, s.cause = OK, ""
	s.metrics.phase(s.name, OK)
}

// fails notes why the back end does not work now.
func (s *state) fails(phase Phase, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cause = err.Error()
	if s.phase == phase {
		return
	}
	if s.phase == OK {
		s.since = time.Now()
	}
	s.phase = phase
	s.metrics.phase(s.name, phase)
	s.log.Warn("destination does not work", "state", string(phase), "error", err)
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

func (s *state) get() Phase {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase
}
