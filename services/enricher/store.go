// SPDX-License-Identifier: Apache-2.0

package enricher

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/busbar/busbar/kit/store/redis"
	"github.com/busbar/busbar/services/enricher/internal/peer"
	"github.com/busbar/busbar/services/enricher/internal/shared"
)

// agreeEvery is how often it is looked whether there is something to agree on anew.
const agreeEvery = time.Second

// openStore makes what remembers peers, and opens the store in which replicas agree on them if there is an address of one. That it answers is not
// required.
func (e *enricher) openStore() (end func(), err error) {
	if e.Store == "" {
		e.peers = peer.New(nil)
		return func() {}, nil
	}
	s, err := redis.Open(e.Store, string(e.Root)+":"+Service+"/")
	if err != nil {
		return nil, err
	}
	e.sets = shared.New(s, "", func(err error) {
		e.metrics.store.Inc()
		e.Log.Warn("store does not answer, peers are named by each replica", slog.Any("error", err))
	})
	e.peers = peer.New(e.sets)
	return func() { _ = s.Close() }, nil
}

// agree sees to it that replicas agree again after the store was away, or has lost what it had.
func (e *enricher) agree(ctx context.Context) error {
	tick := time.NewTicker(agreeEvery)
	defer tick.Stop()
	agreed := "" // state of the store with which all was agreed on
	for {
		if state, err := e.sets.State(ctx); err == nil {
			if e.peers.Renew(state != agreed) == nil {
				agreed = state
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// degraded says what is not as it should be, for the heartbeat.
func (e *enricher) degraded() []string {
	reasons := e.refusal.Degraded()
	if e.sets != nil {
		if err := e.sets.Away(); err != nil {
			reasons = append(reasons, fmt.Sprintf("store does not answer, peers are named by each replica: %v", err))
		}
	}
	if e.watcher != nil {
		reasons = append(reasons, e.watcher.Degraded()...)
	}
	return reasons
}
