// SPDX-License-Identifier: Apache-2.0

// Package pipeline compiles what a Pipeline resource says about data, and does it to payloads: which resources it takes,
// and the steps their records go through. But for limits it keeps no state, so the result for a payload is the same on every
// replica and at every redelivery.
package pipeline

import (
	"context"

	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/router/internal/otlp"
	"github.com/busbar/busbar/services/router/internal/ottl"
)

// Reasons why a step leaves records out.
const (
	Filtered = "filter"
	Sampled  = "sample"
)

// Pipeline is compiled. It is immutable and safe for concurrent use.
type Pipeline struct {
	match ottl.Block // nil takes every resource
	steps map[subject.Signal][]step
}

// Effect is what a pipeline did to a payload.
type Effect struct {
	Changed  bool           // the payload is no longer as it was decoded
	Dropped  map[string]int // records left out, by reason
	Faults   map[string]int // expressions that could not be evaluated for a record, by step: "match", "steps[0].filter"
	Redacted map[string]int // secrets removed, by kind
}

// step is one step, for one signal.
type step struct {
	name   string // as in Effect.Faults
	reason string // why it drops, if it does
	action action
}

// action does the work of a step on a payload, and tells whether it changed it and how many expressions failed.
type action interface {
	run(ctx context.Context, p otlp.Payload) result
}

// sparer is an action that can tell from an encoded payload that there is nothing for it to do.
type sparer interface {
	spares(s subject.Signal, payload []byte) bool
}

// result is what an action did.
type result struct {
	changed  bool
	faults   int            // expressions that could not be evaluated
	redacted map[string]int // by kind
}

// Matches tells whether the pipeline asks what resource data is about.
func (p *Pipeline) Matches() bool { return p.match != nil }

// Looks tells whether the pipeline must see records of a signal.
func (p *Pipeline) Looks(s subject.Signal) bool { return len(p.steps[s]) > 0 }

// Match tells for each resource whether the pipeline takes it. One that the condition cannot be evaluated for is not taken.
func (p *Pipeline) Match(ctx context.Context, heads ptrace.ResourceSpansSlice) (takes []bool, effect Effect) {
	takes = make([]bool, heads.Len())
	for i := range takes {
		head := heads.At(i)
		at := otlp.Cursor{Signal: subject.Traces, ResourceSpans: head, Resource: head.Resource()}
		holds, faults := p.match.Test(ctx, &at)
		takes[i] = holds
		effect.fault("match", faults)
	}
	return takes, effect
}

// Spares returns how many steps, from the first on, certainly leave an encoded payload as it is. If done, all of them do, and it
// need not be decoded.
func (p *Pipeline) Spares(s subject.Signal, payload []byte) (from int, done bool) {
	steps := p.steps[s]
	for from < len(steps) {
		a, ok := steps[from].action.(sparer)
		if !ok || !a.spares(s, payload) {
			return from, false
		}
		from++
	}
	return from, true
}

// Run takes a payload through the steps, in order, from the one with the given number on, and changes it in place.
func (p *Pipeline) Run(ctx context.Context, data otlp.Payload, from int) (effect Effect) {
	before := data.Len()
	for _, s := range p.steps[data.Signal()][from:] {
		if before == 0 {
			break
		}
		did := s.action.run(ctx, data)
		effect.fault(s.name, did.faults)
		for kind, n := range did.redacted {
			add(&effect.Redacted, kind, n)
		}
		if !did.changed {
			continue
		}
		effect.Changed = true
		after := data.Len()
		effect.Drop(s.reason, before-after)
		before = after
	}
	return effect
}

// Drop adds n records that were left out.
func (e *Effect) Drop(reason string, n int) { add(&e.Dropped, reason, n) }

func (e *Effect) fault(step string, n int) { add(&e.Faults, step, n) }

// Add adds what another effect counts.
func (e *Effect) Add(other Effect) {
	for reason, n := range other.Dropped {
		e.Drop(reason, n)
	}
	for step, n := range other.Faults {
		e.fault(step, n)
	}
	for kind, n := range other.Redacted {
		add(&e.Redacted, kind, n)
	}
}

func add(counts *map[string]int, key string, n int) {
	if n == 0 {
		return
	}
	if *counts == nil {
		*counts = map[string]int{}
	}
	(*counts)[key] += n
}
