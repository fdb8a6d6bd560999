// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/busbar/busbar/kit/metric"
)

// metrics of the agent. They are brought up to date once a second, not for each record.
type metrics struct {
	exchanges, batches, processEvents prometheus.Counter
	processes, observed, spool        prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return metric.Register(reg, prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help}))
	}
	gauge := func(name, help string) prometheus.Gauge {
		return metric.Register(reg, prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help}))
	}
	return &metrics{
		exchanges:     counter("busbar_probe_exchanges_total", "Exchanges of observed processes that were put into batches."),
		batches:       counter("busbar_probe_batches_total", "Batches of exchanges that were handed to the spool."),
		processEvents: counter("busbar_probe_process_events_total", "Process events that were handed to the spool."),
		processes:     gauge("busbar_probe_processes", "Processes that are known on the node."),
		observed:      gauge("busbar_probe_observed_processes", "Processes with traffic that are observed."),
		spool:         gauge("busbar_probe_spool_bytes", "Compressed bytes that wait for the bus."),
	}
}
