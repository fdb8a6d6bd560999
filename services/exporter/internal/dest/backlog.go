// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/busbar/busbar/kit/bus"
)

// lookEvery is how often a destination looks at its backlog.
const lookEvery = 5 * time.Second

// backlog watches what waits for a destination, and what the stream had to drop before the destination took it.
//
// It takes each message that waits or was lost for as many records as messages have on average.
type backlog struct {
	messages, records atomic.Int64 // that were delivered to this process
	gap               bus.Gap
	first             uint64 // oldest message of the stream when it was last looked at; 0 before
}

// saw notes a message with that many records.
func (b *backlog) saw(records int) {
	b.messages.Add(1)
	b.records.Add(int64(records))
}

// watch looks at the backlog of d until ctx ends. It has looked once when it returns, before anything is taken: what was lost
// meanwhile does not show any more once the rest is delivered.
func (b *backlog) watch(ctx context.Context, d *destination) (wait func()) {
	b.look(ctx, d)
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				b.look(ctx, d)
			case <-ctx.Done():
				return
			}
		}
	})
	return watching.Wait
}

func (b *backlog) look(ctx context.Context, d *destination) {
	// An error is that of a bus that is away, which says so itself, or of a consumer that is about to be made.
	if at, err := d.bus.Position(ctx, d.root.OutStream(d.name).Name, durable); err == nil {
		waiting := at.Pending + uint64(max(0, at.Unacked)) //nolint:gosec // not negative
		d.metrics.pending.WithLabelValues(d.name).Set(float64(waiting))
		d.metrics.waiting.WithLabelValues(d.name).Set(float64(b.inside(waiting)))
		lost := b.gap.Lost(at)
		d.metrics.drop(d.name, reasonExpired, b.inside(lost))
		var oldest time.Time
		if waiting > 0 {
			oldest = d.bus.Oldest(ctx, d.root.OutStream(d.name).Name, at)
		}
		d.state.sees(waiting, oldest, lost > 0 || b.eaten(at))
	}
}

// eaten tells whether the stream has dropped some that were not acknowledged since it was last asked, delivered or not.
func (b *backlog) eaten(at bus.Position) bool {
	before := b.first
	b.first = at.First
	return before > 0 && at.First > before && at.First > at.Acked+1
}

// inside estimates how many records so many messages have.
func (b *backlog) inside(messages uint64) int {
	return int(float64(messages) * max(1, float64(b.records.Load())/float64(max(1, b.messages.Load()))))
}
