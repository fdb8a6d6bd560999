// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pdata/pcommon"
	metric "go.opentelemetry.io/otel/metric/noop"
	trace "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// build is what components say about the program they run in, such as in a User-Agent.
func build(version string) component.BuildInfo {
	return component.BuildInfo{Command: "busbar", Description: "busbar", Version: version}
}

// telemetry carries what a component logs to log. Its metrics and traces lead nowhere: what counts is counted around it.
func telemetry(log *slog.Logger) component.TelemetrySettings {
	return component.TelemetrySettings{
		Logger:         zap.New(core{log}),
		MeterProvider:  metric.NewMeterProvider(),
		TracerProvider: trace.NewTracerProvider(),
		Resource:       pcommon.NewResource(),
	}
}

// core is a zapcore.Core that writes to slog.
type core struct{ log *slog.Logger }

func (c core) Enabled(l zapcore.Level) bool {
	return c.log.Enabled(context.Background(), level(l))
}

func (c core) With(fields []zapcore.Field) zapcore.Core {
	return core{slog.New(c.log.Handler().WithAttrs(attributes(fields)))}
}

func (c core) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.log.LogAttrs(context.Background(), level(e.Level), e.Message, attributes(fields)...) //nolint:sloglint // the component's words
	return nil
}

func (core) Sync() error { return nil }

// attributes gives each field the value that zap's own encoders would print.
func attributes(fields []zapcore.Field) []slog.Attr {
	encoder := zapcore.NewMapObjectEncoder()
	out := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		f.AddTo(encoder)
		out = append(out, slog.Any(f.Key, encoder.Fields[f.Key]))
	}
	return out
}

// level is what a level of zap's is worth. A component's panic and fatal levels are errors like others.
func level(l zapcore.Level) slog.Level {
	switch l {
	case zapcore.DebugLevel:
		return slog.LevelDebug
	case zapcore.InfoLevel:
		return slog.LevelInfo
	case zapcore.WarnLevel:
		return slog.LevelWarn
	default:
		return slog.LevelError
	}
}
