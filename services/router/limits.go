// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/busbar/busbar/kit/store"
	"github.com/busbar/busbar/kit/store/redis"
	"github.com/busbar/busbar/services/router/internal/limit"
	"github.com/busbar/busbar/services/router/internal/plan"
)

// errOver is why a message is delivered again later.
var errOver = errors.New("over a limit that lets messages wait")

// openStore makes the limiter, and the store behind it if there is an address of one. That it answers is not required.
func (r *router) openStore() (end func(), err error) {
	var shared store.Store
	end = func() {}
	if r.Store != "" {
		s, err := redis.Open(r.Store, string(r.Root)+":")
		if err != nil {
			return nil, err
		}
		shared, end = s, func() { _ = s.Close() }
	}
	r.limiter = limit.New(shared, func(err error) {
		r.metrics.store.Inc()
		r.Log.Warn("store does not answer, limits hold for each replica", "error", err)
	})
	return end, nil
}

// keep remembers what limits took for a message that comes again.
func (r *router) keep(ctx context.Context, res plan.Result) {
	for _, id := range res.Paid {
		r.limiter.Keep(ctx, id, time.Now())
	}
}

// degraded says what is not as it should be, for the heartbeat.
func (r *router) degraded() (reasons []string) {
	if missing := r.missing.Load(); missing != nil {
		reasons = append(reasons, *missing)
	}
	reasons = append(reasons, r.refusal.Degraded()...)
	reasons = append(reasons, r.absent.reasons()...)
	if err := r.limiter.Away(); err != nil {
		reasons = append(reasons, fmt.Sprintf("store does not answer, limits hold for each replica: %v", err))
	}
	return reasons
}
