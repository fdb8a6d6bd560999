// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"log/slog"
	"slices"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/services/router/internal/limit"
	"github.com/busbar/busbar/services/router/internal/ottl"
	"github.com/busbar/busbar/services/router/internal/pipeline"
)

// Unconditional is a destination that gets everything of its signals whatever pipelines say; no signals mean all.
type Unconditional struct {
	Destination string
	Signals     []subject.Signal
}

// implicit names the routes that no resource declares. No resource can have this name.
const implicit = "(implicit)"

// Environment is what a plan finds around it when it runs.
type Environment struct {
	Limiter *limit.Limiter // nil leaves limits out
	Version string         // of the program
	Log     *slog.Logger   // of hosted processors; nil for none
}

// Compile makes a plan of the resources in set and the unconditional destinations, and returns all that is wrong with them.
// The plan is nil if anything is.
func Compile(set *config.Set, always []Unconditional, env Environment) (*Plan, config.Faults) {
	language, err := ottl.NewCompiler()
	if err != nil {
		return nil, config.Faults{{Reason: err.Error()}}
	}
	c := compiler{
		pipelines: pipeline.Compiler{Language: language, Limiter: env.Limiter, Version: env.Version, Log: env.Log},
		plan:      &Plan{routes: map[subject.Signal][]*route{}, retention: map[string]configv1.Retention{}},
		takes:     map[string][]subject.Signal{},
	}
	for _, d := range set.Of(configv1.KindDestination) {
		if spec, ok := d.Spec.(*configv1.Destination); ok {
			c.takes[d.Name] = takes(spec)
			c.plan.retention[d.Name] = spec.Retention(func(path, reason string) {
				c.faults = append(c.faults, d.Fault("spec."+path, "%s", reason))
			})
		}
	}
	pipelines := set.Of(configv1.KindPipeline)
	if len(pipelines) == 0 {
		for _, d := range set.Of(configv1.KindDestination) {
			c.always(Unconditional{Destination: d.Name})
		}
	}
	for _, u := range always {
		c.always(u)
		if _, declared := c.takes[u.Destination]; !declared {
			c.takes[u.Destination] = signalsOf(u)
		}
	}
	for _, r := range pipelines {
		if spec, ok := r.Spec.(*configv1.Pipeline); ok {
			c.pipeline(r, spec)
		}
	}
	if len(c.faults) > 0 {
		return nil, c.faults
	}
	c.plan.pipelines = len(pipelines)
	return c.plan, nil
}

type compiler struct {
	pipelines pipeline.Compiler
	plan      *Plan
	takes     map[string][]subject.Signal // by destination
	faults    config.Faults
}

// takes returns the signals that a destination has a use for.
func takes(d *configv1.Destination) []subject.Signal {
	if _, ok := d.GetExporter().(*configv1.Destination_Prometheus); ok {
		return []subject.Signal{subject.Metrics}
	}
	return subject.Signals()
}

func signalsOf(u Unconditional) []subject.Signal {
	if len(u.Signals) == 0 {
		return subject.Signals()
	}
	return u.Signals
}

// always adds a route without conditions, to the signals that the destination takes.
func (c *compiler) always(u Unconditional) {
	for _, signal := range signalsOf(u) {
		if declared, ok := c.takes[u.Destination]; !ok || slices.Contains(declared, signal) {
			c.plan.add(signal, &route{name: implicit, to: []string{u.Destination}})
		}
	}
}

func (c *compiler) pipeline(r *config.Resource, spec *configv1.Pipeline) {
	report := func(path string, offset int, format string, args ...any) {
		c.faults = append(c.faults, r.FaultAt(path, offset, format, args...))
	}
	settings := func(path string) (m map[string]any, ok bool) {
		faults := config.Decode(r, path, &m)
		c.faults = append(c.faults, faults...)
		return m, len(faults) == 0
	}
	names := func(key string, texts []string) globs {
		var gs globs
		for i, text := range texts {
			g, err := newGlob(text)
			if err != nil {
				report(fmt.Sprintf("spec.%s[%d]", key, i), 0, "%v", err)
			}
			gs = append(gs, g)
		}
		return gs
	}
	signals := declaredSignals(spec, report)
	template := route{
		name:       r.Name,
		tenants:    names("tenants", spec.GetTenants()),
		namespaces: names("namespaces", spec.GetNamespaces()),
		services:   names("services", spec.GetServices()),
		pipeline:   c.pipelines.Compile(pipeline.Source{Name: r.Name, Spec: spec, Settings: settings, Report: report}, signals),
	}
	c.plan.hosted = append(c.plan.hosted, template.pipeline.Hosted()...)
	to := c.destinations(spec, r.Name, signals, report)
	for _, signal := range signals {
		route := template
		route.to = to[signal]
		c.plan.add(signal, &route)
	}
}

func declaredSignals(spec *configv1.Pipeline, report pipeline.Report) []subject.Signal {
	if len(spec.GetSignals()) == 0 {
		return subject.Signals()
	}
	var known []string
	for _, s := range subject.Signals() {
		known = append(known, string(s))
	}
	var signals []subject.Signal
	for i, name := range spec.GetSignals() {
		path, signal := fmt.Sprintf("spec.signals[%d]", i), subject.Signal(name)
		switch {
		case signal.Schema() == "":
			report(path, 0, "unknown signal %q %s", name, config.Choices(name, known))
		case slices.Contains(signals, signal):
			report(path, 0, "%s are named twice", name)
		default:
			signals = append(signals, signal)
		}
	}
	return signals
}

// destinations returns, for each signal, the destinations of the pipeline that take it.
func (c *compiler) destinations(spec *configv1.Pipeline, name string, signals []subject.Signal, report pipeline.Report) map[subject.Signal][]string {
	if len(spec.GetTo()) == 0 {
		report("spec.to", 0, "want at least one destination")
	}
	var known []string
	for d := range c.takes {
		known = append(known, d)
	}
	to := map[subject.Signal][]string{}
	for i, destination := range spec.GetTo() {
		path := fmt.Sprintf("spec.to[%d]", i)
		takes, ok := c.takes[destination]
		if !ok {
			report(path, 0, "unknown destination %q %s", destination, config.Choices(destination, known))
			continue
		}
		if slices.Contains(spec.GetTo()[:i], destination) {
			report(path, 0, "%q is named twice", destination)
			continue
		}
		skip := Skip{Pipeline: name, Destination: destination}
		for _, signal := range signals {
			switch {
			case slices.Contains(takes, signal):
				to[signal] = append(to[signal], destination)
			case len(spec.GetSignals()) > 0:
				report(path, 0, "%q takes no %s", destination, signal)
			default:
				skip.Signals = append(skip.Signals, signal)
			}
		}
		if len(skip.Signals) > 0 {
			c.plan.skipped = append(c.plan.skipped, skip)
		}
	}
	return to
}
