// SPDX-License-Identifier: Apache-2.0

// Package ottl compiles and runs the OpenTelemetry Transformation Language. It is the sole user of the Collector's
// implementation. An expression is about the innermost thing that its paths name: span.name makes it one about spans. It
// is compiled once, when it is declared, and tried on samples then, because the language finds out about types only at
// run time. At run time an error concerns one record: the expression does nothing there, and the error is counted.
package ottl

import (
	"context"
	"slices"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/router/internal/otlp"
)

// Context is the kind of thing that an expression is about, under the name that begins its paths.
type Context string

// The contexts, from the outside in.
const (
	Resource  Context = "resource"
	Scope     Context = "scope"
	Span      Context = "span"
	SpanEvent Context = "spanevent"
	Metric    Context = "metric"
	DataPoint Context = "datapoint"
	Log       Context = "log"
)

// In tells whether payloads of a signal have such things.
func (c Context) In(s subject.Signal) bool {
	switch c {
	case Span, SpanEvent:
		return s == subject.Traces
	case Metric, DataPoint:
		return s == subject.Metrics
	case Log:
		return s == subject.Logs
	case Resource, Scope:
	}
	return true
}

// Block is one or more compiled expressions of one context. It is immutable and safe for concurrent use.
type Block interface {
	// Context is what the expressions are about.
	Context() Context
	// Test tells whether one of the conditions holds at a place, and how many could not be evaluated before.
	Test(ctx context.Context, at *otlp.Cursor) (holds bool, faults int)
	// Apply executes the statements in order and tells whether any took effect, and how many could not be executed.
	Apply(ctx context.Context, at *otlp.Cursor) (changed bool, faults int)

	join(next Block) (Block, bool)
}

// Join puts neighbours of the same context into one block each, which is cheaper to run and has the same effect. With
// reorder also blocks that are apart, which is right for conditions: any of them will do.
func Join(blocks []Block, reorder bool) []Block {
	var out []Block
next:
	for _, b := range blocks {
		from := max(len(out)-1, 0)
		if reorder {
			from = 0
		}
		for i := from; i < len(out); i++ {
			if joined, ok := out[i].join(b); ok {
				out[i] = joined
				continue next
			}
		}
		out = append(out, b)
	}
	return out
}

// block is a Block whose expressions run in the Collector's context type K.
type block[K any] struct {
	host       *host[K]
	conditions []*ottl.Condition[K]
	statements []*ottl.Statement[K]
}

func (b *block[K]) Context() Context { return b.host.name }

func (b *block[K]) join(next Block) (Block, bool) {
	n, ok := next.(*block[K])
	if !ok {
		return nil, false
	}
	return &block[K]{
		host:       b.host,
		conditions: slices.Concat(b.conditions, n.conditions),
		statements: slices.Concat(b.statements, n.statements),
	}, true
}

func (b *block[K]) Test(ctx context.Context, at *otlp.Cursor) (holds bool, faults int) {
	t := b.host.enter(at)
	defer b.host.leave(t)
	for _, c := range b.conditions {
		ok, err := c.Eval(ctx, t)
		if err != nil {
			faults++
		} else if ok {
			return true, faults
		}
	}
	return false, faults
}

func (b *block[K]) Apply(ctx context.Context, at *otlp.Cursor) (changed bool, faults int) {
	t := b.host.enter(at)
	defer b.host.leave(t)
	for _, s := range b.statements {
		_, ran, err := s.Execute(ctx, t)
		if err != nil {
			faults++ // it may have changed something before
		}
		changed = changed || ran
	}
	return changed, faults
}

// try runs the expressions of the block and returns the first error.
func (b *block[K]) try(ctx context.Context, at *otlp.Cursor) error {
	t := b.host.enter(at)
	defer b.host.leave(t)
	for _, c := range b.conditions {
		if _, err := c.Eval(ctx, t); err != nil {
			return err
		}
	}
	for _, s := range b.statements {
		if _, _, err := s.Execute(ctx, t); err != nil {
			return err
		}
	}
	return nil
}
