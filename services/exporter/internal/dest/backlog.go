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
		d.state.sees(waiting)
		d.metrics.pending.WithLabelValues(d.name).Set(float64(waiting))
		d.metrics.waiting.WithLabelValues(d.name).Set(float64(b.inside(waiting)))
		d.metrics.drop(d.name, reasonExpired, b.inside(b.gap.Lost(at)))
	}
}

// inside estimates how many records so many messages have.
func (b *backlog) inside(messages uint64) int {
	return int(float64(messages) * max(1, float64(b.records.Load())/float64(max(1, b.messages.Load()))))
}
