// SPDX-License-Identifier: Apache-2.0

// Package plan decides where each message goes and as what. A plan is compiled from the resources in force and never
// changes. It looks inside a message only if a pipeline asks about more than the subject says, and then no deeper than the
// question needs: a match reads resources on the wire, and only a step has records decoded, once for all pipelines.
package plan

import (
	"context"
	"fmt"
	"slices"
	"time"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/router/internal/pipeline"
)

// Plan is compiled from a set of resources. It does not change and is safe for concurrent use, once it is started.
type Plan struct {
	life
	routes       map[subject.Signal][]*route
	destinations []string
	retention    map[string]configv1.Retention // of declared destinations
	pipelines    int
	skipped      []Skip
}

// route takes messages of one signal to destinations.
type route struct {
	name                          string
	tenants, namespaces, services globs
	pipeline                      *pipeline.Pipeline // nil leaves everything as it is
	to                            []string           // those that take the signal
}

// Message is a message as far as routing it needs.
type Message struct {
	Subject subject.OTLPParts
	ID      string                 // the same whenever it is delivered
	Again   bool                   // it was delivered before
	Items   int                    // records, as its header says
	Data    func() ([]byte, error) // returns the decoded payload; called at most once
	// Only names the pipelines that are to have the message, the others being done with it; none means all.
	Only []string
}

// Output is what goes to a destination because of a message.
type Output struct {
	Destination string
	// Part is different for each output of one message, and the same whenever the message is routed by this plan.
	Part string
	// Data is the payload; nil stands for the message as it came.
	Data  []byte
	Items int // records inside
}

// Tally is what became of a message in one pipeline: In + Effect.Made = Out + the sum of Effect.Dropped.
type Tally struct {
	Pipeline string
	In, Out  int
	To       []string // destinations that Out went to
	Effect   pipeline.Effect
}

// Result is what is to be done about a message.
type Result struct {
	Outputs []Output
	Tallies []Tally
	// Merged are destinations that several pipelines sent the message to as it came, and that get it once: one for each time.
	Merged []string
	// Unrouted are records that no pipeline took, Ignored those of a signal that no destination in use takes.
	Unrouted, Ignored int
	// Failed says that pipelines had to look inside and could not; it wraps ErrPanic if that is a mistake of the program.
	// Outputs are those of the others. FailedIn names them.
	Failed   error
	FailedIn []string
	// Wait is how long the message has to wait before it is routed anew, because of a limit; zero for not at all. There are no
	// outputs then.
	Wait time.Duration
	// Paid names what limits took for the message, to be kept for it (limit.Limiter.Keep) if it has to come again.
	Paid []string
}

// Skip says that a pipeline does not take signals to a destination that has no use for them.
type Skip struct {
	Pipeline, Destination string
	Signals               []subject.Signal
}

// Destinations returns the names of the destinations that the plan has a way to, sorted.
func (p *Plan) Destinations() []string { return p.destinations }

// Stream returns the stream of a destination, as its resource wants it.
func (p *Plan) Stream(root subject.Root, destination string) subject.Stream {
	return p.retention[destination].Stream(root, destination)
}

// To returns a plan of the ways to one destination, through one pipeline or, if that is "", through any; nil if there is none.
func (p *Plan) To(destination, through string) *Plan {
	only := &Plan{routes: map[subject.Signal][]*route{}, destinations: []string{destination}, retention: p.retention}
	only.hosted = p.hosted
	for signal, routes := range p.routes {
		for _, r := range routes {
			if slices.Contains(r.to, destination) && (through == "" || through == r.name) {
				way := *r
				way.to = []string{destination}
				only.routes[signal] = append(only.routes[signal], &way)
			}
		}
	}
	if len(only.routes) == 0 {
		return nil
	}
	return only
}

// AsIs returns a plan that hands everything to one destination as it comes.
func AsIs(destination string) *Plan {
	p := &Plan{routes: map[subject.Signal][]*route{}}
	for _, signal := range subject.Signals() {
		p.add(signal, &route{name: implicit, to: []string{destination}})
	}
	return p
}

// Pipelines returns the number of declared pipelines.
func (p *Plan) Pipelines() int { return p.pipelines }

// Skipped returns what the plan leaves out without a word in the resources about it.
func (p *Plan) Skipped() []Skip { return p.skipped }

// Route decides about a message.
func (p *Plan) Route(ctx context.Context, m Message) Result {
	routes := p.routes[m.Subject.Signal]
	if len(routes) == 0 {
		return Result{Ignored: m.Items}
	}
	v := &view{message: m}
	var taking []*route
	for _, r := range routes {
		if len(m.Only) > 0 && !slices.Contains(m.Only, r.name) {
			continue
		}
		if r.tenants.match(m.Subject.Tenant) && r.namespaces.match(m.Subject.Namespace) && r.services.match(m.Subject.Service) {
			taking = append(taking, r)
			if r.pipeline != nil && r.pipeline.Looks(m.Subject.Signal) {
				v.readers++
			}
		}
	}
	if len(taking) == 0 {
		return Result{Unrouted: m.Items}
	}
	var res Result
	var whole []string // destinations that get the message as it came: once, however many pipelines say so
	for _, r := range taking {
		out, err := r.guarded(ctx, v)
		if err != nil {
			res.Failed, res.FailedIn = fmt.Errorf("pipeline %s: %w", r.name, err), append(res.FailedIn, r.name)
			continue
		}
		res.Paid = append(res.Paid, out.tally.Effect.Paid...)
		if res.Wait = max(res.Wait, out.tally.Effect.Wait); res.Wait > 0 {
			continue
		}
		if out.tally.In > 0 || out.whole || out.tally.Effect.Faults != nil {
			res.Tallies = append(res.Tallies, out.tally)
		}
		for _, to := range r.to {
			switch {
			case out.whole && slices.Contains(whole, to):
				res.Merged = append(res.Merged, to)
			case out.whole:
				whole = append(whole, to)
			}
			res.Outputs = r.outputs(res.Outputs, to, out.chunks)
		}
	}
	if res.Wait > 0 {
		return Result{Wait: res.Wait, Paid: res.Paid}
	}
	for _, to := range whole {
		res.Outputs = append(res.Outputs, Output{Destination: to, Part: to, Items: m.Items})
	}
	if res.Failed == nil {
		res.Unrouted = v.untaken()
	}
	return res
}

// add records a destination that the plan uses.
func (p *Plan) add(signal subject.Signal, r *route) {
	if len(r.to) == 0 {
		return
	}
	p.routes[signal] = append(p.routes[signal], r)
	p.destinations = append(p.destinations, r.to...)
	slices.Sort(p.destinations)
	p.destinations = slices.Compact(p.destinations)
}
