// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	fleetv1 "github.com/busbar/busbar/contract/fleet/v1"
	"github.com/busbar/busbar/kit/run"
)

const beatInterval = 10 * time.Second

// beat tells the fleet how this router is.
func (r *router) beat(ctx context.Context) error {
	started := uint64(time.Now().UnixNano())
	return r.bus.Beat(ctx, r.Root.Beat(Service, r.Instance), beatInterval, func() []byte {
		h := fleetv1.Heartbeat{
			Service: Service, Instance: r.Instance, Node: r.Node, Version: run.Version(),
			StartedUnixNano: started, TimeUnixNano: uint64(time.Now().UnixNano()),
			Dropped: r.metrics.losses(),
		}
		if missing := r.missing.Load(); missing != nil {
			h.Degraded = append(h.Degraded, *missing)
		}
		if p := r.plan.Load(); p != nil {
			h.Facts = map[string]string{
				"pipelines":    strconv.Itoa(p.Pipelines()),
				"destinations": strconv.Itoa(len(p.Destinations())),
			}
		}
		data, err := h.MarshalVT()
		if err != nil {
			r.Log.Error("heartbeat not encoded", slog.Any("error", err))
		}
		return data
	})
}
