// SPDX-License-Identifier: Apache-2.0

// Package report remembers what arrives: which clients, which metrics and tags, which services, what is made of it and what is not
// understood. It is for people who move away from a vendor, and want to know what they have.
package report

import (
	"maps"
	"sync"

	"github.com/busbar/busbar/services/ingest-datadog/internal/otlp"
)

// most is how many names of a kind are remembered; what is beyond is counted together under the name that says so.
const (
	most   = 2000
	beyond = "(others)"
)

// Client is a program that sends.
type Client struct{ Name, Version string }

// Counts are numbers by name.
type Counts map[string]uint64

func (c Counts) add(name string, n uint64) {
	if _, known := c[name]; !known && len(c) >= most {
		name = beyond
	}
	c[name] += n
}

// Contents is what a Report says.
type Contents struct {
	Clients   Counts `json:"clients"`   // requests by client and version
	Requests  Counts `json:"requests"`  // by route
	Refused   Counts `json:"refused"`   // requests by route and reason
	Metrics   Counts `json:"metrics"`   // series by name, and what they become
	Tags      Counts `json:"tags"`      // by key, and what it is called
	Services  Counts `json:"services"`  // records by service
	Records   Counts `json:"records"`   // by signal
	Spans     uint64 `json:"spans"`     // that came
	Dropped   Counts `json:"dropped"`   // records by reason
	Left      Counts `json:"left"`      // things of records by reason
	Unused    Counts `json:"unused"`    // requests by what they are, and path
	StatsdBad Counts `json:"statsdBad"` // lines of DogStatsD by reason
}

// Report collects. Its methods may be called from several goroutines.
type Report struct {
	rename func(tag string) string
	mu     sync.Mutex
	c      Contents
}

// New returns an empty Report. Rename is what a tag is called on a resource, or "".
func New(rename func(tag string) string) *Report {
	return &Report{rename: rename, c: Contents{
		Clients: Counts{}, Requests: Counts{}, Refused: Counts{}, Metrics: Counts{}, Tags: Counts{}, Services: Counts{}, Records: Counts{},
		Dropped: Counts{}, Left: Counts{}, Unused: Counts{}, StatsdBad: Counts{},
	}}
}

func (r *Report) with(f func(c *Contents)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.c)
}

// Client notes a request.
func (r *Report) Client(c Client, route string) {
	r.with(func(to *Contents) {
		to.Clients.add(clip(c.Name+" "+c.Version), 1)
		to.Requests.add(route, 1)
	})
}

// maxName bounds a name, in bytes.
const maxName = 200

func clip(s string) string { return s[:min(len(s), maxName)] }

// Refused notes a request that was not taken.
func (r *Report) Refused(route, reason string) {
	r.with(func(to *Contents) { to.Refused.add(route+" "+reason, 1) })
}

// What metrics become.
const (
	CountToSum    = "count → delta sum"
	RateToSum     = "rate → delta sum of value × interval"
	RateToGauge   = "rate without interval → gauge"
	GaugeToGauge  = "gauge → gauge"
	SetToGauge    = "set → gauge of different values"
	ToExponential = "distribution → exponential histogram"
	ToHistogram   = "histogram → histogram"
	CheckToGauge  = "service check → gauge"
)

// Metric notes a series, and what it becomes.
func (r *Report) Metric(name, becomes string, tags []string) {
	r.with(func(to *Contents) {
		to.Metrics.add(clip(name)+": "+becomes, 1)
		for _, t := range tags[:min(len(tags), maxTags)] {
			k := clip(key(t))
			if name := r.rename(k); name != "" && name != k {
				k += " → " + name
			}
			to.Tags.add(k, 1)
		}
	})
}

// maxTags is how many tags of a series are noted.
const maxTags = 64

func key(tag string) string {
	for i := range len(tag) {
		if tag[i] == ':' {
			return tag[:i]
		}
	}
	return tag
}

// Spans notes spans that came.
func (r *Report) Spans(n int) { r.with(func(to *Contents) { to.Spans += uint64(max(n, 0)) }) }

// Kept notes what goes onto the bus.
func (r *Report) Kept(all []otlp.Message) {
	r.with(func(to *Contents) {
		for _, m := range all {
			to.Services.add(clip(m.Service), uint64(max(m.Items, 0)))
			to.Records.add(string(m.Signal), uint64(max(m.Items, 0)))
		}
	})
}

// Dropped notes records that could not be kept.
func (r *Report) Dropped(reason string, n int) {
	r.with(func(to *Contents) { to.Dropped.add(reason, uint64(max(n, 0))) })
}

// Left notes things that are not as they should be.
func (r *Report) Left(reason string, n int) {
	r.with(func(to *Contents) { to.Left.add(reason, uint64(max(n, 0))) })
}

// Unused notes a request of which nothing is made; it is true for the first one of its path.
func (r *Report) Unused(what, path string) (first bool) {
	name := clip(what + " " + path)
	r.with(func(to *Contents) {
		_, known := to.Unused[name]
		first = !known && len(to.Unused) < most
		to.Unused.add(name, 1)
	})
	return first
}

// Statsd notes a line of DogStatsD that cannot be read.
func (r *Report) Statsd(reason string) { r.with(func(to *Contents) { to.StatsdBad.add(reason, 1) }) }

// Contents returns what was collected.
func (r *Report) Contents() Contents {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.c
	for _, m := range []*Counts{
		&c.Clients, &c.Requests, &c.Refused, &c.Metrics, &c.Tags, &c.Services, &c.Records, &c.Dropped, &c.Left, &c.Unused, &c.StatsdBad,
	} {
		*m = maps.Clone(*m)
	}
	return c
}
