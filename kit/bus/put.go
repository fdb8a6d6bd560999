// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrConflict means that somebody else has written the subject since.
var ErrConflict = errors.New("subject was written by somebody else")

// putTimeout is how long one attempt waits for its answer.
const putTimeout = 2 * time.Second

// headerExpect makes a stream refuse a message unless this is the sequence of the newest one on its subject.
const headerExpect = "Nats-Expected-Last-Subject-Sequence"

// Put stores msg if the newest message on its subject is the one at sequence last, 0 if there must be none, and returns the
// sequence of msg. It returns ErrConflict if that is not so. Together with [Bus.Last] it makes a stream a place for state that has one
// writer at a time. What fails for a passing reason is repeated until ctx ends, without storing anything twice; after an
// error other than ErrConflict msg may be stored or not.
func (b *Bus) Put(ctx context.Context, msg Msg, last uint64) (sequence uint64, err error) {
	wire, release, err := msg.wire()
	if err != nil {
		return 0, publishError(msg.Subject, err)
	}
	defer release()
	wire.Header[headerExpect] = []string{strconv.FormatUint(last, 10)}
	deadline := time.Now().Add(noStreamWait)
	for attempt := 0; ; attempt++ {
		var stored ack
		stored, err = b.put(ctx, wire)
		sequence = stored.Sequence
		if errors.Is(err, ErrConflict) && attempt > 0 {
			sequence, err = b.overtook(ctx, stored.Stream, wire)
		}
		if err == nil || ctx.Err() != nil || !retryable(err) {
			break
		}
		if errors.Is(err, nats.ErrNoResponders) {
			b.repairSoon() //nolint:contextcheck // it outlives the request
			if time.Now().After(deadline) {
				err = ErrNoStream
				break
			}
		}
		select {
		case <-time.After(backoff(attempt, firstRetry, lastRetry)):
		case <-b.closed:
			return 0, publishError(msg.Subject, ErrClosed)
		case <-ctx.Done():
		}
	}
	if err != nil {
		return 0, publishError(msg.Subject, err)
	}
	return sequence, nil
}

// put makes one attempt.
func (b *Bus) put(ctx context.Context, wire *nats.Msg) (ack, error) {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	answer, err := b.nc.RequestMsgWithContext(ctx, wire)
	if err != nil {
		return ack{}, err
	}
	return parseAck(answer.Data)
}

// overtook tells whether what a repetition is in conflict with is the message itself, stored by an attempt whose answer was lost: the
// server looks at the expected sequence before it looks at the id. It returns where that is, or ErrConflict.
func (b *Bus) overtook(ctx context.Context, stream string, wire *nats.Msg) (sequence uint64, err error) {
	d, ok, err := b.Last(ctx, stream, wire.Subject)
	switch {
	case err != nil:
		return 0, err
	case !ok || d.Header(HeaderID) != wire.Header.Get(HeaderID):
		return 0, ErrConflict
	}
	return d.Sequence, nil
}

// Last returns the newest message on a subject of a stream; ok is false when there is none.
func (b *Bus) Last(ctx context.Context, stream, subject string) (d *Delivery, ok bool, err error) {
	m, err := ask(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		s, err := b.js.Stream(ctx, stream)
		if err != nil {
			return nil, err
		}
		return s.GetLastMsgForSubject(ctx, subject)
	})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("read last message on %s of stream %s: %w", subject, stream, err)
	}
	return stored(stream, m), true, nil
}

// stored is a message that was asked for by its place.
func stored(stream string, m *jetstream.RawStreamMsg) *Delivery {
	return &Delivery{
		Subject: m.Subject, Stream: stream, Sequence: m.Sequence, Time: m.Time, Attempt: 1,
		msg: &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data},
	}
}

// Extent is what a stream holds.
type Extent struct {
	Created     time.Time // when the stream was made
	First, Last uint64    // oldest and newest message; First is Last+1 when there is none
}

// Extent asks the server what a stream holds.
func (b *Bus) Extent(ctx context.Context, stream string) (Extent, error) {
	s, err := ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return b.js.Stream(ctx, stream) })
	if err != nil {
		return Extent{}, fmt.Errorf("look up stream %s: %w", stream, err)
	}
	info := s.CachedInfo()
	return Extent{info.Created, info.State.FirstSeq, info.State.LastSeq}, nil
}
