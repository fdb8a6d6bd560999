// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/busbar/busbar/services/exporter/internal/otlp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func enter(t *testing.T, g *gate) pass {
	t.Helper()
	p, err := g.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestGateLetsOneTryWhileItFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		// An outage of ten minutes under eight workers, each of which comes back at once.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		attempts := make(chan int, 8)
		for range 8 {
			go func() {
				n := 0
				for {
					p, err := g.enter(ctx)
					if err != nil {
						attempts <- n
						return
					}
					n++
					p.fail(otlp.Unavailable, 0)
				}
			}()
		}
		total := 0
		for range 8 {
			total += <-attempts
		}
		// One try every two seconds, less the jitter, and a few more at the start.
		if total < 300 || total > 400 {
			t.Errorf("%d attempts in ten minutes", total)
		}
	})
}

func TestGateOpensForAllWithTheFirstSuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		for range 20 {
			enter(t, g).fail(otlp.Unavailable, 0)
		}
		began, in := time.Now(), make(chan pass, 5)
		for range 5 {
			go func() { p, _ := g.enter(t.Context()); in <- p }()
		}
		first := <-in
		if waited := time.Since(began); waited > maxWait {
			t.Errorf("the first try came after %v, want at most %v", waited, maxWait)
		}
		synctest.Wait()
		if len(in) > 0 {
			t.Error("a second worker was let through beside the one that tries")
		}
		first.succeed()
		for range 4 {
			<-in
		}
	})
}

func TestGateWaitsAsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		if wait := enter(t, g).fail(otlp.Throttled, 7*time.Second); wait != 7*time.Second {
			t.Errorf("wait %v, want 7s", wait)
		}
		began := time.Now()
		enter(t, g).succeed()
		if waited := time.Since(began); waited != 7*time.Second {
			t.Errorf("waited %v, want 7s", waited)
		}
	})
}

func TestGateHandsAbandonedTriesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		enter(t, g).fail(otlp.Refused, 0)
		enter(t, g).abandon()
		enter(t, g).succeed()
	})
}

func TestGateIsLeftWhenTheContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		enter(t, g).fail(otlp.Throttled, time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.enter(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

// A failure that was under way when the gate closed does not make the pauses longer.
func TestGateCountsAnOutageOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		under := []pass{enter(t, g), enter(t, g), enter(t, g), enter(t, g)}
		for _, p := range under {
			p.fail(otlp.Unavailable, 0)
		}
		if g.failures != 1 {
			t.Errorf("%d failures, want 1", g.failures)
		}
	})
}
