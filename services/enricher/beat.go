// SPDX-License-Identifier: Apache-2.0

package enricher

import (
	"context"
	"strconv"
	"time"

	fleetv1 "github.com/busbar/busbar/contract/fleet/v1"
	"github.com/busbar/busbar/kit/run"
)

// beat tells the fleet how this enricher is.
func (e *enricher) beat(ctx context.Context) error {
	b := fleetv1.Beacon{Service: Service, Instance: e.Instance, Node: e.Node, Version: run.Version(), Started: time.Now()}
	return e.bus.Beat(ctx, e.Root.Beat(Service, e.Instance), fleetv1.Interval, func() []byte {
		return b.Payload(func(h *fleetv1.Heartbeat) {
			h.Dropped, h.Degraded = e.metrics.losses(), e.degraded()
			h.Facts = map[string]string{"nodes": strconv.Itoa(e.ledger.Nodes()), "tenant": e.Tenant}
		})
	})
}
