// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Seal has a stream take nothing any more, for ever: what has been found out about its content then stays true until it is
// removed. Whoever publishes meanwhile gets an error, and is to try again.
func (b *Bus) Seal(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	s, err := b.js.Stream(ctx, name)
	if err == nil && !s.CachedInfo().Config.Sealed {
		cfg := s.CachedInfo().Config
		cfg.Sealed = true
		_, err = b.js.UpdateStream(ctx, cfg)
	}
	if err != nil {
		return fmt.Errorf("seal stream %s: %w", name, absent(err))
	}
	return nil
}

// Remove deletes a stream with all that it holds, and does not make it anew when it is missed. One that is not there is no error.
func (b *Bus) Remove(ctx context.Context, name string) error {
	b.Forget(name)
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if err := b.js.DeleteStream(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("remove stream %s: %w", name, err)
	}
	return nil
}

// Purge deletes what a stream holds on a subject, up to the message at sequence last.
func (b *Bus) Purge(ctx context.Context, stream, subject string, last uint64) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	s, err := b.js.Stream(ctx, stream)
	if err == nil {
		err = s.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(last+1))
	}
	if err != nil {
		return fmt.Errorf("purge %s of stream %s: %w", subject, stream, absent(err))
	}
	return nil
}

// Forget has a stream that was provisioned not be made anew when it is missing.
func (b *Bus) Forget(name string) {
	b.streams.mu.Lock()
	defer b.streams.mu.Unlock()
	delete(b.streams.specs, name)
}
