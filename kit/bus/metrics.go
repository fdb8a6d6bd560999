// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/busbar/busbar/kit/metric"
)

// metrics are what a Bus tells of itself. The label client is Config.Name, consumer is ConsumerSpec.Durable; stream is bounded
// by what is provisioned; reason and outcome are constants of the program.
//
// Of each stream and consumer, records published = records consumed, by outcome, + those that wait + those that the stream
// had to drop.
type metrics struct {
	client string

	connected  prometheus.Gauge
	reconnects prometheus.Counter

	published, publishedBytes, publishedRecords *prometheus.CounterVec // by stream
	repeatedRecords                             *prometheus.CounterVec // by stream
	publishRetries                              prometheus.Counter
	publishErrors                               *prometheus.CounterVec
	windowBytes, windowMessages                 prometheus.Gauge

	consumed        *prometheus.CounterVec // by outcome
	consumedRecords *prometheus.CounterVec // by stream and outcome
	consumedBytes   *prometheus.CounterVec
	dead            *prometheus.CounterVec // by stream and reason
	deadRecords     *prometheus.CounterVec
	held            *prometheus.GaugeVec
	drops           *metric.Drops
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
	m.published = counter("published_messages_total", "Messages that a stream stored.", "stream")
	m.publishedBytes = counter("published_bytes_total", "Payload bytes of those, as sent.", "stream")
	m.publishedRecords = counter("published_records_total", "Records inside those.", "stream")
	m.repeatedRecords = counter("repeated_records_total", "Records that a stream had stored already, from a first delivery of what they were made from.", "stream")
	m.publishRetries = counter("publish_retries_total", "Publications sent again.").WithLabelValues(client)
	m.publishErrors = counter("publish_errors_total", "Publications that ended in an error, by reason.", "reason")
	m.windowBytes = gauge("window_bytes", "Share of the publish window in use, in bytes.").WithLabelValues(client)
	m.windowMessages = gauge("window_messages", "Messages waiting for their acknowledgement.").WithLabelValues(client)
	m.consumed = counter("consumed_messages_total",
		"Messages handled, by outcome: acked, retried, throttled, postponed, dead, dropped, returned, repeated.", "consumer", "outcome")
	m.consumedRecords = counter("consumed_records_total",
		"Records of messages that need not come again, by outcome: acked, dead, dropped.", "stream", "consumer", "outcome")
	m.consumedBytes = counter("consumed_bytes_total", "Payload bytes delivered.", "consumer")
	m.dead = counter("dead_letters_total", "Messages copied to a dead-letter subject, by reason.", "stream", "consumer", "reason")
	m.deadRecords = counter("dead_records_total", "Records inside those.", "stream", "consumer", "reason")
	m.held = gauge("held_messages", "Messages delivered here and not yet acknowledged.", "consumer")
	return m
}
