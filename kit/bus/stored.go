// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

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

// StreamState is what a stream holds and may hold.
type StreamState struct {
	Name            string
	First, Last     uint64    // sequences of its oldest and newest message; First is Last+1 when it has none
	FirstAt, LastAt time.Time // when they were stored
	Messages        uint64
	Bytes, MaxBytes int64 // MaxBytes is -1 without a limit
	Sealed          bool
	Metadata        map[string]string // as StreamSpec.Metadata, and what others have put there
}

// Stream asks the server about a stream. The error is ErrNotFound if there is none.
func (b *Bus) Stream(ctx context.Context, name string) (StreamState, error) {
	s, err := ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return b.js.Stream(ctx, name) })
	if err != nil {
		return StreamState{}, fmt.Errorf("look up stream %s: %w", name, absent(err))
	}
	return streamState(s.CachedInfo()), nil
}

// Streams asks the server about all streams that take subjects matching a filter, which may have wildcards.
func (b *Bus) Streams(ctx context.Context, filter string) ([]StreamState, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	var all []StreamState
	list := b.js.ListStreams(ctx, jetstream.WithStreamListSubject(filter))
	for info := range list.Info() {
		all = append(all, streamState(info))
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list streams of %s: %w", filter, err)
	}
	return all, nil
}

func streamState(info *jetstream.StreamInfo) StreamState {
	return StreamState{
		Name:  info.Config.Name,
		First: info.State.FirstSeq, Last: info.State.LastSeq, FirstAt: info.State.FirstTime, LastAt: info.State.LastTime,
		Messages: info.State.Msgs, Bytes: int64(info.State.Bytes), MaxBytes: info.Config.MaxBytes, Sealed: info.Config.Sealed, Metadata: info.Config.Metadata,
	}
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

// absent makes ErrNotFound of the errors that say that a stream, a consumer or a message is not there.
func absent(err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}
