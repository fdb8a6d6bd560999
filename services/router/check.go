// SPDX-License-Identifier: Apache-2.0

package router

import (
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/services/router/internal/plan"
)

// Routes are what [Config.Implicit] may hold.
type Routes []Route

// Check returns what the function [Check] does, for a router that has these routes: pipelines may name their destinations too.
func (r Routes) Check(set *config.Set) config.Faults {
	_, faults := plan.Compile(set, r.unconditional(), plan.Environment{})
	return faults
}

func (r Routes) unconditional() []plan.Unconditional {
	always := make([]plan.Unconditional, len(r))
	for i, route := range r {
		always[i] = plan.Unconditional(route)
	}
	return always
}
