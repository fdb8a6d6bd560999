// SPDX-License-Identifier: Apache-2.0

// Package sel decides which processes of a node are observed, as Instrumentation resources say, and finds out which ports a
// process listens on.
//
// Busbar's own programs are never observed: what they send about a request would be requests to send something about, for ever.
// Nor are other collectors of telemetry and the namespaces of Kubernetes itself, unless a resource asks for them.
// A pod that asks not to be observed is not. What Kubernetes knows comes from elsewhere, see Chosen.
// Without any resource every other process is observed. With some, a process is observed when one of them selects it: one of the
// entries of select matches (none means every process) and none of exclude does. In an entry every key that is set must match.
package sel

import (
	"regexp"
	"slices"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/kit/config"
)

// Selector is a compiled set of Instrumentation resources. It never changes; the zero value selects every process.
type Selector struct {
	rules     []rule
	needPorts bool
	chosen    *Chosen
}

// rule is one Instrumentation.
type rule struct {
	include, exclude []entry
	sdk              configv1.Instrumentation_Sdk
	collectors       bool
	system           bool
}

// entry is one ProcessSelector. An unset key is empty.
type entry struct {
	ports      ranges
	executable *regexp.Regexp
	pids       []uint32
	container  *regexp.Regexp
	languages  []eventv1.Language
	kubernetes string // key of a selector that others resolve
	contained  bool   // only processes in a container
	// named tells that the entry is about certain programs: by process id, or by the name of the executable.
	named bool
	// placed tells that it is about a certain namespace of Kubernetes.
	placed bool
}

// Decision is what a Selector says about a process. The zero value is: it is not observed.
type Decision struct {
	Observe bool
	SDK     configv1.Instrumentation_Sdk // what is left to the telemetry SDK inside the process; unspecified: spans
}

// Compile reads the Instrumentation resources of a set. It returns all their faults, and a selector when there are none.
func Compile(set *config.Set) (*Selector, config.Faults) {
	s := &Selector{}
	var faults config.Faults
	for _, res := range set.Of(configv1.KindInstrumentation) {
		spec, ok := res.Spec.(*configv1.Instrumentation)
		if !ok {
			continue
		}
		c := compiler{res: res}
		r := rule{
			include: c.entries("spec.select", spec.GetSelect()), exclude: c.entries("spec.exclude", spec.GetExclude()),
			sdk: spec.GetSdk(), collectors: spec.GetCollectors(), system: spec.GetSystem(),
		}
		s.rules = append(s.rules, r)
		s.needPorts = s.needPorts || slices.ContainsFunc(slices.Concat(r.include, r.exclude), func(e entry) bool { return e.ports != nil })
		faults = append(faults, c.faults...)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return s, nil
}

// With returns the same selector for other knowledge about containers; nil is none.
func (s *Selector) With(c *Chosen) *Selector {
	next := *s
	next.chosen = c
	return &next
}

// Chosen is what the selector knows about containers; nil is nothing.
func (s *Selector) Chosen() *Chosen { return s.chosen }

// Unresolved is how many selectors of the rules are about Kubernetes, and how many of those nobody has tried yet.
func (s *Selector) Unresolved() (missing, all int) {
	keys := map[string]bool{}
	for _, r := range s.rules {
		for _, e := range slices.Concat(r.include, r.exclude) {
			if e.kubernetes != "" && !keys[e.kubernetes] {
				keys[e.kubernetes] = true
				if !s.chosen.tried(e.kubernetes) {
					missing++
				}
			}
		}
	}
	return missing, len(keys)
}

// NeedsPorts tells whether a decision may depend on the ports that a process listens on.
func (s *Selector) NeedsPorts() bool { return s.needPorts }

// WantsPort tells whether a rule names the port.
func (s *Selector) WantsPort(port uint16) bool {
	names := func(e entry) bool { return e.ports.has(port) }
	return slices.ContainsFunc(s.rules, func(r rule) bool {
		return slices.ContainsFunc(r.include, names) || slices.ContainsFunc(r.exclude, names)
	})
}

// Match decides on a process. listening returns the ports it listens on, and is only called if they count.
func (s *Selector) Match(p *eventv1.Process, listening func() []uint16) Decision {
	c := candidate{Process: p, choice: s.chosen.of(p.GetContainerId()), listening: listening}
	if own(p) || c.optOut {
		return Decision{}
	}
	c.collector = collects(p)
	if len(s.rules) == 0 {
		return Decision{Observe: !c.collector && !c.system}
	}
	for i := range s.rules {
		if r := &s.rules[i]; r.match(&c) {
			return Decision{Observe: true, SDK: r.sdk}
		}
	}
	return Decision{}
}

// candidate is a process about which is to be decided.
type candidate struct {
	*eventv1.Process
	choice
	collector bool
	listening func() []uint16
}

// match tells whether a rule selects a process. A collector is selected by an entry that is about certain programs, or by a rule that
// takes collectors as well; what Kubernetes itself runs is selected likewise, or by an entry that is about certain namespaces.
func (r *rule) match(c *candidate) bool {
	collector, system := c.collector && !r.collectors, c.system && !r.system
	selects := func(e entry) bool {
		return (e.named || !collector) && (e.named || e.placed || !system) && e.match(c)
	}
	if len(r.include) == 0 && (collector || system) || len(r.include) > 0 && !slices.ContainsFunc(r.include, selects) {
		return false
	}
	return !slices.ContainsFunc(r.exclude, func(e entry) bool { return e.match(c) })
}

// match asks for ports last, because finding them is dear.
func (e *entry) match(c *candidate) bool {
	switch {
	case e.pids != nil && !slices.Contains(e.pids, c.GetPid()),
		e.languages != nil && !slices.Contains(e.languages, c.GetLanguage()),
		e.executable != nil && !e.executable.MatchString(c.GetExecutable()),
		e.container != nil && (c.GetContainerId() == "" || !e.container.MatchString(c.GetContainerId())),
		e.contained && c.GetContainerId() == "",
		e.kubernetes != "" && !slices.Contains(c.selectors, e.kubernetes):
		return false
	}
	return e.ports == nil || slices.ContainsFunc(c.listening(), e.ports.has)
}
