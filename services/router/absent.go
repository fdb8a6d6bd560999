// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/services/router/internal/plan"
)

// patience is for how many heartbeats a destination whose stream takes nothing may hold up messages. A message is done with when
// every destination has it, so one that cannot be had would stop all others.
const patience = 3

// absence knows the destinations whose streams take nothing.
type absence struct {
	grace time.Duration

	mu    sync.Mutex
	since map[string]time.Time
	why   map[string]error
}

func newAbsence(grace time.Duration) *absence {
	return &absence{grace: grace, since: map[string]time.Time{}, why: map[string]error{}}
}

// note notes how an attempt at a destination ended, and tells whether it has been given up.
func (a *absence) note(destination string, err error) (lost bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		delete(a.since, destination)
		delete(a.why, destination)
		return false
	}
	if a.since[destination].IsZero() {
		a.since[destination] = time.Now()
	}
	a.why[destination] = err
	return time.Since(a.since[destination]) >= a.grace
}

// split parts what can be stored from what would only hold it up.
func (a *absence) split(outputs []plan.Output) (kept []plan.Output, lost []plan.Output) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.since) == 0 {
		return outputs, nil
	}
	for _, out := range outputs {
		if since, ok := a.since[out.Destination]; ok && time.Since(since) >= a.grace {
			lost = append(lost, out)
		} else {
			kept = append(kept, out)
		}
	}
	return kept, lost
}

// reasons tells an operator of those that are given up.
func (a *absence) reasons() (texts []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(a.since)) {
		if time.Since(a.since[name]) >= a.grace {
			texts = append(texts, "destination "+name+": its stream takes nothing since "+a.since[name].UTC().Format(time.RFC3339)+": "+a.why[name].Error())
		}
	}
	return texts
}

// names lists the destinations of which the last attempt failed.
func (a *absence) names() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.since))
}

// store stores outputs, but for those of destinations whose streams have taken nothing for so long that they are given up; these it
// returns, to be counted. On an error the message is to come again.
func (r *router) store(ctx context.Context, p *plan.Plan, d *bus.Delivery, parts subject.OTLPParts, outputs []plan.Output) (lost []plan.Output, err error) {
	outputs, lost = r.absent.split(outputs)
	if len(outputs) == 0 {
		return lost, nil
	}
	if err = r.publish(ctx, d, parts, outputs); err == nil {
		return lost, nil
	}
	if !refusal(err) || r.bus.Ready() != nil || ctx.Err() != nil {
		return nil, r.unpublished(ctx, p, err)
	}
	// One of them is at fault. What is stored already is not stored again.
	by := map[string][]plan.Output{}
	for _, out := range outputs {
		by[out.Destination] = append(by[out.Destination], out)
	}
	err = nil
	for _, name := range slices.Sorted(maps.Keys(by)) {
		failure := r.publish(ctx, d, parts, by[name])
		switch {
		case failure != nil && !refusal(failure):
			err = errors.Join(err, r.unpublished(ctx, p, failure))
		case r.absent.note(name, failure):
			lost = append(lost, by[name]...)
		case failure != nil:
			err = errors.Join(err, failure)
		}
	}
	if err != nil {
		return nil, err
	}
	return lost, nil
}

// refusal tells whether an error is the stream's own, rather than one of the bus or of the message.
func refusal(err error) bool {
	return errors.Is(err, bus.ErrNoStream) || errors.Is(err, bus.ErrRefused)
}

// mend tries again to make the streams of destinations that take nothing.
func (r *router) mend(ctx context.Context) {
	p := r.plan.Load()
	if p == nil {
		return
	}
	for _, name := range r.absent.names() {
		if !slices.Contains(p.Destinations(), name) {
			r.absent.note(name, nil)
			continue
		}
		err := r.bus.Provision(ctx, bus.StreamSpec(p.Stream(r.Root, name)))
		if r.bus.Ready() == nil && ctx.Err() == nil {
			r.absent.note(name, err)
		}
	}
}
