// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"strconv"
	"time"

	fleetv1 "github.com/busbar/busbar/contract/fleet/v1"
	"github.com/busbar/busbar/kit/run"
)

// beat tells the fleet how this router is.
func (r *router) beat(ctx context.Context) error {
	b := fleetv1.Beacon{Service: Service, Instance: r.Instance, Node: r.Node, Version: run.Version(), Started: time.Now()}
	return r.bus.Beat(ctx, r.Root.Beat(Service, r.Instance), r.Heartbeat, func() []byte {
		return b.Payload(func(h *fleetv1.Heartbeat) {
			h.Dropped = r.metrics.losses()
			h.Degraded = r.degraded()
			if p := r.plan.Load(); p != nil {
				h.Destinations = p.Destinations()
				h.Facts = map[string]string{
					"pipelines":    strconv.Itoa(p.Pipelines()),
					"destinations": strconv.Itoa(len(p.Destinations())),
				}
			}
		})
	})
}
