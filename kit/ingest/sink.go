// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/busbar/busbar/kit/bus"
)

// SinkConfig says where messages go. Bus and Service are required.
type SinkConfig struct {
	Bus     *bus.Bus
	Service string        // a label of the metrics
	Within  time.Duration // how long Put may take, on a disk that answers; default 1.5 s, since some tracers wait for 2
	Dir     string        // folder of the queue on disk, used by one process at a time; empty for none
	Bytes   int64         // what the queue may hold; default 1 GiB
	Metrics prometheus.Registerer
	Log     *slog.Logger
}

const (
	defaultWithin = 1500 * time.Millisecond
	defaultQueue  = 1 << 30
	diskShare     = 3       // a third of Within is for the disk
	drainBytes    = 4 << 20 // of messages taken from the queue at a time
	firstPause    = 250 * time.Millisecond
	lastPause     = 5 * time.Second
	queueFullWait = 5 * time.Second // what a sender is told: it takes the bus that long to make room
)

// Sink stores messages: on the bus, or while that is away or full in a queue on disk, from which Run takes them to the bus later, under the
// same ids and in order as far as the bus keeps it. As long as anything waits there, all goes there.
type Sink struct {
	bus     *bus.Bus
	within  time.Duration
	queue   *queue // nil without a folder
	metrics *metrics
	log     *slog.Logger
}

// NewSink opens the queue, of which what an earlier process left is delivered first. Close the sink after Run has ended and no Put is
// under way.
func NewSink(cfg SinkConfig) (*Sink, error) {
	s := &Sink{bus: cfg.Bus, within: cfg.Within, metrics: newMetrics(cfg.Metrics, cfg.Service), log: cfg.Log}
	if s.within <= 0 {
		s.within = defaultWithin
	}
	if cfg.Bytes <= 0 {
		cfg.Bytes = defaultQueue
	}
	if cfg.Dir == "" {
		return s, nil
	}
	lost := func(items int) { s.metrics.lost("queue_damaged", items) }
	var err error
	if s.queue, err = openQueue(cfg.Dir, cfg.Bytes, lost, cfg.Log); err != nil {
		return nil, err
	}
	s.metrics.wait(s.queue.waiting())
	return s, nil
}

// Close lets go of the queue. What waits in it is for the next process.
func (s *Sink) Close() {
	if s.queue != nil {
		s.queue.close()
	}
}

// Put stores messages and returns nil when all of them are stored. The messages need ids of which it is sure that the same message
// has the same one when the sender repeats it. Else it returns a Refusal; some may be stored then. The end of ctx does not matter: the
// sender may be gone, but not what it sent.
func (s *Sink) Put(ctx context.Context, msgs []bus.Msg) error {
	if len(msgs) == 0 {
		return nil
	}
	way, err := s.put(context.WithoutCancel(ctx), msgs)
	items := 0
	for i := range msgs {
		items += msgs[i].Items
	}
	if err != nil {
		s.metrics.refused(AsRefusal(err).Reason, items)
		return err
	}
	s.metrics.accepted(way, items)
	return nil
}

// Ways that messages go.
const (
	wayBus  = "bus"
	wayDisk = "disk"
)

func (s *Sink) put(ctx context.Context, msgs []bus.Msg) (way string, err error) {
	if s.queue == nil {
		err = s.publish(ctx, s.within, msgs)
		return wayBus, s.refusal(err)
	}
	if s.queue.empty() && s.bus.Ready() == nil {
		err = s.publish(ctx, s.within-s.within/diskShare, msgs)
		if err == nil || hopeless(err) {
			return wayBus, s.refusal(err)
		}
	}
	err = s.queue.put(msgs)
	s.metrics.wait(s.queue.waiting())
	return wayDisk, s.refusal(err)
}

func (s *Sink) publish(ctx context.Context, within time.Duration, msgs []bus.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return s.bus.Publish(ctx, msgs...)
}

// hopeless tells that the bus will never take the messages.
func hopeless(err error) bool {
	return errors.Is(err, bus.ErrTooLarge) || errors.Is(err, bus.ErrRefused)
}

func (s *Sink) refusal(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errQueueFull):
		return busy(http.StatusServiceUnavailable, "queue_full", queueFullWait, "neither the bus nor the disk has room: %w", err)
	case hopeless(err):
		return Refuse(http.StatusRequestEntityTooLarge, "refused_by_bus", "the bus does not take it: %w", err)
	}
	return busy(http.StatusServiceUnavailable, "bus_away", retryAfter, "the bus did not take it in time: %w", err)
}

// Waiting returns how many records wait on disk.
func (s *Sink) Waiting() (records int) {
	if s.queue == nil {
		return 0
	}
	left, _ := s.queue.waiting()
	return left.items
}

// Run takes what waits on disk to the bus until ctx ends; then it returns nil. What waits still is for the next process.
func (s *Sink) Run(ctx context.Context) error {
	if s.queue == nil {
		<-ctx.Done()
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.queue.wake:
		}
		for pause := firstPause; ; pause = min(2*pause, lastPause) {
			err := s.drain(ctx)
			if err == nil || ctx.Err() != nil {
				break
			}
			s.log.Error("queue on disk cannot be read", "error", err)
			wait(ctx, pause)
		}
	}
}

func wait(ctx context.Context, pause time.Duration) {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}

// drain empties the queue.
func (s *Sink) drain(ctx context.Context) error {
	for {
		msgs, to, err := s.queue.next(drainBytes)
		if err != nil || to.segment == 0 {
			return err
		}
		if err := s.deliver(ctx, msgs); err != nil {
			return err
		}
		if err := s.queue.done(to); err != nil {
			return err
		}
		s.metrics.wait(s.queue.waiting())
	}
}

// deliver publishes messages for as long as it takes. It leaves out, and counts, what the bus will never take.
func (s *Sink) deliver(ctx context.Context, msgs []bus.Msg) error {
	for pause := firstPause; len(msgs) > 0; pause = min(2*pause, lastPause) {
		for s.bus.Ready() != nil && ctx.Err() == nil { // what is sent into a gap comes out in any order
			wait(ctx, firstPause)
		}
		err := s.bus.Publish(ctx, msgs...)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case hopeless(err) && len(msgs) == 1:
			s.log.Error("the bus refuses a message that waited on disk", "subject", msgs[0].Subject, "records", msgs[0].Items, "error", err)
			s.metrics.lost("refused_by_bus", msgs[0].Items)
			return nil
		case hopeless(err): // one by one, to find out which
			for i := range msgs {
				if err := s.deliver(ctx, msgs[i:i+1]); err != nil {
					return err
				}
			}
			return nil
		}
		s.log.Warn("what waits on disk cannot be delivered yet", "error", err)
		wait(ctx, pause)
	}
	return nil
}
