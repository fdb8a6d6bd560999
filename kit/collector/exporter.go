// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pipeline"
)

// ExporterKind is a kind of exporter that can be hosted.
type ExporterKind struct {
	Factory exporter.Factory
	Rules   Rules
}

// Decode reads the settings of an exporter of this kind; see [Decode].
func (k ExporterKind) Decode(settings map[string]any) (component.Config, []Fault) {
	return Decode(k.Factory, k.Rules, settings)
}

// Exporter is an exporter at work. Its Consume methods may be called by several goroutines and return nil when the back end has
// the data, [ErrSignal], or a *[Failure].
type Exporter struct {
	traces  exporter.Traces
	metrics exporter.Metrics
	logs    exporter.Logs
	timeout time.Duration
}

// ExporterSettings is what the program says about an exporter; users say the rest.
type ExporterSettings struct {
	Name    string        // unique among those of its kind
	Version string        // of the program
	Timeout time.Duration // of one attempt
	Log     *slog.Logger
}

// Start starts an exporter, for each signal that its kind takes. The configuration, from Decode, belongs to it from then on.
// Shutdown must follow, unless there is an error.
func (k ExporterKind) Start(ctx context.Context, cfg component.Config, s ExporterSettings) (*Exporter, error) {
	set := exporter.Settings{
		ID: component.NewIDWithName(k.Factory.Type(), s.Name), TelemetrySettings: telemetry(s.Log), BuildInfo: build(s.Version),
	}
	e := &Exporter{timeout: s.Timeout}
	if err := e.create(ctx, k.Factory, set, cfg); err != nil {
		return nil, fmt.Errorf("create %s exporter: %w", k.Factory.Type(), err)
	}
	for i, c := range e.components() {
		if err := c.Start(ctx, host{}); err != nil {
			for _, started := range e.components()[:i+1] {
				_ = started.Shutdown(ctx) // the first error says more
			}
			return nil, fmt.Errorf("start %s exporter: %w", k.Factory.Type(), err)
		}
	}
	return e, nil
}

func (e *Exporter) create(ctx context.Context, f exporter.Factory, set exporter.Settings, cfg component.Config) (err error) {
	if e.traces, err = f.CreateTraces(ctx, set, cfg); err != nil && !errors.Is(err, pipeline.ErrSignalNotSupported) {
		return err
	}
	if e.metrics, err = f.CreateMetrics(ctx, set, cfg); err != nil && !errors.Is(err, pipeline.ErrSignalNotSupported) {
		return err
	}
	if e.logs, err = f.CreateLogs(ctx, set, cfg); err != nil && !errors.Is(err, pipeline.ErrSignalNotSupported) {
		return err
	}
	return nil
}

// components returns those that exist.
func (e *Exporter) components() []component.Component {
	var out []component.Component
	if e.traces != nil {
		out = append(out, e.traces)
	}
	if e.metrics != nil {
		out = append(out, e.metrics)
	}
	if e.logs != nil {
		out = append(out, e.logs)
	}
	return out
}

// Shutdown ends the exporter. No Consume may be under way.
func (e *Exporter) Shutdown(ctx context.Context) error {
	var errs []error
	for _, c := range e.components() {
		errs = append(errs, c.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

// ConsumeTraces makes one attempt. The exporter may change the data.
func (e *Exporter) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	if e.traces == nil {
		return ErrSignal
	}
	return attempt(ctx, e.timeout, func(ctx context.Context) error { return e.traces.ConsumeTraces(ctx, td) })
}

// ConsumeMetrics is ConsumeTraces for metrics.
func (e *Exporter) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	if e.metrics == nil {
		return ErrSignal
	}
	return attempt(ctx, e.timeout, func(ctx context.Context) error { return e.metrics.ConsumeMetrics(ctx, md) })
}

// ConsumeLogs is ConsumeTraces for logs.
func (e *Exporter) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	if e.logs == nil {
		return ErrSignal
	}
	return attempt(ctx, e.timeout, func(ctx context.Context) error { return e.logs.ConsumeLogs(ctx, ld) })
}
