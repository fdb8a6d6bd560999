// SPDX-License-Identifier: Apache-2.0

package ingestdatadog

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/services/ingest-datadog/internal/dogstatsd"
	"github.com/busbar/busbar/services/ingest-datadog/internal/receive"
)

// mostWaiting bounds what of DogStatsD waits for the bus, where the queue on disk is none or full, in bytes.
const mostWaiting = 32 << 20

// window hands on what was added up, every ten seconds and in the end. What the bus does not take waits, oldest first, and is offered
// again with the next window; beyond its bound the oldest goes and is counted.
func (s *service) window(ctx context.Context) error {
	tick := time.NewTicker(dogstatsd.Window)
	defer tick.Stop()
	var waiting []bus.Msg
	start := time.Now()
	for {
		last := false
		select {
		case <-tick.C:
		case <-ctx.Done():
			last = true
		}
		end := time.Now()
		waiting = s.bounded(append(waiting, s.flush(start, end)...))
		start = end
		if len(waiting) > 0 && s.intake.Sink.Put(context.WithoutCancel(ctx), waiting) == nil {
			waiting = nil
		}
		if last {
			s.count(waiting)
			return nil
		}
	}
}

// flush makes messages of a window.
func (s *service) flush(start, end time.Time) (out []bus.Msg) {
	all := s.sums.Flush(s.mapper, uint64(start.UnixNano()), uint64(end.UnixNano()), s.Instance) //nolint:gosec // after 1970
	for tenant, o := range all {
		msgs, err := o.Messages()
		if err != nil {
			s.log.Error("window of DogStatsD cannot be encoded", "error", err)
			continue
		}
		s.report.Kept(msgs)
		for reason, n := range o.Dropped {
			s.lost(reason, n)
		}
		out = append(out, receive.Messages(s.Root, tenant, Service, "", msgs)...)
	}
	return named(out, s.Instance, end)
}

// named gives messages ids, so that those that are offered twice are stored once.
func named(msgs []bus.Msg, instance string, end time.Time) []bus.Msg {
	for i := range msgs {
		msgs[i].ID = "statsd-" + instance + "-" + end.UTC().Format(time.RFC3339Nano) + "-" + strconv.Itoa(i)
	}
	return msgs
}

// bounded drops the oldest messages that are too many.
func (s *service) bounded(msgs []bus.Msg) []bus.Msg {
	size := 0
	for i, m := range slices.Backward(msgs) {
		if size += len(m.Data); size > mostWaiting {
			s.count(msgs[:i+1])
			return msgs[i+1:]
		}
	}
	return msgs
}

// count counts messages that are lost.
func (s *service) count(msgs []bus.Msg) {
	for i := range msgs {
		s.lost("bus_away", msgs[i].Items)
	}
}
