// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// awaitConsumer makes the consumer at the start, repeating what fails for a passing reason for a while.
func (b *Bus) awaitConsumer(ctx context.Context, spec ConsumerSpec) error {
	deadline := time.Now().Add(max(b.wait, apiTimeout))
	for attempt := 0; ; attempt++ {
		err := b.ensureConsumer(ctx, spec)
		if err == nil || ctx.Err() != nil || !retryable(err) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(backoff(attempt, firstRetry, lastRetry)):
		case <-ctx.Done():
			return err
		}
	}
}

// ensureConsumer creates the consumer or changes it to be as specified, making its stream anew if that was provisioned
// and is missing. Where a consumer begins cannot be changed, so an existing one keeps its place.
func (b *Bus) ensureConsumer(ctx context.Context, spec ConsumerSpec) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	stream, err := b.js.Stream(ctx, spec.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if err := b.repair(ctx); err != nil {
			return err
		}
		stream, err = b.js.Stream(ctx, spec.Stream)
	}
	if err != nil {
		return fmt.Errorf("look up stream: %w", err)
	}
	cfg := spec.config()
	existing, err := stream.Consumer(ctx, spec.Durable)
	switch {
	case err == nil:
		has := existing.CachedInfo().Config
		cfg.DeliverPolicy, cfg.OptStartSeq, cfg.OptStartTime = has.DeliverPolicy, has.OptStartSeq, has.OptStartTime
	case !errors.Is(err, jetstream.ErrConsumerNotFound):
		return fmt.Errorf("look up consumer: %w", err)
	}
	if _, err := stream.CreateOrUpdateConsumer(ctx, cfg); err != nil {
		return fmt.Errorf("create consumer: %w", err)
	}
	return nil
}

func (s ConsumerSpec) config() jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		Durable:       s.Durable,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       s.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: s.MaxAckPending,
		DeliverPolicy: jetstream.DeliverAllPolicy,
	}
	if s.NewOnly {
		cfg.DeliverPolicy = jetstream.DeliverNewPolicy
	}
	if len(s.Filters) == 1 {
		cfg.FilterSubject = s.Filters[0]
	} else {
		cfg.FilterSubjects = s.Filters
	}
	return cfg
}
