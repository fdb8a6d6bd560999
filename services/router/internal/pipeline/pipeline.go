// SPDX-License-Identifier: Apache-2.0

// Package pipeline compiles what a Pipeline resource says about data, and does it to payloads: which resources it takes,
// and the steps their records go through. But for limits it keeps no state, so the result for a payload is the same on every
// replica and at every redelivery.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/collector"
	"github.com/busbar/busbar/services/router/internal/otlp"
	"github.com/busbar/busbar/services/router/internal/ottl"
)

// Reasons why a step leaves records out.
const (
	Filtered = "filter"
	Sampled  = "sample"
	Limited  = "limit"
)

// Pipeline is compiled. It is immutable and safe for concurrent use.
type Pipeline struct {
	match ottl.Block // nil takes every resource
	steps map[subject.Signal][]step

	hosted []*collector.Processor
}

// Effect is what a pipeline did to a payload.
type Effect struct {
	Changed  bool           // the payload is no longer as it was decoded
	Dropped  map[string]int // records left out, by reason
	Made     int            // records that steps made besides those they were given
	Faults   map[string]int // expressions that could not be evaluated for a record, by step: "match", "steps[0].filter"
	Redacted map[string]int // secrets removed, by kind
	// Wait is how long a limit wants the message to wait before it is routed anew; zero for not at all. What else was done to
	// the payload is of no use then.
	Wait time.Duration
	// Paid names what limits took for the message, to be kept for it (limit.Limiter.Keep) if it has to come again.
	Paid []string
}

// Message is what the bus says about a payload.
type Message struct {
	subject.OTLPParts
	ID    string // the same whenever it is delivered
	Again bool   // it was delivered before
}

// Encoded is a payload that has not been decoded.
type Encoded struct {
	Data    func() ([]byte, error) // takes it off its compression
	Items   int                    // records
	Changed bool                   // it is no longer as it came
}

// step is one step, for one signal.
type step struct {
	name   string // as in Effect.Faults
	reason string // why it drops, if it does
	action action
}

// action does the work of a step on a payload.
type action interface {
	run(ctx context.Context, m Message, p otlp.Payload) result
}

// early is an action that may do without decoding.
type early interface {
	// glance tells what the action does to an encoded payload; done is false if it has to be decoded to know, or cannot be.
	glance(ctx context.Context, m Message, e Encoded) (did result, done bool)
}

// result is what an action did.
type result struct {
	changed  bool
	dropped  bool           // all of it; the payload itself may be as it was
	faults   int            // expressions that could not be evaluated
	redacted map[string]int // by kind
	wait     time.Duration
	paid     []string
	err      error // the payload cannot be handed on
	// What a glance has made of an encoded payload, nil if it is as it was, and how many records it left out.
	left *Encoded
	out  int
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

// Begin takes an encoded payload through the steps, in order, for as long as these do without decoding it. It returns the payload as
// they leave it, the number of the next step, and whether that is all there is to do.
func (p *Pipeline) Begin(ctx context.Context, m Message, e Encoded) (left Encoded, next int, done bool, effect Effect) {
	steps := p.steps[m.Signal]
	for left = e; next < len(steps); {
		s := steps[next]
		a, ok := s.action.(early)
		if !ok {
			return left, next, false, effect
		}
		did, ok := a.glance(ctx, m, left)
		if !ok {
			return left, next, false, effect
		}
		effect.take(s, did)
		next++
		if did.dropped {
			did.left, did.out = &Encoded{Changed: true}, left.Items
		}
		if did.left != nil {
			left, effect.Changed = *did.left, true
			effect.Drop(s.reason, did.out)
		}
		if left.Changed && left.Items == 0 || did.wait > 0 {
			break
		}
	}
	return left, next, true, effect
}

// ErrStep is why a payload cannot be handed on: a hosted processor failed.
var ErrStep = errors.New("processor failed")

// Hosted returns the processors of the pipeline, which have to be started before it runs.
func (p *Pipeline) Hosted() []*collector.Processor { return p.hosted }

// Run takes a payload through the steps, in order, from the one with the given number on, and changes it in place. Its errors
// wrap ErrStep.
func (p *Pipeline) Run(ctx context.Context, m Message, data otlp.Payload, from int) (effect Effect, err error) {
	before := data.Len()
	for _, s := range p.steps[data.Signal()][from:] {
		if before == 0 || effect.Wait > 0 {
			break
		}
		did := s.action.run(ctx, m, data)
		if did.err != nil {
			return effect, fmt.Errorf("%w: %s: %w", ErrStep, s.name, did.err)
		}
		effect.take(s, did)
		if did.dropped {
			data.Clear()
		}
		if !did.changed && !did.dropped {
			continue
		}
		effect.Changed = true
		after := data.Len()
		effect.Drop(s.reason, max(0, before-after))
		effect.Made += max(0, after-before)
		before = after
	}
	return effect, nil
}

// take adds what a step did, but for changes and drops.
func (e *Effect) take(s step, did result) {
	e.fault(s.name, did.faults)
	for kind, n := range did.redacted {
		add(&e.Redacted, kind, n)
	}
	e.Wait = did.wait
	e.Paid = append(e.Paid, did.paid...)
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
	e.Made += other.Made
	e.Wait = max(e.Wait, other.Wait)
	e.Paid = append(e.Paid, other.Paid...)
	e.Changed = e.Changed || other.Changed
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
