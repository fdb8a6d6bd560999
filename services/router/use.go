// SPDX-License-Identifier: Apache-2.0

package router

import (
	"log/slog"

	"github.com/busbar/busbar/kit/run"
	"github.com/busbar/busbar/services/router/internal/plan"
)

// environment is what plans find around them here.
func (r *router) environment() plan.Environment {
	return plan.Environment{Limiter: r.limiter, Version: run.Version(), Log: r.Log}
}

// enter returns the plan in force, which is not ended before leave.
func (r *router) enter() *plan.Plan {
	for {
		if p := r.plan.Load(); p.Enter() { // else the next one is in force already
			return p
		}
	}
}

func (r *router) leave(p *plan.Plan) { r.ended(p.Leave()) }

// retire has a plan, if there is one, end when it is no longer in use.
func (r *router) retire(p *plan.Plan) {
	if p != nil {
		r.ended(p.Retire())
	}
}

func (r *router) ended(err error) {
	if err != nil {
		r.Log.Warn("processors do not end well", slog.Any("error", err))
	}
}
