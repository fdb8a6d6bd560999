// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/busbar/busbar/kit/metric"
)

// metrics of the agent. They are brought up to date once a second, not for each record.
type metrics struct {
	exchanges, batches, processEvents prometheus.Counter
	processSamples                    prometheus.Counter
	processes, observed, exporting    prometheus.Gauge
	selected, optedOut                prometheus.Gauge
	spool                             prometheus.Gauge
	blemishes                         *prometheus.CounterVec
	blemished                         map[string]uint64 // as the kernel counted last
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return metric.Register(reg, prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help}))
	}
	gauge := func(name, help string) prometheus.Gauge {
		return metric.Register(reg, prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help}))
	}
	return &metrics{
		exchanges:      counter("busbar_probe_exchanges_total", "Exchanges of observed processes that were put into batches."),
		batches:        counter("busbar_probe_batches_total", "Batches of exchanges that were handed to the spool."),
		processEvents:  counter("busbar_probe_process_events_total", "Process events that were handed to the spool."),
		processSamples: counter("busbar_probe_process_samples_total", "Measurements of what processes use that were handed to the spool."),
		processes:      gauge("busbar_probe_processes", "Processes that are known on the node."),
		observed:       gauge("busbar_probe_observed_processes", "Processes with traffic that are observed."),
		exporting:      gauge("busbar_probe_exporting_processes", "Processes that are observed and export telemetry themselves."),
		selected:       gauge("busbar_probe_selected_containers", "Containers of the node that a Kubernetes selector matches."),
		optedOut:       gauge("busbar_probe_opted_out_containers", "Containers of the node whose pods ask not to be observed."),
		blemishes: metric.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "busbar_probe_blemishes_total", Help: "Records that are poorer than they should be, by what the kernel could not do.",
		}, []string{"reason"})),
		blemished: map[string]uint64{},
		spool:     gauge("busbar_probe_spool_bytes", "Compressed bytes that wait for the bus."),
	}
}

// blemish takes in the kernel's counters, which only grow.
func (m *metrics) blemish(counters map[string]uint64) {
	for reason, n := range counters {
		m.blemishes.WithLabelValues(reason).Add(float64(n - m.blemished[reason]))
		m.blemished[reason] = n
	}
}
