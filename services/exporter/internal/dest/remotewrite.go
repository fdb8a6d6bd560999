// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/exporter/internal/otlp"
)

// remoteWrite is the settings of a prometheusremotewrite destination.
type remoteWrite struct{ hosted }

func (w *remoteWrite) resolved(texts map[string]string) exporter {
	return &remoteWrite{w.withTexts(texts)}
}

func (w *remoteWrite) open(ctx context.Context, userAgent string, log *slog.Logger) (sink, error) {
	s, err := w.start(ctx, userAgent, log)
	if err != nil {
		return nil, err
	}
	return &remoteWriteSink{s}, nil
}

// remoteWriteSink sends metrics by Prometheus remote write, which knows cumulative ones only.
type remoteWriteSink struct{ *hostedSink }

// workers is one: Prometheus refuses samples of a series that are older than one it has.
func (*remoteWriteSink) workers() int { return 1 }

func (s *remoteWriteSink) take(ctx context.Context, r otlp.Request, items int) (map[string]int, error) {
	if r.Signal != subject.Metrics {
		return map[string]int{reasonSignal: items}, nil
	}
	request := pmetricotlp.NewExportRequest()
	if err := request.UnmarshalProto(r.Body); err != nil {
		return nil, undecodable(err)
	}
	md := request.Metrics()
	left := dropDeltas(md)
	if md.DataPointCount() == 0 {
		return map[string]int{reasonTemporality: left}, nil
	}
	if err := s.write(ctx, md); err != nil {
		return nil, err
	}
	return map[string]int{reasonTemporality: left}, nil
}

// write sends cumulative metrics and gauges. Its errors are as those of package otlp; the reason of what Prometheus has newer
// samples of is reasonOutOfOrder.
func (s *remoteWriteSink) write(ctx context.Context, md pmetric.Metrics) error {
	return judge(s.exporter.ConsumeMetrics(ctx, md))
}

// reasonTemporality is the reason of points that remote write has no way to express: changes instead of sums.
const reasonTemporality = "temporality"

// dropDeltas removes the metrics that hold changes, which the exporter would pass over in silence, and returns how many points
// they had.
func dropDeltas(md pmetric.Metrics) (points int) {
	before := md.DataPointCount()
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			sm.Metrics().RemoveIf(func(m pmetric.Metric) bool {
				return temporality(m) == pmetric.AggregationTemporalityDelta
			})
		}
	}
	return before - md.DataPointCount()
}

func temporality(m pmetric.Metric) pmetric.AggregationTemporality {
	switch m.Type() {
	case pmetric.MetricTypeSum:
		return m.Sum().AggregationTemporality()
	case pmetric.MetricTypeHistogram:
		return m.Histogram().AggregationTemporality()
	case pmetric.MetricTypeExponentialHistogram:
		return m.ExponentialHistogram().AggregationTemporality()
	}
	return pmetric.AggregationTemporalityUnspecified
}
