// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/busbar/busbar/kit/metric"
)

// metrics are what a watcher tells of itself.
type metrics struct {
	holds     prometheus.Gauge
	requests  *prometheus.CounterVec
	writes    *prometheus.CounterVec
	conflicts prometheus.Counter

	mu      sync.Mutex
	failing map[string]error // by resource: why the last request failed
}

func newMetrics(reg prometheus.Registerer) *metrics {
	return &metrics{
		holds: metric.Register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "busbar_kube_watching", Help: "1 while this enricher is the one that watches the Kubernetes API.",
		})),
		requests: metric.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "busbar_kube_requests_total", Help: "Requests to the Kubernetes API, by resource, verb (list, watch) and result (ok, error).",
		}, []string{"resource", "verb", "result"})),
		writes: metric.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "busbar_kube_writes_total", Help: "Messages about the cluster that were written to the bus, by kind.",
		}, []string{"kind"})),
		conflicts: metric.Register(reg, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "busbar_kube_conflicts_total", Help: "Messages about the cluster that were not written because another one had been. They are tried again.",
		})),
		failing: map[string]error{},
	}
}

// request takes note of a request.
func (m *metrics) request(resource, verb string, err error) {
	result := "ok"
	m.mu.Lock()
	defer m.mu.Unlock()
	if delete(m.failing, resource); err != nil {
		result, m.failing[resource] = "error", err
	}
	m.requests.WithLabelValues(resource, verb, result).Inc()
}

// watching takes note of whether this one watches.
func (m *metrics) watching(holds bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if holds {
		m.holds.Set(1)
		return
	}
	m.holds.Set(0)
	clear(m.failing)
}

func (m *metrics) degraded() (all []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, resource := range slices.Sorted(maps.Keys(m.failing)) {
		all = append(all, fmt.Sprintf("the Kubernetes API gives no %s, what is known stays: %v", resource, m.failing[resource]))
	}
	return all
}
