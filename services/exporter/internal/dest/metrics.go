// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"maps"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/busbar/busbar/kit/metric"
)

// stage is what drops are counted under.
const stage = "exporter"

// Metrics are those of all destinations of a process. The label "destination" is bounded by what users declare, and its
// series go when a destination does.
type Metrics struct {
	state    *prometheus.GaugeVec
	attempts *prometheus.CounterVec
	records  *prometheus.CounterVec
	left     *prometheus.CounterVec
	pending  *prometheus.GaugeVec
	waiting  *prometheus.GaugeVec
	shards   *prometheus.GaugeVec
	series   *prometheus.GaugeVec
	age      *prometheus.GaugeVec
	refused  *prometheus.CounterVec
	drops    *metric.Drops

	mu      sync.Mutex
	dropped map[string]uint64 // records, by reason; guarded by mu
}

// NewMetrics registers the metrics; reg may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	return &Metrics{
		state: metric.Register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "busbar_destination_state",
			Help: "1 for the state that the destination is in: ok, retrying, refusing, full or misconfigured.",
		}, []string{"destination", "state"})),
		attempts: metric.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "busbar_destination_attempts_total",
			Help: "Attempts to hand a message over, by result: ok, unavailable, refused, throttled or invalid.",
		}, []string{"destination", "result"})),
		records: metric.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "busbar_destination_records_total",
			Help: "Records that the destination has taken.",
		}, []string{"destination", "signal"})),
		left: metric.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "busbar_destination_dropped_records_total",
			Help: "Records that the destination will never have, by reason. Those in dead letters are not among them.",
		}, []string{"destination", "reason"})),
		pending: metric.Register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "busbar_destination_pending_messages",
			Help: "Messages on the stream of the destination that it has not taken yet.",
		}, []string{"destination"})),
		waiting: metric.Register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "busbar_destination_pending_records",
			Help: "Records inside those, as estimated from the messages that this process has seen.",
		}, []string{"destination"})),
		shards: metric.Register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "busbar_destination_owned_shards",
			Help: "Shards whose deltas this process adds up.",
		}, []string{"destination"})),
		series: metric.Register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "busbar_destination_series",
			Help: "Series in those, as Prometheus counts them.",
		}, []string{"destination"})),
		age: metric.Register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "busbar_destination_checkpoint_age_seconds",
			Help: "Time since their sums were last kept on the bus.",
		}, []string{"destination"})),
		refused: metric.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "busbar_destination_refused_samples_total",
			Help: "Sums that the back end did not want, by reason. The next ones of their series tell what they did.",
		}, []string{"destination", "reason"})),
		drops:   metric.NewDrops(reg),
		dropped: make(map[string]uint64),
	}
}

// drop counts records that a destination will never have.
func (m *Metrics) drop(destination, reason string, records int) {
	if records <= 0 {
		return
	}
	m.left.WithLabelValues(destination, reason).Add(float64(records))
	m.drops.Add(stage, reason, records)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropped[reason] += uint64(records)
}

// Losses returns the records left out since the start, by reason.
func (m *Metrics) Losses() map[string]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.dropped)
}

func (m *Metrics) phase(name string, is Phase) {
	for _, p := range phases() {
		v := 0.0
		if p == is {
			v = 1
		}
		m.state.WithLabelValues(name, string(p)).Set(v)
	}
}

// forget removes the series of a destination that is no more.
func (m *Metrics) forget(name string) {
	labels := prometheus.Labels{"destination": name}
	for _, v := range []interface {
		DeletePartialMatch(labels prometheus.Labels) int
	}{m.state, m.attempts, m.records, m.left, m.pending, m.waiting, m.shards, m.series, m.age, m.refused} {
		v.DeletePartialMatch(labels)
	}
}
