// SPDX-License-Identifier: Apache-2.0

package router

import (
	"maps"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/busbar/busbar/kit/metric"
	"github.com/busbar/busbar/services/router/internal/plan"
)

// Reasons in busbar_dropped_records_total besides those of steps ("filter", "sample", "limit", "too_large").
const (
	dropUnrouted = "unrouted" // no pipeline took the record
	dropIgnored  = "ignored"  // no destination in use takes the signal
	dropUnstored = "unstored" // the stream of the destination could not be had
	dropExpired  = "expired"  // the stream had to drop them before a router read them
)

// metrics are what a router tells of itself. For each pipeline in + made = out + dropped. For each destination, what pipelines sent =
// what was published to its stream, for the first time or again, + merged. Labels are bounded by what is declared.
type metrics struct {
	in, out *prometheus.CounterVec // by pipeline
	made    *prometheus.CounterVec // by pipeline
	sent    *prometheus.CounterVec // by pipeline and destination
	merged  *prometheus.CounterVec // by destination
	left    *prometheus.CounterVec // by pipeline and reason
	errors  *prometheus.CounterVec // by pipeline and step
	secrets *prometheus.CounterVec // by pipeline and kind
	missed  *prometheus.CounterVec // by destination
	waits   prometheus.Counter
	store   prometheus.Counter
	drops   *metric.Drops

	pending, waiting prometheus.Gauge // messages and records that no router has routed yet

	mu      sync.Mutex
	dropped map[string]uint64 // by reason, for the heartbeat
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		opts := prometheus.CounterOpts{Name: "busbar_router_" + name, Help: help}
		return metric.Register(reg, prometheus.NewCounterVec(opts, labels))
	}
	total := func(name, help string) prometheus.Counter {
		return metric.Register(reg, prometheus.NewCounter(prometheus.CounterOpts{Name: "busbar_router_" + name, Help: help}))
	}
	gauge := func(name, help string) prometheus.Gauge {
		return metric.Register(reg, prometheus.NewGauge(prometheus.GaugeOpts{Name: "busbar_router_" + name, Help: help}))
	}
	return &metrics{
		pending: gauge("pending_messages", "Messages that no router has routed yet."),
		waiting: gauge("pending_records", "Records inside those, as estimated from the messages that this process has seen."),
		in:      counter("in_records_total", "Records that a pipeline took.", "pipeline"),
		out:     counter("out_records_total", "Records that a pipeline handed on, once for all of its destinations.", "pipeline"),
		made:    counter("made_records_total", "Records that processors of a pipeline made besides those they were given.", "pipeline"),
		sent:    counter("sent_records_total", "Records that a pipeline sent to a destination.", "pipeline", "destination"),
		merged:  counter("merged_records_total", "Records that a destination was not sent again, since another pipeline had sent it the same message.", "destination"),
		left:    counter("dropped_records_total", "Records that a pipeline left out, by reason.", "pipeline", "reason"),
		errors:  counter("errors_total", "Expressions that could not be evaluated for a record, which had no effect on it.", "pipeline", "step"),
		secrets: counter("redactions_total", "Secrets that a pipeline removed, by kind: credit_card, email, bearer_token, key or the name of a pattern.", "pipeline", "kind"),
		missed:  counter("unstored_records_total", "Records that a destination misses because its stream could not be had.", "destination"),
		waits:   total("waits_total", "Times that a message was put off by a limit."),
		store:   total("store_errors_total", "Calls that the store of the limits did not answer."),
		drops:   metric.NewDrops(reg),
		dropped: map[string]uint64{},
	}
}

// count counts a message that has been routed and stored.
func (m *metrics) count(res plan.Result, items int) {
	for _, to := range res.Merged {
		m.merged.WithLabelValues(to).Add(float64(items))
	}
	for _, t := range res.Tallies {
		m.in.WithLabelValues(t.Pipeline).Add(float64(t.In))
		m.out.WithLabelValues(t.Pipeline).Add(float64(t.Out))
		m.made.WithLabelValues(t.Pipeline).Add(float64(t.Effect.Made))
		for _, to := range t.To {
			m.sent.WithLabelValues(t.Pipeline, to).Add(float64(t.Out))
		}
		for reason, n := range t.Effect.Dropped {
			m.left.WithLabelValues(t.Pipeline, reason).Add(float64(n))
			m.drop(reason, n)
		}
		for step, n := range t.Effect.Faults {
			m.errors.WithLabelValues(t.Pipeline, step).Add(float64(n))
		}
		for kind, n := range t.Effect.Redacted {
			m.secrets.WithLabelValues(t.Pipeline, kind).Add(float64(n))
		}
	}
	m.drop(dropUnrouted, res.Unrouted)
	m.drop(dropIgnored, res.Ignored)
}

func (m *metrics) drop(reason string, n int) {
	if n == 0 {
		return
	}
	m.drops.Add(Service, reason, n)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropped[reason] += uint64(n)
}

// unstored counts records that a destination misses because its stream took nothing.
func (m *metrics) unstored(destination string, n int) {
	m.missed.WithLabelValues(destination).Add(float64(n))
	m.drop(dropUnstored, n)
}

// losses returns the records dropped since the start, by reason.
func (m *metrics) losses() map[string]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.dropped)
}
