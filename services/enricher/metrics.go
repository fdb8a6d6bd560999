// SPDX-License-Identifier: Apache-2.0

package enricher

import (
	"maps"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/metric"
	"github.com/busbar/busbar/services/enricher/internal/kube"
	"github.com/busbar/busbar/services/enricher/internal/learned"
	"github.com/busbar/busbar/services/enricher/internal/origin"
	"github.com/busbar/busbar/services/enricher/internal/otlp"
	"github.com/busbar/busbar/services/enricher/internal/pick"
)

// metrics are what an enricher tells of itself. Each exchange is dropped, or left, or has a span, and two more below it if it
// waited.
type metrics struct {
	exchanges, spans, points prometheus.Counter
	left                     prometheus.Counter
	overflow, cut            prometheus.Counter
	malformed, gaps, store   prometheus.Counter
	annotations              prometheus.Counter
	drops                    *metric.Drops

	mu      sync.Mutex
	dropped map[string]uint64 // by reason, for the heartbeat
}

func newMetrics(reg prometheus.Registerer, ledger *origin.Ledger, cluster *kube.Directory, waiting *kube.Waiting) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return metric.Register(reg, prometheus.NewCounter(prometheus.CounterOpts{Name: "busbar_" + name, Help: help}))
	}
	metric.Register(reg, probeDrops{ledger, prometheus.NewDesc("busbar_probe_dropped_records",
		"Records that a probe lost in its present run, as it last said, by node and reason.", []string{"node", "reason"}, nil)})
	metric.Register(reg, newClusterMetrics(cluster, waiting))
	return &metrics{
		exchanges: counter("enricher_exchanges_total", "Exchanges that were read."),
		spans:     counter("enricher_spans_total", "Spans that were made of them."),
		left: counter("enricher_left_exchanges_total",
			"Exchanges that have metrics and no span, because the telemetry SDK inside their process makes one or RouteRules want none."),
		points: counter("enricher_data_points_total", "Data points that were made of them."),
		overflow: counter("enricher_overflow_exchanges_total",
			"Exchanges that metrics count under otel.metric.overflow, without other attributes, because their service has too many series."),
		cut:         counter("enricher_cut_spans_total", "Spans of which a text was cut to the length that Telemetry allows."),
		malformed:   counter("enricher_malformed_attributes_total", "Processes, once per batch, whose OTEL_RESOURCE_ATTRIBUTES cannot be read."),
		annotations: counter("enricher_malformed_annotations_total", "Pods, at each change, of which an annotation was left out because it is malformed."),
		gaps: counter("gap_batches_total",
			"Batches of probes that never came. Counted while this is the only enricher, after 64 later ones have come."),
		store:   counter("enricher_store_errors_total", "Calls that the store of the peers did not answer."),
		drops:   metric.NewDrops(reg),
		dropped: map[string]uint64{},
	}
}

// registerRoutes shows what is known about the paths of services, and whether others know it too.
func registerRoutes(reg prometheus.Registerer, k *learned.Keeper) {
	gauge := func(name, help string, value func() float64) {
		metric.Register(reg, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "busbar_enricher_" + name, Help: help}, value))
	}
	gauge("route_places", "Places in the paths of services that are remembered, of 100,000 at most.", func() float64 { return float64(k.Routes.Places()) })
	gauge("route_unsaved_services", "Services about whose paths something was learned that is not on the bus yet.", func() float64 { return float64(k.Unsaved()) })
	gauge("route_sequence", "Place in the stream of learned routes up to which it was read.", func() float64 { return float64(k.Sequence()) })
	metric.Register(reg, prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "busbar_enricher_coarse_routes_total", Help: "Exchanges with a route less precise than RouteRules ask for, because their service has too many.",
	}, func() float64 { return float64(k.Routes.Coarse()) }))
}

// registerSelections shows what probes are told.
func registerSelections(reg prometheus.Registerer, p *pick.Publisher) {
	gauge := func(name, help string, value func(pick.Stats) int) {
		metric.Register(reg, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "busbar_enricher_" + name, Help: help},
			func() float64 { return float64(value(p.Stats())) }))
	}
	gauge("selections", "Nodes whose containers are told to their probes; 0 while another enricher watches.", func(s pick.Stats) int { return s.Nodes })
	gauge("selected_containers", "Containers that a Kubernetes selector matches.", func(s pick.Stats) int { return s.Selected })
	gauge("opted_out_containers", "Containers whose pods ask not to be observed.", func(s pick.Stats) int { return s.OptedOut })
}

// count counts a batch that has been enriched and stored.
func (m *metrics) count(exchanges int, result otlp.Result) {
	m.exchanges.Add(float64(exchanges))
	m.left.Add(float64(result.Left))
	m.overflow.Add(float64(result.Overflow))
	m.cut.Add(float64(result.Cut))
	m.malformed.Add(float64(result.Malformed))
	for _, msg := range result.Messages {
		if msg.Signal == subject.Traces {
			m.spans.Add(float64(msg.Items))
		} else {
			m.points.Add(float64(msg.Items))
		}
	}
	for reason, n := range result.Lost {
		m.drops.Add(Service, reason, n)
		m.mu.Lock()
		m.dropped[reason] += uint64(n)
		m.mu.Unlock()
	}
}

// losses returns the exchanges left out since the start, by reason.
func (m *metrics) losses() map[string]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.dropped)
}

// probeDrops shows what probes said about themselves.
type probeDrops struct {
	ledger *origin.Ledger
	desc   *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (p probeDrops) Describe(out chan<- *prometheus.Desc) { out <- p.desc }

// Collect implements prometheus.Collector.
func (p probeDrops) Collect(out chan<- prometheus.Metric) {
	p.ledger.EachDropped(func(node, reason string, count uint64) {
		out <- prometheus.MustNewConstMetric(p.desc, prometheus.GaugeValue, float64(count), node, reason)
	})
}

// clusterMetrics shows what is known about the cluster, and what waits to be.
type clusterMetrics struct {
	directory *kube.Directory
	waiting   *kube.Waiting

	things, containers, refused, complete, postponed, batches, unknown, full *prometheus.Desc
}

func newClusterMetrics(directory *kube.Directory, waiting *kube.Waiting) clusterMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("busbar_"+name, help, labels, nil)
	}
	return clusterMetrics{
		directory: directory, waiting: waiting,
		things:     desc("kube_objects", "Things of the Kubernetes cluster that are known, those that ended a while ago too, by kind.", "kind"),
		containers: desc("kube_containers", "Containers of the Kubernetes cluster that are known."),
		refused:    desc("kube_refused_objects_total", "Things of the Kubernetes cluster that were not taken in because there are too many."),
		complete:   desc("kube_complete", "1 when all that the Kubernetes API has is known here."),
		postponed:  desc("kube_postponed_batches_total", "Batches that waited for a pod that was not known yet."),
		batches:    desc("kube_waiting_batches", "Batches that wait for a pod that is not known yet."),
		unknown:    desc("kube_unknown_containers_total", "Containers of a kubelet that stayed unknown: what they say has no pod's name."),
		full:       desc("kube_hurried_batches_total", "Batches that did not wait for an unknown container because too many did, or there are too many such containers."),
	}
}

// Describe implements prometheus.Collector.
func (m clusterMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.things, m.containers, m.refused, m.complete, m.postponed, m.batches, m.unknown, m.full} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m clusterMetrics) Collect(out chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, n uint64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
	}
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	stats, waits := m.directory.Stats(), m.waiting.Counts()
	for kind, n := range stats.Things {
		gauge(m.things, n, string(kind))
	}
	gauge(m.containers, stats.Containers)
	count(m.refused, stats.Refused)
	complete := 0
	if stats.Complete {
		complete = 1
	}
	gauge(m.complete, complete)
	count(m.postponed, waits.Batches)
	gauge(m.batches, waits.Now)
	count(m.unknown, waits.GivenUp)
	count(m.full, waits.Full)
}
