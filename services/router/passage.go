// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"errors"
	"fmt"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/kit/run"
	"github.com/busbar/busbar/services/router/internal/plan"
)

// SourceReplay is the value of the header Busbar-Source of what a Passage makes.
const SourceReplay = "replay"

// ErrNoWay is the error of NewPassage when no pipeline leads to the destination.
var ErrNoWay = errors.New("no pipeline leads to it")

// Passage is the way of messages of the past to one destination: through the pipelines that lead there, and to no other. Limits are
// for the live flow and do not hold on it.
type Passage struct {
	root subject.Root
	plan *plan.Plan
}

// NewPassage returns the way to a destination through one pipeline, or through all that lead there if through is "". The
// implicit routes are those of [Config.Implicit]. Its error is about the resources in set, or ErrNoWay.
func NewPassage(set *config.Set, implicit Routes, root subject.Root, destination, through string) (*Passage, error) {
	p, faults := plan.Compile(set, implicit.unconditional(), plan.Environment{Version: run.Version()})
	if err := faults.Err(); err != nil {
		return nil, err
	}
	if p = p.To(destination, through); p == nil {
		return nil, fmt.Errorf("destination %s: %w", destination, ErrNoWay)
	}
	if err := p.Start(context.Background()); err != nil {
		return nil, err
	}
	return &Passage{root, p}, nil
}

// AsIs returns a way that changes nothing and leaves nothing out.
func AsIs(root subject.Root, destination string) *Passage {
	return &Passage{root, plan.AsIs(destination)}
}

// Close ends a way that is no longer used.
func (p *Passage) Close() error { return p.plan.Retire() }

// Take returns what is to be stored because of a message, and how many records are left out, by reason. The ids are those of the
// run: the same when it comes again, and others than those of the live flow.
func (p *Passage) Take(ctx context.Context, d *bus.Delivery, run string) (msgs []bus.Msg, left map[string]int) {
	left = map[string]int{}
	parts, ok := p.root.ParseOTLP(d.Subject)
	if !ok {
		left[reasonSubject] += d.Items()
		return nil, left
	}
	res := p.plan.Route(ctx, plan.Message{Subject: parts, Items: d.Items(), Data: d.Data})
	for _, t := range res.Tallies {
		for reason, n := range t.Effect.Dropped {
			left[reason] += n
		}
	}
	if n := res.Unrouted + res.Ignored; n > 0 {
		left[dropUnrouted] += n
	}
	if res.Failed != nil {
		left[bus.ReasonUndecodable] += d.Items()
	}
	msgs = messages(p.root, d, parts, res.Outputs, "replay-"+run+"/", SourceReplay)
	for i := range msgs {
		if msgs[i].Items == 0 {
			msgs[i].Items = d.Items()
		}
		msgs[i].Header[subject.HeaderSource] = SourceReplay
	}
	return msgs, left
}
