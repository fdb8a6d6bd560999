// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/services/router/internal/plan"
)

const resources = `
apiVersion: busbar.dev/v1
kind: Destination
metadata: {name: loki}
spec: {otlphttp: {endpoint: "http://127.0.0.1:3100"}}
---
apiVersion: busbar.dev/v1
kind: Pipeline
metadata: {name: pass}
spec: {to: [loki]}
---
apiVersion: busbar.dev/v1
kind: Pipeline
metadata: {name: change}
spec: {to: [loki], steps: [{transform: 'set(log.attributes["id"], UUID())'}]}
`

// A router that dies after its outputs are stored and before the message is acknowledged leaves nothing twice, not even
// when a pipeline makes something else of the message the second time.
func TestDeathBetweenPublishAndAcknowledgement(t *testing.T) {
	t.Parallel()
	set, err := config.Parse(configv1.Kinds(), config.Source{Name: "test", Data: []byte(resources)})
	if err != nil {
		t.Fatal(err)
	}
	p, faults := plan.Compile(set, nil, plan.Environment{})
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	server := bustest.Start(t)
	r := &router{
		Config: Config{Root: subject.DefaultRoot, Log: slog.New(slog.DiscardHandler)},
		bus:    server.Connect(t, "router"), metrics: newMetrics(nil), ready: make(chan struct{}), absent: newAbsence(time.Minute),
	}
	if err := r.bus.Provision(t.Context(), bus.StreamSpec(r.Root.OTLPStream())); err != nil {
		t.Fatal(err)
	}
	r.apply(t.Context(), p)

	logs := plog.NewLogs()
	logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body().SetStr("text")
	var m plog.ProtoMarshaler
	data, err := m.MarshalLogs(logs)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.bus.Publish(t.Context(), bus.Msg{Subject: r.Root.OTLP(subject.Logs, "a", "b", "c"), Data: data, Items: 1}); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	deliveries := 0
	spec := bus.ConsumerSpec{Stream: r.Root.OTLPStream().Name, Durable: Service, Workers: 1}
	err = r.bus.Consume(ctx, spec, func(ctx context.Context, d *bus.Delivery) error {
		if err := r.route(ctx, d); err != nil {
			t.Error(err)
		}
		if deliveries++; deliveries < 2 {
			return errors.New("died")
		}
		cancel()
		return nil
	})
	if err != nil || deliveries != 2 {
		t.Fatalf("%d deliveries, %v", deliveries, err)
	}
	if out := bustest.ReadAll(t, r.bus, r.Root.OutStream("loki").Name, ""); len(out) != 2 {
		t.Errorf("%d messages are stored, want one for each pipeline", len(out))
	}
}
