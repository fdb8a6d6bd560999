// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/busbar/busbar/kit/bus"
)

// lookEvery is how often a destination looks at its backlog.
const lookEvery = 5 * time.Second

// backlog watches what waits for a destination, and what the stream had to drop before the destination took it.
//
// A stream says which messages it has, not what it dropped, so this counts the messages between the last one delivered and
// the first one that is left, and takes each for as many records as messages have on average. When several processes serve
// one destination, each of them sees and counts the same loss.
type backlog struct {
	messages, records atomic.Int64 // that were delivered to this process
	counted           uint64       // sequence up to which losses are counted
}

// saw notes a message with that many records.
func (b *backlog) saw(records int) {
	b.messages.Add(1)
	b.records.Add(int64(records))
}

// watch looks at the backlog of d until ctx ends.
func (b *backlog) watch(ctx context.Context, d *destination) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		// An error is that of a bus that is away, which says so itself.
		if at, err := d.bus.Position(ctx, d.root.OutStream(d.name).Name, durable); err == nil {
			d.metrics.pending.WithLabelValues(d.name).Set(float64(at.Pending) + float64(at.Unacked))
			d.metrics.drop(reasonExpired, b.lost(at))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// lost returns how many records were lost since it was last asked.
func (b *backlog) lost(at bus.Position) int {
	if at.Last < b.counted { // the stream was made anew
		b.counted = 0
	}
	from := max(at.Delivered, b.counted)
	if at.First <= from+1 {
		return 0
	}
	messages := int(at.First - 1 - from) //nolint:gosec // far below 2^63
	b.counted = at.First - 1
	return int(float64(messages) * max(1, float64(b.records.Load())/float64(max(1, b.messages.Load()))))
}
