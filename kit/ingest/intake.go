// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/run"
)

// Intake is what a request goes through, made of Settings.
type Intake struct {
	Tenants Tenants
	Gate    *Gate
	Sink    *Sink
	Counter Counter
}

// Open makes the Intake of a service. Close it after Run has ended and no request is under way.
func Open(s Settings, service string, b *bus.Bus, reg prometheus.Registerer, log *slog.Logger) (*Intake, error) {
	in := &Intake{
		Tenants: Tenants{Default: s.Tenant, Header: s.TenantHeader},
		Gate:    NewGate(s.Limits, service, reg),
		Counter: NewCounter(service, reg),
	}
	if err := checkTenant(s.Tenant); err != nil {
		return nil, fmt.Errorf("tenant %q: %w", s.Tenant, err)
	}
	var err error
	if s.Keys != "" {
		if in.Tenants.Keys, err = ReadKeys(s.Keys, service, reg, log); err != nil {
			return nil, err
		}
	}
	in.Sink, err = NewSink(SinkConfig{
		Bus: b, Service: service, Within: s.Within, Dir: s.QueueDir, Bytes: s.QueueBytes, Metrics: reg, Log: log,
	})
	if err != nil {
		return nil, err
	}
	return in, nil
}

// Run takes what waits on disk to the bus, and follows the file of keys, until ctx ends; then it returns nil.
func (in *Intake) Run(ctx context.Context) error {
	var group run.Group
	group.Add("queue", in.Sink.Run)
	if in.Tenants.Keys != nil {
		group.Add("keys", in.Tenants.Keys.Run)
	}
	return group.Run(ctx)
}

// Lost counts records that came and will never be stored, in busbar_dropped_records_total. Reason is a constant of the program.
func (in *Intake) Lost(reason string, records int) { in.Sink.metrics.lost(reason, records) }

// Close lets go of the queue on disk.
func (in *Intake) Close() { in.Sink.Close() }
