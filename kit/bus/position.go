// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Position is how far a durable consumer has come in its stream. Messages are named by their sequence in the stream.
type Position struct {
	First, Last uint64 // oldest and newest message that the stream has; First is Last+1 when it has none
	Delivered   uint64 // newest message that was delivered to anyone
	Pending     uint64 // how many are stored and not delivered
	Unacked     int    // how many are delivered and not acknowledged
	Acked       uint64 // up to which all are acknowledged
}

// Position asks the server where a consumer is. Messages between Delivered and First are lost to it: the stream has dropped
// them because of its limits.
func (b *Bus) Position(ctx context.Context, stream, durable string) (Position, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	// The stream first: what is delivered in between must not look lost.
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return Position{}, fmt.Errorf("look up stream %s: %w", stream, absent(err))
	}
	state := s.CachedInfo().State
	c, err := s.Consumer(ctx, durable)
	if err != nil {
		return Position{}, fmt.Errorf("look up consumer %s of %s: %w", durable, stream, absent(err))
	}
	info := c.CachedInfo()
	return Position{
		First: state.FirstSeq, Last: state.LastSeq,
		Delivered: info.Delivered.Stream, Pending: info.NumPending, Unacked: info.NumAckPending, Acked: info.AckFloor.Stream,
	}, nil
}

// Oldest returns when the oldest message was stored that is not acknowledged for sure; zero if nobody knows.
func (b *Bus) Oldest(ctx context.Context, stream string, at Position) time.Time {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return time.Time{}
	}
	m, err := s.GetMsg(ctx, max(at.Acked+1, at.First), jetstream.WithGetMsgSubject(">"))
	if err != nil {
		return time.Time{}
	}
	return m.Time
}

// Gap counts messages that a stream dropped before a consumer was given them. A stream says which messages it has, not what
// it dropped. When several processes ask about one consumer, each of them counts the same loss.
type Gap struct{ counted uint64 } // sequence up to which losses are counted

// Lost returns how many messages were lost since it was last asked. A consumer with filters may have lost fewer.
func (g *Gap) Lost(at Position) uint64 {
	if at.Last < g.counted { // the stream was made anew
		g.counted = 0
	}
	from := max(at.Delivered, g.counted)
	if at.First <= from+1 {
		return 0
	}
	g.counted = at.First - 1
	return g.counted - from
}
