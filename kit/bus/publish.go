// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
)

// Publish sends all msgs at once and returns when their streams have stored every one of them. It waits for room in the
// window and for the connection, and repeats what failed for a passing reason, until ctx ends. It returns ErrFull,
// ErrNoStream, ErrTooLarge or ErrClosed at once; then, as when ctx ends, any of msgs may or may not have been stored, and
// publishing them again under the same IDs is safe.
func (b *Bus) Publish(ctx context.Context, msgs ...Msg) error {
	results := make(chan result, len(msgs))
	sent := make([]*publication, 0, len(msgs))
	defer func() {
		for _, p := range sent {
			b.out.abandon(p)
		}
	}()
	for i := range msgs {
		p, err := b.out.prepare(&msgs[i])
		if err != nil {
			return publishError(msgs[i].Subject, err)
		}
		p.done = func(err error) { results <- result{p, err} }
		if err := b.out.acquire(ctx, p); err != nil {
			p.release()
			return publishError(msgs[i].Subject, fmt.Errorf("wait for room in the window: %w", err))
		}
		sent = append(sent, p)
		b.out.start(p)
	}
	for range msgs {
		select {
		case r := <-results:
			if r.err != nil {
				return publishError(r.p.msg.Subject, r.err)
			}
		case <-ctx.Done():
			return publishError(msgs[0].Subject, b.out.why(ctx, sent))
		}
	}
	return nil
}

// PublishAsync sends msg and calls done, exactly once and on a goroutine that it must not block, when the stream has
// stored it or when that has become impossible, which may be before PublishAsync returns. Passing trouble, such as a lost connection, is waited out, for as long as
// the Bus is open, with msg in the window. It returns ErrWindowFull instead of waiting for room; on any error it returns,
// done is not called.
func (b *Bus) PublishAsync(msg Msg, done func(error)) error {
	p, err := b.out.prepare(&msg)
	if err != nil {
		return publishError(msg.Subject, err)
	}
	if !b.out.tryAcquire(p) {
		p.release()
		b.metrics.publishErrors.WithLabelValues(b.name, "window_full").Inc()
		return publishError(msg.Subject, ErrWindowFull)
	}
	p.done = func(err error) {
		if err != nil {
			err = publishError(msg.Subject, err)
		}
		done(err)
	}
	b.out.start(p)
	return nil
}

type result struct {
	p   *publication
	err error
}

func publishError(subject string, err error) error {
	return fmt.Errorf("publish %s: %w", subject, err)
}

// why tells what kept the publications from being stored until ctx ended.
func (w *publisher) why(ctx context.Context, sent []*publication) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range sent {
		if p.err != nil && w.pending[p.id] == p {
			return errors.Join(context.Cause(ctx), p.err)
		}
	}
	return context.Cause(ctx)
}
