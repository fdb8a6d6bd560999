// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"

	"github.com/busbar/busbar/services/router/internal/otlp"
	"github.com/busbar/busbar/services/router/internal/ottl"
	"github.com/busbar/busbar/services/router/internal/redact"
	"github.com/busbar/busbar/services/router/internal/shortcut"
)

// filter removes the things one of its conditions holds for: a resource or scope with all it has, a span, a span event, a
// metric, a data point, a log record. What a condition cannot be evaluated for stays.
type filter struct {
	shortened
	blocks []ottl.Block // at most one of each context
}

func (f filter) run(ctx context.Context, _ Message, p otlp.Payload) (did result) {
	var w otlp.Walk
	for _, b := range f.blocks {
		*depth(&w, b.Context()) = func(at *otlp.Cursor) bool {
			drop, failed := b.Test(ctx, at)
			did.faults += failed
			did.changed = did.changed || drop
			return drop
		}
	}
	p.Walk(w)
	return did
}

// transform executes statements, those of each block at every place of its context before those of the next block.
type transform struct {
	shortened
	blocks []ottl.Block
}

func (t transform) run(ctx context.Context, _ Message, p otlp.Payload) (did result) {
	for _, b := range t.blocks {
		var w otlp.Walk
		*depth(&w, b.Context()) = func(at *otlp.Cursor) bool {
			ran, failed := b.Apply(ctx, at)
			did.faults += failed
			did.changed = did.changed || ran || failed > 0
			return false
		}
		p.Walk(w)
	}
	return did
}

// shortened is what an action does to encoded payloads if its expressions are simple enough.
type shortened struct{ program *shortcut.Program } // nil: they are not

func (s shortened) glance(_ context.Context, _ Message, e Encoded) (did result, done bool) {
	if s.program == nil {
		return result{}, false
	}
	data, err := e.Data()
	if err != nil {
		return result{}, false
	}
	o, ok := s.program.Run(data)
	if !ok || o.Data == nil {
		return result{}, ok
	}
	e.Data, e.Items, e.Changed = func() ([]byte, error) { return o.Data, nil }, o.Out, true
	return result{changed: true, left: &e, out: o.In - o.Out}, true
}

// depth is where a walk meets the things of a context.
func depth(w *otlp.Walk, c ottl.Context) *func(*otlp.Cursor) bool {
	switch c {
	case ottl.Resource:
		return &w.Resource
	case ottl.Scope:
		return &w.Scope
	case ottl.SpanEvent, ottl.DataPoint:
		return &w.Part
	case ottl.Span, ottl.Metric, ottl.Log:
	}
	return &w.Record
}

// redaction removes secrets.
type redaction struct{ *redact.Redactor }

func (r redaction) glance(_ context.Context, m Message, e Encoded) (did result, done bool) { //nolint:unparam // the same for all
	data, err := e.Data()
	return result{}, err == nil && r.Clean(m.Signal, data)
}

func (r redaction) run(_ context.Context, _ Message, p otlp.Payload) result {
	counts := r.Payload(p)
	return result{changed: counts != nil, redacted: counts}
}
