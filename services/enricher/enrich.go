// SPDX-License-Identifier: Apache-2.0

package enricher

import (
	"context"
	"errors"
	"fmt"
	"strings"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/services/enricher/internal/kube"
	"github.com/busbar/busbar/services/enricher/internal/otlp"
)

// Reasons of dead letters besides bus.ReasonUndecodable.
const (
	reasonSchema   = "schema"    // the header names another message
	reasonTooLarge = "too_large" // no probe makes batches of that size
)

// enrich makes OpenTelemetry data of one message.
func (e *enricher) enrich(ctx context.Context, d *bus.Delivery) error {
	if strings.HasPrefix(d.Subject, e.family("process")) {
		return e.enrichProcesses(ctx, d)
	}
	return e.enrichExchanges(ctx, d)
}

// enrichExchanges makes spans and metrics of a batch of exchanges and stores them.
func (e *enricher) enrichExchanges(ctx context.Context, d *bus.Delivery) error {
	batch := eventv1.ExchangeBatchFromVTPool()
	defer release(batch)
	if err := read(d, subject.SchemaExchanges, batch); err != nil {
		return err
	}
	e.metrics.gaps.Add(float64(e.ledger.See(batch.GetOrigin())))
	if e.early(d, batch.GetProcesses()) {
		return bus.Later(kube.Step)
	}
	encoder := e.encoders.Get().(*otlp.Encoder)
	result := encoder.Encode(batch)
	if err := e.publish(ctx, d, result.Messages); err != nil {
		return err // the bus may still be reading the encoder's buffers, so it is not used again
	}
	e.metrics.count(len(batch.GetExchanges()), result)
	e.encoders.Put(encoder)
	return nil
}

// release lets a batch be used again, of which nothing may be in use any more. One that is much larger than those of probes goes.
func release(batch *eventv1.ExchangeBatch) {
	const most = 8192 // exchanges
	if len(batch.GetExchanges()) <= most {
		batch.ReturnToVTPool()
	}
}

// enrichProcesses makes metrics of what processes use and stores them. What became of processes is for others.
func (e *enricher) enrichProcesses(ctx context.Context, d *bus.Delivery) error {
	batch := new(eventv1.ProcessBatch)
	if err := read(d, subject.SchemaProcesses, batch); err != nil {
		return err
	}
	processes := make([]*eventv1.Process, len(batch.GetSamples()))
	for i, sample := range batch.GetSamples() {
		processes[i] = sample.GetProcess()
	}
	if e.early(d, processes) {
		return bus.Later(kube.Step)
	}
	result := e.usage.Encode(batch)
	if err := e.publish(ctx, d, result.Messages); err != nil {
		return err
	}
	e.metrics.count(0, result)
	return nil
}

// read decodes a batch, whose texts are pieces of the message: who keeps one keeps all of it, unless he clones. Its errors are
// permanent.
func read(d *bus.Delivery, schema string, into interface{ UnmarshalVTUnsafe(data []byte) error }) error {
	if says := d.Header(subject.HeaderSchema); says != "" && says != schema {
		return bus.Permanent(reasonSchema, fmt.Errorf("schema is %.100q, not %s", says, schema))
	}
	data, err := d.Data()
	if err != nil {
		return err
	}
	if len(data) > bus.MaxData {
		return bus.Permanent(reasonTooLarge, fmt.Errorf("batch has %d bytes, at most %d are allowed", len(data), bus.MaxData))
	}
	if err := into.UnmarshalVTUnsafe(data); err != nil {
		return bus.Permanent(bus.ReasonUndecodable, fmt.Errorf("decode batch: %w", err))
	}
	return nil
}

// publish stores what was made of a batch. The ids name the batch and the part, so that each part is stored once.
func (e *enricher) publish(ctx context.Context, d *bus.Delivery, messages []otlp.Message) error {
	if len(messages) == 0 {
		return nil
	}
	out := make([]bus.Msg, len(messages))
	for i, m := range messages {
		out[i] = bus.Msg{
			Subject: e.Root.OTLP(m.Signal, e.Tenant, m.Namespace, m.Service),
			ID:      d.DerivedID(m.Part),
			Header:  map[string]string{subject.HeaderSchema: m.Signal.Schema(), subject.HeaderSource: Service},
			Items:   m.Items,
			Data:    m.Data,
		}
	}
	err := e.bus.Publish(ctx, out...)
	if errors.Is(err, bus.ErrTooLarge) {
		return bus.Permanent(reasonTooLarge, err) // a server with a limit below ours
	}
	return err
}
