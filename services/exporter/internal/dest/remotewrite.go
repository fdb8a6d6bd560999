// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/services/exporter/internal/cumulative"
)

// remoteWrite is the settings of a prometheusremotewrite destination: those of the Collector's exporter, and ours about sums.
type remoteWrite struct{ hosted }

// Keys of the settings that the Collector's exporter does not know.
const (
	keyExpiration = "metric_expiration"
	keyWindow     = "late_window"
	keyMaxSeries  = "max_series"
)

// sums takes our own settings out, and leaves those of the exporter.
func (w *remoteWrite) sums(at report) (cumulative.Options, hosted) {
	o, rest := defaultSums(), w.hosted
	rest.declared = maps.Clone(w.declared)
	duration := func(key string, to *time.Duration) {
		if v, ok := w.declared[key]; ok {
			d, err := config.Duration(fmt.Sprint(v))
			if err != nil {
				at("."+key, "%v", err)
			}
			*to = d
		}
		delete(rest.declared, key)
	}
	duration(keyExpiration, &o.Expiration)
	duration(keyWindow, &o.Window)
	if v, ok := w.declared[keyMaxSeries]; ok {
		n, err := strconv.Atoi(fmt.Sprint(v))
		if err != nil {
			at("."+keyMaxSeries, "want a number, got %v", v)
			n = o.MaxSeries
		}
		o.MaxSeries = n
	}
	delete(rest.declared, keyMaxSeries)
	checkSums(at, o)
	if conversion, ok := w.declared["resource_to_telemetry_conversion"].(map[string]any); ok {
		o.ByAttributes = conversion["enabled"] == true
	}
	o.Queue = true
	return o, rest
}

// defaultSums are the defaults of how deltas are added up.
func defaultSums() cumulative.Options {
	return cumulative.Options{
		Expiration: cumulative.DefaultExpiration, Window: cumulative.DefaultWindow, MaxSeries: cumulative.DefaultMaxSeries,
	}
}

func checkSums(at report, o cumulative.Options) {
	if o.Expiration <= 0 {
		at("."+keyExpiration, "want more than 0s, got %v", o.Expiration)
	}
	if o.Window < 0 {
		at("."+keyWindow, "want 0s or more, got %v", o.Window)
	}
	if o.MaxSeries < 1 {
		at("."+keyMaxSeries, "want at least 1, got %d", o.MaxSeries)
	}
}

func (w *remoteWrite) check(at report) {
	_, rest := w.sums(at)
	rest.check(at)
}

func (w *remoteWrite) resolved(texts map[string]string) exporter {
	return &remoteWrite{w.withTexts(texts)}
}

func (w *remoteWrite) open(ctx context.Context, userAgent string, log *slog.Logger) (sink, error) {
	options, rest := w.sums(func(string, string, ...any) {})
	s, err := rest.start(ctx, userAgent, log)
	if err != nil {
		return nil, err
	}
	return &remoteWriteSink{s, cumulative.New(options)}, nil
}

// remoteWriteSink sends sums by Prometheus remote write.
type remoteWriteSink struct {
	*hostedSink
	state *cumulative.State
}

func (s *remoteWriteSink) series() *cumulative.State { return s.state }

func (s *remoteWriteSink) write() func(ctx context.Context, md pmetric.Metrics) error {
	return func(ctx context.Context, md pmetric.Metrics) error { return judge(s.exporter.ConsumeMetrics(ctx, md)) }
}
