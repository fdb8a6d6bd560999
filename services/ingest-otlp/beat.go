// SPDX-License-Identifier: Apache-2.0

package ingestotlp

import (
	"context"
	"fmt"
	"strconv"
	"time"

	fleetv1 "github.com/busbar/busbar/contract/fleet/v1"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/ingest"
	"github.com/busbar/busbar/kit/run"
)

// beat tells the fleet how this instance is.
func beat(ctx context.Context, cfg Config, b *bus.Bus, in *ingest.Intake) error {
	beacon := fleetv1.Beacon{Service: Service, Instance: cfg.Instance, Node: cfg.Node, Version: run.Version(), Started: time.Now()}
	return b.Beat(ctx, cfg.Root.Beat(Service, cfg.Instance), fleetv1.Interval, func() []byte {
		return beacon.Payload(func(h *fleetv1.Heartbeat) {
			waiting := in.Sink.Waiting()
			if waiting > 0 {
				h.Degraded = []string{fmt.Sprintf("%d records wait on disk for the bus", waiting)}
			}
			h.Facts = map[string]string{"waiting_records": strconv.Itoa(waiting), "tenant": cfg.Intake.Tenant}
		})
	})
}
