// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/services/exporter/internal/otlp"
)

const (
	// durable names the consumer of each destination's stream.
	durable = "exporter"
	// ackWait is how long after the death of a process its messages go to the next one.
	ackWait = 10 * time.Second
	// maxAckPending bounds the messages that one destination has under way, those included that wait for another attempt.
	maxAckPending = 256
	// drain is how long attempts under way may take to end at a stop.
	drain = 5 * time.Second

	// A message whose attempt fails comes again after these, besides what the back end asks for. The growth keeps one that makes the
	// back end fail from holding up the others.
	firstRepeat = 250 * time.Millisecond
	maxRepeat   = 5 * time.Second

	// A destination that cannot be opened is opened again after these.
	firstOpen = time.Second
	maxOpen   = 10 * time.Second
)

// destination is one destination at work.
type destination struct {
	name      string
	instance  string // of this process
	settings  Settings
	retention configv1.Retention
	bus       *bus.Bus
	root      subject.Root
	userAgent string
	log       *slog.Logger
	metrics   *Metrics
	state     *state
	stubborn  *stubborn // of the present consumer
}

// errOpen marks the error of a destination that could not be opened.
var errOpen = errors.New("open destination")

// run opens the destination and serves it until ctx ends, and again when it breaks. If it must work from the start, the error
// of the first opening ends it.
func (d *destination) run(ctx context.Context, required bool) error {
	for failures := 0; ; failures++ {
		opened, err := d.serve(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to stop
		}
		if required && !opened {
			return fmt.Errorf("%w %s: %w", errOpen, d.name, err)
		}
		if opened {
			failures, required = 0, false
		}
		d.state.fails(phaseOfOpening(err), err)
		select {
		case <-time.After(min(firstOpen<<min(failures, 8), maxOpen)):
		case <-ctx.Done():
			return nil
		}
	}
}

// serve opens the destination and hands it messages until ctx ends or it breaks. Opened tells how far it came.
func (d *destination) serve(ctx context.Context) (opened bool, err error) {
	exporter, err := d.settings.resolve()
	if err != nil {
		return false, err
	}
	if err := d.clear(ctx); err != nil {
		return false, err
	}
	// The stream is there before the back end is: what it misses meanwhile waits.
	if err := d.bus.Provision(ctx, bus.StreamSpec(d.retention.Stream(d.root, d.name)), bus.StreamSpec(d.root.DeadStream())); err != nil {
		return false, err
	}
	sink, err := exporter.open(ctx, d.userAgent, d.log)
	if err != nil {
		return false, err
	}
	d.state.ok()
	// The sink outlives the consumer, whose last attempts need it.
	sinkCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	consumerCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	var g errgroup.Group
	g.Go(func() error {
		defer cancel()
		return sink.run(sinkCtx)
	})
	g.Go(func() error {
		defer stop()
		switch to := sink.(type) {
		case accumulator:
			return d.accumulate(consumerCtx, to)
		case taker:
			return d.consume(consumerCtx, to)
		}
		return fmt.Errorf("%T takes nothing", sink)
	})
	return true, g.Wait()
}

// clear removes a stream that was found empty and sealed when the destination had left, by a process that died before it could.
func (d *destination) clear(ctx context.Context) error {
	stream := d.root.OutStream(d.name).Name
	state, err := d.bus.Stream(ctx, stream)
	if err != nil || !state.Sealed {
		return nil //nolint:nilerr // there is none, or provisioning will say so
	}
	at, err := d.bus.Position(ctx, stream, durable)
	if err == nil && at.Pending == 0 && at.Unacked == 0 {
		err = d.bus.Remove(ctx, stream)
	}
	return err
}

// consume hands messages to the sink until ctx ends.
func (d *destination) consume(ctx context.Context, to taker) error {
	gate, backlog := newGate(), new(backlog)
	d.stubborn = newStubborn()
	spec := bus.ConsumerSpec{
		Stream: d.root.OutStream(d.name).Name, Durable: durable, Stage: stage,
		Workers: d.workers(to), AckWait: ackWait, MaxAckPending: maxAckPending, DrainTimeout: drain,
		DeadSubject: func(reason string) string { return d.root.Dead(stage, reason) },
	}
	ctx, cancel := context.WithCancel(ctx)
	defer backlog.watch(ctx, d)()
	defer cancel()
	return d.bus.Consume(ctx, spec, func(attempt context.Context, m *bus.Delivery) error {
		backlog.saw(m.Items())
		return d.deliver(attempt, ctx, gate, to, m)
	})
}

// discard takes what waits and throws it away, counted, until ctx ends. Of an accumulation only the exporters that did it knew
// what had been taken.
func (d *destination) discard(ctx context.Context, accumulation bool) error {
	d.state.ok()
	if accumulation {
		<-ctx.Done()
		return nil
	}
	spec := bus.ConsumerSpec{
		Stream: d.root.OutStream(d.name).Name, Durable: durable, Stage: stage, Workers: sendWorkers, AckWait: ackWait, MaxAckPending: maxAckPending,
	}
	for {
		err := d.bus.Consume(ctx, spec, func(_ context.Context, m *bus.Delivery) error {
			d.metrics.drop(d.name, reasonRemoved, m.Items())
			return nil
		})
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to stop
		}
		d.log.Warn("what waits cannot be discarded yet", "error", err)
		select {
		case <-time.After(firstOpen):
		case <-ctx.Done():
			return nil
		}
	}
}

// workers is how many attempts may run at the same time. What takes one at a time cannot be asked for more.
func (d *destination) workers(to taker) int {
	if n := to.workers(); n == 1 || d.retention.Concurrency == 0 {
		return n
	}
	return d.retention.Concurrency
}

// deliver makes one attempt with one message, when the gate lets it. It waits at the gate no longer than the running context,
// and the attempt lasts no longer than its own.
func (d *destination) deliver(attempt, running context.Context, g *gate, to taker, m *bus.Delivery) error {
	r, err := d.request(m)
	if err != nil {
		return err
	}
	p, err := g.enter(running)
	if err != nil {
		return err
	}
	left, err := to.take(attempt, r, m.Items())
	if err != nil {
		return d.failed(attempt, p, m, otlp.Blame(r, err))
	}
	p.succeed()
	d.state.ok()
	d.stubborn.succeeded(m.Sequence)
	d.metrics.attempts.WithLabelValues(d.name, "ok").Inc()
	d.took(m.Items(), r.Signal, left)
	return nil
}

// took counts records that the back end has, but for those that were left out.
func (d *destination) took(records int, signal subject.Signal, left map[string]int) {
	for reason, n := range left {
		n = min(n, records) // a back end may say that it rejects more than it got
		d.metrics.drop(d.name, reason, n)
		records -= n
	}
	d.metrics.records.WithLabelValues(d.name, string(signal)).Add(float64(records))
}

// request reads what a message asks for. Its errors are permanent.
func (d *destination) request(m *bus.Delivery) (otlp.Request, error) {
	parts, ok := d.root.ParseOut(m.Subject)
	if !ok {
		return otlp.Request{}, bus.Permanent("subject", fmt.Errorf("parse subject %q: want <root>.out.<destination>.<signal>.<shard>", m.Subject))
	}
	body, err := m.Data()
	if err != nil {
		return otlp.Request{}, err
	}
	id := m.Header(bus.HeaderID)
	if !carried(id) {
		id = m.DerivedID(d.name)
	}
	return otlp.Request{Signal: parts.Signal, ID: id, Body: body}, nil
}

// maxID is what an id may have in bytes: several times what ours have, and far below what any back end takes as a header.
const maxID = 512

// carried tells whether a request can carry an id. Anybody may write to the stream, and a header that the protocol forbids
// fails each attempt, which would look like a back end that is away.
func carried(id string) bool {
	return id != "" && len(id) <= maxID && !strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r > '~' })
}

// failed decides what becomes of a message whose attempt failed, and of those behind it.
func (d *destination) failed(attempt context.Context, p pass, m *bus.Delivery, err error) error {
	if attempt.Err() != nil { // cut short at a stop; it says nothing about the back end
		p.abandon()
		return attempt.Err()
	}
	e := otlp.AsError(err)
	d.metrics.attempts.WithLabelValues(d.name, e.Class.String()).Inc()
	if e.Class == otlp.Invalid { // the message is at fault; the back end works
		p.succeed()
		d.state.ok()
		return bus.Permanent(e.Reason, e)
	}
	wait := p.fail(e.Class, e.After)
	d.state.fails(phaseOf(e.Class), e)
	if e.Class != otlp.Throttled && d.stubborn.failed(m.Sequence) {
		return bus.Permanent(reasonUnavailable, fmt.Errorf("the destination has taken others between %d attempts: %w", m.Attempt, e))
	}
	repeat := min(firstRepeat<<min(m.Attempt-1, 8), maxRepeat)
	return bus.Throttled(max(wait, repeat), e)
}
