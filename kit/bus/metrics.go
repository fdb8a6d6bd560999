// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/busbar/busbar/kit/metric"
)

// metrics are what a Bus tells of itself. The label client is Config.Name, consumer is ConsumerSpec.Durable; reason and
// outcome are constants of the program.
type metrics struct {
	client string

	connected  prometheus.Gauge
	reconnects prometheus.Counter

	published, publishedBytes, publishedRecords prometheus.Counter
	publishRetries                              prometheus.Counter
	publishErrors                               *prometheus.CounterVec
	windowBytes, windowMessages                 prometheus.Gauge

	consumed      *prometheus.CounterVec // by outcome
	consumedBytes *prometheus.CounterVec
	dead          *prometheus.CounterVec
	held          *prometheus.GaugeVec
	drops         *metric.Drops
}

func newMetrics(reg prometheus.Registerer, client string) *metrics {
	m := &metrics{client: client, drops: metric.NewDrops(reg)}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return metric.Register(reg, prometheus.NewCounterVec(
			prometheus.CounterOpts{Name: "busbar_bus_" + name, Help: help}, append([]string{"client"}, labels...)))
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return metric.Register(reg, prometheus.NewGaugeVec(
			prometheus.GaugeOpts{Name: "busbar_bus_" + name, Help: help}, append([]string{"client"}, labels...)))
	}
	m.connected = gauge("connected", "1 while connected to NATS.").WithLabelValues(client)
	m.reconnects = counter("reconnects_total", "Connections re-established.").WithLabelValues(client)
	m.published = counter("published_messages_total", "Messages that a stream acknowledged.").WithLabelValues(client)
	m.publishedBytes = counter("published_bytes_total", "Payload bytes of those, as sent.").WithLabelValues(client)
	m.publishedRecords = counter("published_records_total", "Records inside those.").WithLabelValues(client)
	m.publishRetries = counter("publish_retries_total", "Publications sent again.").WithLabelValues(client)
	m.publishErrors = counter("publish_errors_total", "Publications that ended in an error, by reason.", "reason")
	m.windowBytes = gauge("window_bytes", "Share of the publish window in use, in bytes.").WithLabelValues(client)
	m.windowMessages = gauge("window_messages", "Messages waiting for their acknowledgement.").WithLabelValues(client)
	m.consumed = counter("consumed_messages_total",
		"Messages handled, by outcome: acked, retried, throttled, dead, dropped, returned.", "consumer", "outcome")
	m.consumedBytes = counter("consumed_bytes_total", "Payload bytes delivered.", "consumer")
	m.dead = counter("dead_letters_total", "Messages copied to a dead-letter subject, by reason.", "consumer", "reason")
	m.held = gauge("held_messages", "Messages delivered here and not yet acknowledged.", "consumer")
	return m
}
