// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const askTimeout = time.Second // of one request to read what is stored

// Beat publishes payload() on subject now and then at every interval until ctx ends, without storing it: a beat missed is
// a beat lost. A nil payload is skipped. It returns nil.
func (b *Bus) Beat(ctx context.Context, subject string, every time.Duration, payload func() []byte) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if data := payload(); data != nil && b.nc.IsConnected() {
			if err := b.nc.Publish(subject, data); err != nil {
				b.log.Debug("heartbeat failed", "subject", subject, "error", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Announce publishes data on subject once, without storing it, and returns when the server has it.
func (b *Bus) Announce(subject string, data []byte) error {
	err := b.nc.Publish(subject, data)
	if err == nil {
		err = b.nc.Flush()
	}
	if err != nil {
		return fmt.Errorf("announce on %s: %w", subject, err)
	}
	return nil
}

// Subscribe calls fn with each message that is published on subject, which may have wildcards, until ctx ends. It sees
// messages as they pass and costs their senders nothing; when fn is too slow, messages are left out and a warning is
// logged. It returns nil when ctx ends and ErrClosed when the Bus does.
func (b *Bus) Subscribe(ctx context.Context, subject string, fn func(*Delivery)) error {
	sub, err := b.nc.Subscribe(subject, func(m *nats.Msg) {
		if ctx.Err() == nil {
			fn(newDelivery(m))
		}
	})
	if err == nil {
		err = b.nc.Flush() // the server knows of it from here on
	}
	if err != nil {
		return fmt.Errorf("subscribe %s: %w", subject, err)
	}
	ended := make(chan struct{})
	sub.SetClosedHandler(func(string) { close(ended) })
	select {
	case <-ctx.Done():
		err = nil
	case <-b.closed:
		err = fmt.Errorf("subscribe %s: %w", subject, ErrClosed)
	}
	if sub.Unsubscribe() == nil {
		<-ended // fn has returned for the last time
	}
	return err
}

// Replay calls fn with each message that is stored in stream now, oldest first, without being noticed by its consumers. A
// filter other than "" limits it to a subject, which may have wildcards. It ends early with the error of fn, and at once with
// ErrNotFound if there is no such stream.
func (b *Bus) Replay(ctx context.Context, stream, filter string, fn func(*Delivery) error) error {
	if err := b.replay(ctx, stream, filter, fn); err != nil {
		return fmt.Errorf("replay stream %s: %w", stream, absent(err))
	}
	return nil
}

func (b *Bus) replay(ctx context.Context, stream, filter string, fn func(*Delivery) error) error {
	s, err := ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return b.js.Stream(ctx, stream) })
	if err != nil {
		return err
	}
	if filter == "" {
		filter = ">"
	}
	state := s.CachedInfo().State
	for sequence := state.FirstSeq; sequence <= state.LastSeq; sequence++ {
		m, err := ask(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
			return s.GetMsg(ctx, sequence, jetstream.WithGetMsgSubject(filter))
		})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if m.Sequence > state.LastSeq {
			return nil
		}
		sequence = m.Sequence
		if err := fn(stored(stream, m)); err != nil {
			return err
		}
	}
	return nil
}

// ask makes a request, and makes it again if it was lost with the connection.
func ask[T any](ctx context.Context, request func(context.Context) (T, error)) (T, error) {
	const attempts = 5
	for attempt := 1; ; attempt++ {
		once, cancel := context.WithTimeout(ctx, askTimeout)
		answer, err := request(once)
		cancel()
		if err == nil || ctx.Err() != nil || attempt == attempts || !retryable(err) {
			return answer, err
		}
	}
}
