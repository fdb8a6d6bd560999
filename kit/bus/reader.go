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

// ErrAnew means that the stream is another one than before: it was deleted and made anew, so that its sequence numbers mean nothing.
var ErrAnew = errors.New("stream was made anew")

// ReaderSpec tells what a Reader reads. The zero value of each field but Stream is usable.
type ReaderSpec struct {
	Stream  string
	Filters []string // subjects to read; none means all. They must not overlap.
	After   uint64   // sequence of the message behind which to begin
	// Since is when the first message to read was stored, or later; it counts while After is 0.
	Since time.Time
	// Created is when the stream was made in which After is a sequence; zero for whatever stream there is.
	Created time.Time
	// As names who reads in dead letters and metrics: Durable, Stage and DeadSubject count. Empty for nobody who takes messages.
	As ConsumerSpec
	// MaxMessages and MaxBytes bound what has been asked for and not returned. Default 256 and 4 MiB.
	MaxMessages, MaxBytes int
}

// Reader reads a stream in its order, for whoever keeps account of his place himself: nothing is acknowledged and nothing
// comes twice. It is used by one goroutine. Close it after use.
type Reader struct {
	bus     *Bus
	spec    ReaderSpec
	after   uint64
	created time.Time

	consumer    string // name; "" when there is none
	serial      uint64 // of the consumer's newest message
	sub         *nats.Subscription
	arrivals    chan *nats.Msg
	pull        puller
	pending     uint64
	reconnected <-chan struct{}

	as *consumer
}

const (
	readMessages = 256
	readBytes    = 4 << 20
	readerGone   = 30 * time.Second // after which the server forgets a reader that is not heard of
)

// Read returns a reader, which begins with its first Next.
func (b *Bus) Read(spec ReaderSpec) *Reader {
	spec.MaxMessages, spec.MaxBytes = or(spec.MaxMessages, readMessages), or(spec.MaxBytes, readBytes)
	return &Reader{bus: b, spec: spec, after: spec.After, created: spec.Created, as: &consumer{bus: b, spec: spec.As}}
}

// Begin does what the first Next begins with, so that Pending is known. It makes one attempt.
func (r *Reader) Begin(ctx context.Context) error {
	if err := r.begin(ctx); err != nil {
		return fmt.Errorf("read stream %s: %w", r.spec.Stream, absent(err))
	}
	return nil
}

// Next waits until there are messages and returns those that have arrived, in their order. Passing trouble, such as a lost connection, is
// waited out. It returns ErrAnew when the stream is not the one that was read before, and otherwise an error only when
// ctx or the Bus has ended.
func (r *Reader) Next(ctx context.Context) ([]*Delivery, error) {
	for attempt := 0; ; attempt++ {
		batch, err := r.next(ctx)
		switch {
		case len(batch) > 0 || err == nil:
			return batch, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, ErrAnew):
			return nil, fmt.Errorf("read stream %s: %w", r.spec.Stream, err)
		}
		r.Close()
		r.bus.log.Debug("reader begins anew", "stream", r.spec.Stream, "after", r.after, "error", err)
		select {
		case <-time.After(backoff(attempt, firstRetry, lastRetry)):
		case <-r.bus.closed:
			return nil, fmt.Errorf("read stream %s: %w", r.spec.Stream, ErrClosed)
		case <-ctx.Done():
		}
	}
}

// Created is when the stream was made that is being read; zero before the first Next.
func (r *Reader) Created() time.Time { return r.created }

// Pending is how many messages were stored behind the newest one that Next returned, or at the beginning, when last heard of.
func (r *Reader) Pending() uint64 { return r.pending }

// CaughtUp tells whether Next has returned all that was stored at some time since the reader began.
func (r *Reader) CaughtUp() bool { return r.consumer != "" && r.pending == 0 }

// Lag asks the server how many messages are stored behind the newest one that Next returned.
func (r *Reader) Lag(ctx context.Context) (uint64, error) {
	if r.consumer == "" {
		return r.pending, nil
	}
	c, err := ask(ctx, func(ctx context.Context) (jetstream.Consumer, error) {
		return r.bus.js.Consumer(ctx, r.spec.Stream, r.consumer)
	})
	if err != nil {
		return 0, fmt.Errorf("look up reader of stream %s: %w", r.spec.Stream, err)
	}
	info := c.CachedInfo()
	return info.NumPending + info.Delivered.Consumer - r.serial, nil
}

// Done counts a message that was taken.
func (r *Reader) Done(d *Delivery) { r.as.countSettled(d, "acked") }

// Bury copies a message that can never be taken to its dead-letter subject, as Consume does with one whose error is Permanent. The error
// says that the copy cannot be stored now.
func (r *Reader) Bury(ctx context.Context, d *Delivery, reason string, cause error) error {
	return r.as.bury(ctx, d, reason, cause)
}

// Close forgets the reader on the server. A later Next begins anew behind what was returned.
func (r *Reader) Close() {
	if r.sub != nil {
		_ = r.sub.Unsubscribe()
		r.sub = nil
	}
	if r.consumer != "" {
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		defer cancel()
		if r.bus.nc.IsConnected() {
			_ = r.bus.js.DeleteConsumer(ctx, r.spec.Stream, r.consumer) // or it goes by itself
		}
		r.consumer = ""
	}
}

// next makes one attempt; messages that it returns with an error are good.
func (r *Reader) next(ctx context.Context) ([]*Delivery, error) {
	if r.consumer == "" {
		if err := r.begin(ctx); err != nil {
			return nil, err
		}
	}
	var batch []*Delivery
	for {
		r.pull.request(r.spec.MaxMessages, r.spec.MaxBytes)
		if len(batch) > 0 && len(r.arrivals) == 0 {
			return batch, nil
		}
		m, err := r.receive(ctx)
		if err != nil {
			return batch, err
		}
		if r.pull.status(m) {
			if r.pull.lost {
				return batch, errors.New("consumer is gone")
			}
			continue
		}
		d, err := r.accept(m)
		if err != nil {
			return batch, err
		}
		if batch = append(batch, d); len(batch) == r.spec.MaxMessages {
			return batch, nil
		}
	}
}

// receive waits for a message or a status. A server that is silent for longer than it may be, or has come back, is asked anew.
func (r *Reader) receive(ctx context.Context) (*nats.Msg, error) {
	silence := time.NewTimer(3 * pullHeartbeat)
	defer silence.Stop()
	select {
	case m := <-r.arrivals:
		return m, nil
	case <-silence.C:
		return nil, errors.New("the server is silent")
	case <-r.reconnected:
		return nil, errors.New("the connection was lost")
	case <-r.bus.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// accept takes in a message. One that is missing before it was lost on its way.
func (r *Reader) accept(m *nats.Msg) (*Delivery, error) {
	meta, err := m.Metadata()
	if err != nil {
		return nil, err
	}
	if meta.Sequence.Consumer != r.serial+1 {
		return nil, fmt.Errorf("message %d came after %d", meta.Sequence.Consumer, r.serial)
	}
	r.serial++
	r.pull.arrived()
	r.after, r.pending = meta.Sequence.Stream, meta.NumPending
	return newDelivery(m), nil
}

// begin makes a consumer that is forgotten soon after the reader.
func (r *Reader) begin(ctx context.Context) error {
	ask, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	r.reconnected = r.bus.nextReconnect()
	stream, err := r.bus.js.Stream(ask, r.spec.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if err := r.bus.repair(ctx); err != nil {
			return err
		}
		stream, err = r.bus.js.Stream(ask, r.spec.Stream)
	}
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	if !r.created.IsZero() && !r.created.Equal(info.Created) {
		return ErrAnew
	}
	r.created = info.Created
	cfg := jetstream.ConsumerConfig{
		FilterSubjects: r.spec.Filters, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.after + 1,
		AckPolicy: jetstream.AckNonePolicy, InactiveThreshold: readerGone, MemoryStorage: true, Replicas: 1,
	}
	if r.after == 0 && !r.spec.Since.IsZero() {
		cfg.DeliverPolicy, cfg.OptStartSeq, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &r.spec.Since
	}
	consumer, err := stream.CreateConsumer(ask, cfg)
	if err != nil {
		return err
	}
	inbox := r.bus.nc.NewInbox()
	r.arrivals = make(chan *nats.Msg, 2*r.spec.MaxMessages)
	if r.sub, err = r.bus.nc.ChanSubscribe(inbox+".*", r.arrivals); err != nil {
		return err
	}
	r.consumer, r.serial, r.pending = consumer.CachedInfo().Name, 0, consumer.CachedInfo().NumPending
	r.pull = newPuller(r.bus.nc, inbox, ConsumerSpec{Stream: r.spec.Stream, Durable: r.consumer, Prefetch: r.spec.MaxMessages})
	return nil
}
