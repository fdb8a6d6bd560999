// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/busbar/busbar/services/exporter/internal/otlp"
)

// The pace of tries while a back end fails. The bounds keep recovery within a couple of seconds of the back end's return, at
// the price of one request every other second; one that refuses us waits for a person, so it is asked less often.
const (
	firstWait   = 100 * time.Millisecond
	maxWait     = 2 * time.Second
	refusedWait = 5 * time.Second
)

// gate lets workers through to a back end: all of them while it works, and one at a time, with growing pauses, while it does
// not. The first answer that is no failure opens it again.
type gate struct {
	mu       sync.Mutex // guards what follows
	failures int        // in a row; 0 means open
	until    time.Time  // when the next may try
	trying   bool       // one does now
	changed  chan struct{}
}

func newGate() *gate { return &gate{changed: make(chan struct{})} }

// pass is the leave to make one attempt.
type pass struct {
	g     *gate
	probe bool // the only one allowed at this time
}

// enter waits for leave to make an attempt, which the caller ends with one of the methods of pass. It fails when ctx ends.
func (g *gate) enter(ctx context.Context) (pass, error) {
	for {
		g.mu.Lock()
		wait := time.Until(g.until)
		switch {
		case g.failures == 0:
			g.mu.Unlock()
			return pass{g, false}, ctx.Err()
		case !g.trying && wait <= 0 && ctx.Err() == nil:
			g.trying = true
			g.mu.Unlock()
			return pass{g, true}, nil
		}
		changed := g.changed
		if g.trying {
			wait = time.Hour // until that attempt ends
		}
		g.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return pass{}, ctx.Err()
		}
	}
}

// succeed opens the gate: the back end answers.
func (p pass) succeed() {
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	if p.g.failures > 0 || p.probe {
		p.g.failures, p.g.trying = 0, false
		p.g.wake()
	}
}

// fail closes the gate for a while, which it returns. Attempts that were under way when the gate closed say nothing new.
func (p pass) fail(class otlp.Class, after time.Duration) time.Duration {
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	if p.g.failures > 0 && !p.probe && after == 0 {
		return max(time.Until(p.g.until), firstWait)
	}
	wait := after
	if wait == 0 {
		limit := maxWait
		if class == otlp.Refused {
			limit = refusedWait
		}
		wait = pause(p.g.failures, limit)
	}
	p.g.failures++
	p.g.until = time.Now().Add(wait)
	p.g.trying = p.g.trying && !p.probe
	p.g.wake()
	return wait
}

// abandon gives the leave back, the attempt having been cut short.
func (p pass) abandon() {
	if p.probe {
		p.g.mu.Lock()
		defer p.g.mu.Unlock()
		p.g.trying = false
		p.g.wake()
	}
}

// wake has those who wait look again.
func (g *gate) wake() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// pause doubles from firstWait with each failure up to the limit, less up to a fifth so that many do not try together.
func pause(failures int, limit time.Duration) time.Duration {
	d := limit
	if failures < 16 {
		d = min(firstWait<<failures, limit)
	}
	return d - rand.N(d/5)
}
