// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/busbar/busbar/kit/bus"
)

// lookEvery is how often the router looks for what waits, and for what the stream had to drop before any router read it.
const lookEvery = 10 * time.Second

// average is how many records messages have.
type average struct{ messages, records atomic.Int64 }

func (a *average) saw(records int) {
	a.messages.Add(1)
	a.records.Add(int64(records))
}

// of returns how many records so many messages have, by and large.
func (a *average) of(messages uint64) int {
	return int(float64(messages) * max(1, float64(a.records.Load())/float64(max(1, a.messages.Load()))))
}

// lookout tells what waits, and counts what is lost unread when routers are away, or too slow, for longer than the stream keeps things. It has
// looked once when it returns, before anything is read, and goes on until ctx ends.
func (r *router) lookout(ctx context.Context) (wait func()) {
	var gap bus.Gap
	look := func() {
		// An error is that of a bus that is away, which says so itself, or of a consumer that is about to be made.
		if at, err := r.bus.Position(ctx, r.Root.OTLPStream().Name, Service); err == nil {
			waiting := at.Pending + uint64(max(0, at.Unacked)) //nolint:gosec // not negative
			r.metrics.pending.Set(float64(waiting))
			r.metrics.waiting.Set(float64(r.seen.of(waiting)))
			r.metrics.drop(dropExpired, r.seen.of(gap.Lost(at)))
		}
	}
	look()
	var looking sync.WaitGroup
	looking.Go(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				look()
			case <-ctx.Done():
				return
			}
		}
	})
	return looking.Wait
}
