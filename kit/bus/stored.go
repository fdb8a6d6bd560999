// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Stored returns the message that a stream has under a sequence number. The error is ErrNotFound if it has none.
func (b *Bus) Stored(ctx context.Context, stream string, sequence uint64) (*Delivery, error) {
	d, err := ask(ctx, func(ctx context.Context) (*Delivery, error) {
		s, err := b.js.Stream(ctx, stream)
		if err != nil {
			return nil, err
		}
		m, err := s.GetMsg(ctx, sequence)
		if err != nil {
			return nil, err
		}
		return stored(stream, m), nil
	})
	if err != nil {
		return nil, fmt.Errorf("read message %d of stream %s: %w", sequence, stream, absent(err))
	}
	return d, nil
}

// Delete takes a message out of a stream. One that is not there is no error.
func (b *Bus) Delete(ctx context.Context, stream string, sequence uint64) error {
	_, err := ask(ctx, func(ctx context.Context) (struct{}, error) {
		s, err := b.js.Stream(ctx, stream)
		if err == nil {
			err = s.DeleteMsg(ctx, sequence)
		}
		if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) { // for whatever reason
			if _, missing := s.GetMsg(ctx, sequence); errors.Is(missing, jetstream.ErrMsgNotFound) {
				err = nil
			}
		}
		return struct{}{}, err
	})
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete message %d of stream %s: %w", sequence, stream, err)
	}
	return nil
}

// absent makes ErrNotFound of the errors that say that a stream or a message is not there.
func absent(err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}
