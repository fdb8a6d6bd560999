// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/busbar/busbar/kit/metric"
)

// metrics are what a service that takes data tells of it. Records accepted are on the bus or on disk; those refused are the sender's
// to send again; those lost are in busbar_dropped_records_total.
type metrics struct {
	service string

	requests                      *prometheus.CounterVec // by route and status
	bytes                         *prometheus.CounterVec // by state
	acceptedRecords               *prometheus.CounterVec // by way
	refusedRecords, refusedVisits *prometheus.CounterVec // by reason
	queueBytes, queueRecords      prometheus.Gauge
	heldBytes                     prometheus.Gauge
	connections                   prometheus.Gauge
	drops                         *metric.Drops
}

func newMetrics(reg prometheus.Registerer, service string) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return metric.Register(reg, prometheus.NewCounterVec(
			prometheus.CounterOpts{Name: "busbar_ingest_" + name, Help: help}, append([]string{"service"}, labels...)))
	}
	gauge := func(name, help string) prometheus.Gauge {
		return metric.Register(reg, prometheus.NewGaugeVec(
			prometheus.GaugeOpts{Name: "busbar_ingest_" + name, Help: help}, []string{"service"})).WithLabelValues(service)
	}
	return &metrics{
		service:         service,
		requests:        counter("requests_total", "Requests answered, by kind of request and HTTP status.", "route", "status"),
		bytes:           counter("bytes_total", "Bytes of bodies, by state: received, as they came, or decoded, without compression.", "state"),
		acceptedRecords: counter("accepted_records_total", "Records that are stored, by way: bus or disk.", "way"),
		refusedRecords:  counter("refused_records_total", "Records that are not stored and are the sender's to send again, by reason.", "reason"),
		refusedVisits:   counter("refused_requests_total", "Requests that were refused before anything was made of them, by reason.", "reason"),
		queueBytes:      gauge("queue_bytes", "Size of the queue on disk."),
		queueRecords:    gauge("queue_records", "Records that wait in the queue on disk."),
		heldBytes:       gauge("held_bytes", "Memory that bodies of requests hold."),
		connections:     gauge("connections", "Open connections."),
		drops:           metric.NewDrops(reg),
	}
}

func (m *metrics) accepted(way string, items int) {
	m.acceptedRecords.WithLabelValues(m.service, way).Add(float64(items))
}

func (m *metrics) refused(reason string, items int) {
	m.refusedRecords.WithLabelValues(m.service, reason).Add(float64(items))
}

func (m *metrics) lost(reason string, items int) { m.drops.Add(m.service, reason, items) }

func (m *metrics) wait(left backlog, bytes int64) {
	m.queueBytes.Set(float64(bytes))
	m.queueRecords.Set(float64(left.items))
}
