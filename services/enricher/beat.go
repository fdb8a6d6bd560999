// SPDX-License-Identifier: Apache-2.0

package enricher

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	fleetv1 "github.com/busbar/busbar/contract/fleet/v1"
	"github.com/busbar/busbar/kit/run"
)

const beatInterval = 10 * time.Second

// beat tells the fleet how this enricher is.
func (e *enricher) beat(ctx context.Context) error {
	started := uint64(time.Now().UnixNano())
	return e.bus.Beat(ctx, e.Root.Beat(Service, e.Instance), beatInterval, func() []byte {
		data, err := (&fleetv1.Heartbeat{
			Service: Service, Instance: e.Instance, Node: e.Node, Version: run.Version(),
			StartedUnixNano: started, TimeUnixNano: uint64(time.Now().UnixNano()),
			Dropped: e.metrics.losses(),
			Facts:   map[string]string{"nodes": strconv.Itoa(e.ledger.Nodes()), "tenant": e.Tenant},
		}).MarshalVT()
		if err != nil {
			e.Log.Error("heartbeat not encoded", slog.Any("error", err))
		}
		return data
	})
}
