// SPDX-License-Identifier: Apache-2.0

// Package signals says what is made of the exchanges of a service: which metrics, with which attributes and buckets, and how
// many series of them.
package signals

import (
	configv1 "github.com/busbar/busbar/contract/config/v1"
)

// Settings are those of a service. They are immutable, and equal settings are the same pointer.
type Settings struct {
	Metrics
	Attributes
	Exponential      bool
	Durations, Sizes *Bounds
	MaxSeries        int    // sets of attributes that cells of one service may have
	MaxLength        int    // bytes of a text of a span
	Source           string // who makes the metrics: "busbar", or "beyla"
	Beyla            bool   // says so in place of Busbar everywhere
}

// Metrics are the families that can be had.
type Metrics struct {
	Requests, Spans, SpansLegacy, SpanSizes, Graph, Info bool
}

// Attributes are those of request metrics that can be had or left out.
type Attributes struct {
	Method, Status, Route, Address, Port, Scheme bool // unless they are excluded
	Path, Client, Fault                          bool // if they are included
}

// Limits of what can be asked for. Points of more buckets would not fit into the room that is set aside for an exchange.
const (
	maxDurations = 24
	maxSizes     = 16
	maxSeries    = 100_000
	maxLength    = 2048
)

// Values of what is not asked for. A service with 20 routes, 4 methods, 5 statuses and as many as 5 peers has its 2,000 series; most
// have a tenth of that.
const defaultSeries = 2000

// Default returns what is made of services that no resource covers. Request metrics alone: the other families count the same exchanges
// once more, and who draws graphs out of spans in his back end has them already.
func Default() *Settings {
	s, _ := compile(&configv1.Telemetry{})
	return s
}

// Book holds every Telemetry resource. It is immutable.
type Book struct {
	entries []entry
	rest    *Settings
}

type entry struct {
	services, namespaces []string // globs; none: any
	settings             *Settings
}

// Problem is what is wrong with one field of a resource.
type Problem struct {
	Path string // "histograms.sizes[2]"
	Text string
}

// NewBook compiles resources in the order in which they were declared, and says all that is wrong with each: the problems have the
// indexes of all.
func NewBook(all []*configv1.Telemetry) (*Book, [][]Problem) {
	b, problems := &Book{rest: Default()}, make([][]Problem, len(all))
	for i, t := range all {
		e := entry{services: t.GetServices(), namespaces: t.GetNamespaces()}
		e.settings, problems[i] = compile(t)
		b.entries = append(b.entries, e)
	}
	return b, problems
}

// For returns the settings of a service.
func (b *Book) For(namespace, service string) *Settings {
	for _, e := range b.entries {
		if matches(e.namespaces, namespace) && matches(e.services, service) {
			return e.settings
		}
	}
	return b.rest
}

func matches(globs []string, name string) bool {
	for _, glob := range globs {
		if configv1.Matches(glob, name) {
			return true
		}
	}
	return len(globs) == 0
}
