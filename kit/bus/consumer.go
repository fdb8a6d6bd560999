// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// consumer is one run of Consume. Its loop alone knows what this process holds; workers and the connection speak to it
// through channels. It pulls by itself instead of through the client library, so that every message that has arrived is
// known here from that moment: it counts against the bounds, is kept alive while it waits, and is handed back at the end.
type consumer struct {
	bus  *Bus
	spec ConsumerSpec
	fn   Handler
	pull puller

	arrivals chan *nats.Msg // from the connection
	work     chan *holding  // to the workers; has room for all that can be held
	finished chan *holding  // from the workers
	ensured  chan error     // from the making of the consumer
	done     chan struct{}  // closed when nobody reads arrivals any more

	held    map[place]*holding
	bytes   int
	settled settled

	retries, burials, absences occasion
	background                 sync.WaitGroup // workers, and the making of the consumer
}

// place identifies a message for as long as streams live and beyond.
type place struct {
	sequence uint64
	stored   int64 // Unix time in nanoseconds
}

// holding is a message delivered to this process and not settled.
type holding struct {
	delivery *Delivery
	touched  time.Time // when the server last heard of it
	settled  bool      // it need not come again
}

func newConsumer(b *Bus, spec ConsumerSpec, fn Handler) *consumer {
	room := 2*spec.Prefetch + 64 // requests that overlap after a reconnection can bring more than Prefetch
	return &consumer{
		bus: b, spec: spec, fn: fn,
		arrivals: make(chan *nats.Msg, room),
		work:     make(chan *holding, room),
		finished: make(chan *holding),
		ensured:  make(chan error, 1),
		done:     make(chan struct{}),
		held:     make(map[place]*holding),
	}
}

// run reads and handles messages until ctx ends or the connection is closed.
func (c *consumer) run(ctx context.Context) error {
	inbox := c.bus.nc.NewInbox()
	sub, err := c.bus.nc.Subscribe(inbox+".*", func(m *nats.Msg) {
		select {
		case c.arrivals <- m:
		case <-c.done:
		}
	})
	if err != nil {
		return err
	}
	drained := make(chan struct{})
	end := sync.OnceFunc(func() { close(drained) })
	sub.SetClosedHandler(func(string) { end() })
	c.pull = newPuller(c.bus.nc, inbox, c.spec)

	handlers, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	for range c.spec.Workers {
		c.background.Go(func() { c.worker(handlers, ctx) })
	}
	err = c.loop(ctx)
	if !c.bus.nc.IsConnected() || sub.Drain() != nil {
		_ = sub.Unsubscribe()
		end() // nothing more can arrive
	}
	c.drain(drained, cancel)
	close(c.done)
	c.background.Wait()
	return err
}

// loop takes in messages until ctx ends.
func (c *consumer) loop(ctx context.Context) error {
	tick := time.NewTicker(min(c.spec.AckWait/4, pullHeartbeat))
	defer tick.Stop()
	repair := time.NewTimer(0)
	<-repair.C
	attempts, ensuring := 0, false
	reconnected := c.bus.nextReconnect()
	for {
		if c.pull.lost && !ensuring {
			ensuring = true
			repair.Reset(backoff(attempts, firstRetry, lastRetry))
		}
		c.pull.request(c.spec.Prefetch-len(c.held), c.spec.MaxBytes-c.bytes)
		select {
		case m := <-c.arrivals:
			c.arrive(m)
		case h := <-c.finished:
			c.forget(h)
		case <-tick.C:
			c.touch()
			c.pull.check()
		case <-reconnected:
			reconnected = c.bus.nextReconnect()
			c.pull.lost = true // the server may have come back without the consumer
			attempts = 0
		case <-repair.C:
			c.background.Go(func() { c.ensured <- c.bus.ensureConsumer(ctx, c.spec) }) // beside the loop, which keeps messages alive
		case err := <-c.ensured:
			ensuring = false
			if err != nil {
				attempts++
				c.absences.warn(c.bus.log, "consumer is missing", "stream", c.spec.Stream, "consumer", c.spec.Durable, "error", err)
				continue
			}
			attempts = 0
			c.pull.found()
		case <-ctx.Done():
			return nil
		case <-c.bus.closed:
			return ErrClosed
		}
	}
}

// arrive takes in a message, or a status that the server sent in place of messages.
func (c *consumer) arrive(m *nats.Msg) {
	if c.pull.status(m) {
		return
	}
	c.pull.arrived()
	h := &holding{delivery: newDelivery(m), touched: time.Now()}
	at := h.place()
	switch {
	case h.delivery.Stream == "" || c.held[at] != nil:
		return // not from a stream; or delivered again while its first delivery is still in hand
	case c.settled.has(at): // the server died with the answer
		c.bus.answer(h.delivery, ackDone)
		c.count("repeated")
		return
	}
	c.held[at] = h
	c.bytes += m.Size()
	c.bus.metrics.held.WithLabelValues(c.bus.name, c.spec.Durable).Inc()
	c.bus.metrics.consumedBytes.WithLabelValues(c.bus.name, c.spec.Durable).Add(float64(len(m.Data)))
	select {
	case c.work <- h:
	default: // cannot happen while the server keeps to what was asked for; the message comes again
		c.forget(h)
	}
}

func (c *consumer) forget(h *holding) {
	delete(c.held, h.place())
	if h.settled {
		c.settled.add(h.place())
	}
	c.bytes -= h.delivery.msg.Size()
	c.bus.metrics.held.WithLabelValues(c.bus.name, c.spec.Durable).Dec()
}

// touch tells the server, of each message that has been here for half of AckWait, that it is in work.
func (c *consumer) touch() {
	now := time.Now()
	for _, h := range c.held {
		if now.Sub(h.touched) >= c.spec.AckWait/2 {
			h.touched = now
			c.bus.answer(h.delivery, ackProgress)
		}
	}
}

// drain hands back what no worker has begun, waits for the rest, and ends the handlers' context when DrainTimeout is over.
func (c *consumer) drain(drained <-chan struct{}, cancel context.CancelFunc) {
	deadline := time.NewTimer(c.spec.DrainTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(c.spec.AckWait / 4)
	defer tick.Stop()
	work := c.work
	for drained != nil || len(c.held) > 0 {
		select {
		case m := <-c.arrivals:
			if len(m.Data) > 0 || m.Header.Get("Status") == "" {
				c.bus.answer(newDelivery(m), ackRefuse)
			}
		case h := <-work:
			c.bus.answer(h.delivery, ackRefuse)
			c.count("returned")
			c.forget(h)
		case h := <-c.finished:
			c.forget(h)
		case <-tick.C:
			c.touch()
		case <-drained:
			drained = nil
		case <-deadline.C:
			drained = nil
			cancel()
		}
	}
	close(c.work)
}

func (h *holding) place() place {
	return place{h.delivery.Sequence, h.delivery.Time.UnixNano()}
}

// worker handles messages until there are no more. The loop's context tells it whether the consumer is ending.
func (c *consumer) worker(handlers, loop context.Context) {
	for h := range c.work {
		err := c.handle(handlers, h.delivery)
		if err != nil && loop.Err() != nil && errors.Is(err, context.Canceled) {
			c.bus.answer(h.delivery, ackRefuse) // cut short, not failed: another process may take it at once
			c.count("returned")
		} else {
			h.settled = c.settle(handlers, h.delivery, err)
		}
		c.finished <- h
	}
}

func (c *consumer) count(outcome string) {
	c.bus.metrics.consumed.WithLabelValues(c.bus.name, c.spec.Durable, outcome).Inc()
}

// countSettled counts a message that need not come again.
func (c *consumer) countSettled(d *Delivery, outcome string) {
	c.count(outcome)
	c.bus.metrics.consumedRecords.WithLabelValues(c.bus.name, d.Stream, c.spec.Durable, outcome).Add(float64(d.Items()))
}
