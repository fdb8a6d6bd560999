// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pipeline"
	"go.opentelemetry.io/collector/processor"
)

// ProcessorKind is a kind of processor that can be hosted: one that hands on what it makes before Consume returns.
type ProcessorKind struct {
	Factory processor.Factory
	Rules   Rules
}

// Decode reads the settings of a processor of this kind; see [Decode].
func (k ProcessorKind) Decode(settings map[string]any) (component.Config, []Fault) {
	return Decode(k.Factory, k.Rules, settings)
}

// Processor turns data into other data. Once it is started its methods may be called by several goroutines.
type Processor struct {
	traces  processor.Traces
	metrics processor.Metrics
	logs    processor.Logs
}

// ProcessorSettings is what the program says about a processor; users say the rest.
type ProcessorSettings struct {
	Name    string // unique among those of its kind
	Version string // of the program
	Log     *slog.Logger
}

// Create makes a processor, for each signal that its kind takes. The configuration, from Decode, belongs to it from then on. It
// holds nothing until it is started.
func (k ProcessorKind) Create(ctx context.Context, cfg component.Config, s ProcessorSettings) (*Processor, error) {
	set := processor.Settings{
		ID: component.NewIDWithName(k.Factory.Type(), s.Name), TelemetrySettings: telemetry(s.Log), BuildInfo: build(s.Version),
	}
	var p Processor
	var errs [3]error
	p.traces, errs[0] = k.Factory.CreateTraces(ctx, set, cfg, catcher{})
	p.metrics, errs[1] = k.Factory.CreateMetrics(ctx, set, cfg, catcher{})
	p.logs, errs[2] = k.Factory.CreateLogs(ctx, set, cfg, catcher{})
	for _, err := range errs {
		if err != nil && !errors.Is(err, pipeline.ErrSignalNotSupported) {
			return nil, err
		}
	}
	return &p, nil
}

// Start starts the processor. Shutdown must follow, unless there is an error.
func (p *Processor) Start(ctx context.Context) error {
	for i, c := range p.components() {
		if err := c.Start(ctx, host{}); err != nil {
			for _, started := range p.components()[:i+1] {
				_ = started.Shutdown(ctx) // the first error says more
			}
			return err
		}
	}
	return nil
}

// Shutdown ends the processor. Nothing may be under way.
func (p *Processor) Shutdown(ctx context.Context) error {
	var errs []error
	for _, c := range p.components() {
		errs = append(errs, c.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

func (p *Processor) components() (out []component.Component) {
	if p.traces != nil {
		out = append(out, p.traces)
	}
	if p.metrics != nil {
		out = append(out, p.metrics)
	}
	if p.logs != nil {
		out = append(out, p.logs)
	}
	return out
}

// TakesTraces tells whether the processor takes traces.
func (p *Processor) TakesTraces() bool { return p.traces != nil }

// TakesMetrics tells whether the processor takes metrics.
func (p *Processor) TakesMetrics() bool { return p.metrics != nil }

// TakesLogs tells whether the processor takes logs.
func (p *Processor) TakesLogs() bool { return p.logs != nil }

// Traces returns what the processor makes of traces, which belong to it from then on: itself, or others, or none.
func (p *Processor) Traces(ctx context.Context, td ptrace.Traces) (ptrace.Traces, error) {
	var c caught
	if p.traces == nil {
		return td, ErrSignal
	}
	if err := p.traces.ConsumeTraces(c.within(ctx), td); err != nil || c.traces != nil {
		return or(c.traces, td), err
	}
	return ptrace.NewTraces(), nil
}

// Metrics is Traces for metrics.
func (p *Processor) Metrics(ctx context.Context, md pmetric.Metrics) (pmetric.Metrics, error) {
	var c caught
	if p.metrics == nil {
		return md, ErrSignal
	}
	if err := p.metrics.ConsumeMetrics(c.within(ctx), md); err != nil || c.metrics != nil {
		return or(c.metrics, md), err
	}
	return pmetric.NewMetrics(), nil
}

// Logs is Traces for logs.
func (p *Processor) Logs(ctx context.Context, ld plog.Logs) (plog.Logs, error) {
	var c caught
	if p.logs == nil {
		return ld, ErrSignal
	}
	if err := p.logs.ConsumeLogs(c.within(ctx), ld); err != nil || c.logs != nil {
		return or(c.logs, ld), err
	}
	return plog.NewLogs(), nil
}

func or[T any](v *T, fallback T) T {
	if v != nil {
		return *v
	}
	return fallback
}

// caught is what a processor handed on during one call. The context of the call carries it, since processors share the consumer
// behind them among all calls.
type caught struct {
	traces  *ptrace.Traces
	metrics *pmetric.Metrics
	logs    *plog.Logs
}

type caughtKey struct{}

func (c *caught) within(ctx context.Context) context.Context {
	return context.WithValue(ctx, caughtKey{}, c)
}

// catcher is the consumer behind every processor.
type catcher struct{}

func (catcher) Capabilities() consumer.Capabilities { return consumer.Capabilities{MutatesData: true} }

func (catcher) place(ctx context.Context) (*caught, error) {
	c, ok := ctx.Value(caughtKey{}).(*caught)
	if !ok {
		return nil, fmt.Errorf("a processor hands on outside of a call")
	}
	return c, nil
}

func (k catcher) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	c, err := k.place(ctx)
	if err == nil && c.traces != nil {
		td.ResourceSpans().MoveAndAppendTo(c.traces.ResourceSpans())
	} else if err == nil {
		c.traces = &td
	}
	return err
}

func (k catcher) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	c, err := k.place(ctx)
	if err == nil && c.metrics != nil {
		md.ResourceMetrics().MoveAndAppendTo(c.metrics.ResourceMetrics())
	} else if err == nil {
		c.metrics = &md
	}
	return err
}

func (k catcher) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	c, err := k.place(ctx)
	if err == nil && c.logs != nil {
		ld.ResourceLogs().MoveAndAppendTo(c.logs.ResourceLogs())
	} else if err == nil {
		c.logs = &ld
	}
	return err
}
