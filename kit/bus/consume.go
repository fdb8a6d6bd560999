// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Handler takes a message and returns what becomes of it:
//   - nil: it is acknowledged. Return nil only after everything made from it is stored.
//   - Permanent: it is copied to the dead-letter subject of the reason, and its delivery ends.
//   - Throttled: it is delivered again after the given delay.
//   - Later: the same, and nothing is wrong.
//   - any other error: it is delivered again after a delay that grows from half a second to thirty.
//
// A panic counts as Permanent with the reason "panic". The context ends only when the drain timeout is over.
type Handler func(ctx context.Context, d *Delivery) error

// ConsumerSpec describes a durable consumer, whose messages are shared by all processes that consume with the same
// Stream and Durable. The zero value of each field but those two is usable.
type ConsumerSpec struct {
	Stream, Durable string
	Filters         []string // subjects to read; none means all. They must not overlap.
	NewOnly         bool     // begin with what is stored after the consumer is made, instead of with all there is
	// Stage names the service in dead letters and drop counters. Default Durable.
	Stage string
	// DeadSubject returns where the dead letters of a reason go. If nil, or if it returns "", they are dropped and counted.
	DeadSubject func(reason string) string
	// Workers is how many handlers run at the same time. Default 4.
	Workers int
	// AckWait is how long after the death of this process its messages go to another one. Handlers may take longer: the
	// server is told that they are at work. Default 30 s.
	AckWait time.Duration
	// MaxAckPending bounds the messages delivered and not acknowledged, over all processes, including those that wait for
	// their next delivery. When a back end is down this is what stops the flow. Default 1024.
	MaxAckPending int
	// Prefetch and MaxBytes bound what one process holds. Default four for each worker, at least 16, and 16 MiB.
	Prefetch, MaxBytes int
	// DrainTimeout is how long handlers may go on after the context of Consume has ended. Default 10 s.
	DrainTimeout time.Duration
}

const (
	defaultWorkers       = 4
	defaultAckWait       = 30 * time.Second
	defaultMaxAckPending = 1024
	defaultMaxBytes      = 16 << 20
	defaultDrain         = 10 * time.Second
	minPrefetch          = 16
	minAckWait           = 100 * time.Millisecond
)

// Consume reads messages until ctx ends, creating the consumer or changing it to be as specified. It returns nil after its
// handlers have, messages that were not begun having been handed back for another process to take at once. It returns an
// error if the consumer cannot be made at the start, or when the Bus is closed.
func (b *Bus) Consume(ctx context.Context, spec ConsumerSpec, fn Handler) error {
	spec, err := spec.complete()
	if err == nil {
		err = b.awaitConsumer(ctx, spec)
	}
	if err == nil {
		err = newConsumer(b, spec, fn).run(ctx)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to stop
		}
		return fmt.Errorf("consume %s of %s: %w", spec.Durable, spec.Stream, err)
	}
	return nil
}

// complete fills in the defaults.
func (s ConsumerSpec) complete() (ConsumerSpec, error) {
	if s.Stream == "" || s.Durable == "" {
		return s, errors.New("stream and durable must be named")
	}
	if s.Stage == "" {
		s.Stage = s.Durable
	}
	s.Workers = or(s.Workers, defaultWorkers)
	s.AckWait = max(or(s.AckWait, defaultAckWait), minAckWait)
	s.MaxAckPending = or(s.MaxAckPending, defaultMaxAckPending)
	s.Prefetch = min(or(s.Prefetch, max(4*s.Workers, minPrefetch)), s.MaxAckPending)
	s.MaxBytes = or(s.MaxBytes, defaultMaxBytes)
	s.DrainTimeout = or(s.DrainTimeout, defaultDrain)
	return s, nil
}

// or returns v if it is positive, and fallback otherwise.
func or[T int | time.Duration](v, fallback T) T {
	if v > 0 {
		return v
	}
	return fallback
}
