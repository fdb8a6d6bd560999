// SPDX-License-Identifier: Apache-2.0

package ottl

import (
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottldatapoint"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottllog"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlmetric"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlresource"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlscope"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlspan"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlspanevent"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/ottlfuncs"
	"go.opentelemetry.io/collector/component"
	"go.uber.org/zap"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/router/internal/otlp"
)

// Compiler compiles expressions. It is made once for a set of declarations.
type Compiler struct {
	collection *ottl.ParserCollection[Block]
	values     map[Context]func(path string) (valueGetter, error)
}

// NewCompiler makes the parsers of all contexts.
func NewCompiler() (*Compiler, error) {
	c := &Compiler{values: map[Context]func(string) (valueGetter, error){}}
	var err error
	c.collection, err = ottl.NewParserCollection[Block](settings(),
		add(c, Resource, ottlresource.NewParser, ottlresource.EnablePathContextNames(), resourceAt, (*ottlresource.TransformContext).Close),
		add(c, Scope, ottlscope.NewParser, ottlscope.EnablePathContextNames(), scopeAt, (*ottlscope.TransformContext).Close),
		add(c, Span, ottlspan.NewParser, ottlspan.EnablePathContextNames(), spanAt, (*ottlspan.TransformContext).Close,
			ottlfuncs.NewIsRootSpanFactory()),
		add(c, SpanEvent, ottlspanevent.NewParser, ottlspanevent.EnablePathContextNames(), eventAt, (*ottlspanevent.TransformContext).Close),
		add(c, Metric, ottlmetric.NewParser, ottlmetric.EnablePathContextNames(), metricAt, (*ottlmetric.TransformContext).Close),
		add(c, DataPoint, ottldatapoint.NewParser, ottldatapoint.EnablePathContextNames(), pointAt, (*ottldatapoint.TransformContext).Close),
		add(c, Log, ottllog.NewParser, ottllog.EnablePathContextNames(), logAt, (*ottllog.TransformContext).Close),
	)
	return c, err
}

// settings keeps the language silent: what it has to say is in its errors.
func settings() component.TelemetrySettings {
	return component.TelemetrySettings{Logger: zap.NewNop()}
}

// host is where the expressions of one context run.
type host[K any] struct {
	name  Context
	enter func(*otlp.Cursor) K // takes a context from the language's pool
	leave func(K)              // gives it back
}

// newParser is how each context package of the language makes its parser.
type newParser[K any] func(map[string]ottl.Factory[K], component.TelemetrySettings, ...ottl.Option[K]) (ottl.Parser[K], error)

// add registers one context with the standard functions and its own.
func add[K any](c *Compiler, name Context, parser newParser[K], paths ottl.Option[K], enter func(*otlp.Cursor) K, leave func(K),
	own ...ottl.Factory[K],
) ottl.ParserCollectionOption[Block] {
	h := &host[K]{name: name, enter: enter, leave: leave}
	functions := ottlfuncs.StandardFuncs[K]()
	for _, f := range own {
		functions[f.Name()] = f
	}
	p, err := parser(functions, settings(), paths)
	if err != nil {
		return func(*ottl.ParserCollection[Block]) error { return err }
	}
	c.values[name] = func(path string) (valueGetter, error) { return h.value(p, path) }
	return ottl.WithParserCollectionContext(string(name), &p,
		ottl.WithConditionConverter(func(_ *ottl.ParserCollection[Block], _ ottl.ConditionsGetter, cs []*ottl.Condition[K]) (Block, error) {
			return &block[K]{host: h, conditions: cs}, nil
		}),
		ottl.WithStatementConverter(func(_ *ottl.ParserCollection[Block], _ ottl.StatementsGetter, ss []*ottl.Statement[K]) (Block, error) {
			return &block[K]{host: h, statements: ss}, nil
		}))
}

func resourceAt(at *otlp.Cursor) *ottlresource.TransformContext {
	return ottlresource.NewTransformContext(at.Resource, resourceSchema(at))
}

func scopeAt(at *otlp.Cursor) *ottlscope.TransformContext {
	return ottlscope.NewTransformContext(at.Scope, at.Resource, scopeSchema(at), resourceSchema(at))
}

func spanAt(at *otlp.Cursor) *ottlspan.TransformContext {
	return ottlspan.NewTransformContext(at.ResourceSpans, at.ScopeSpans, at.Span)
}

func eventAt(at *otlp.Cursor) *ottlspanevent.TransformContext {
	return ottlspanevent.NewTransformContext(at.ResourceSpans, at.ScopeSpans, at.Span, at.Event, ottlspanevent.WithEventIndex(at.EventIndex))
}

func metricAt(at *otlp.Cursor) *ottlmetric.TransformContext {
	return ottlmetric.NewTransformContext(at.ResourceMetrics, at.ScopeMetrics, at.Metric)
}

func pointAt(at *otlp.Cursor) *ottldatapoint.TransformContext {
	return ottldatapoint.NewTransformContext(at.ResourceMetrics, at.ScopeMetrics, at.Metric, at.Point)
}

func logAt(at *otlp.Cursor) *ottllog.TransformContext {
	return ottllog.NewTransformContext(at.ResourceLogs, at.ScopeLogs, at.Log)
}

func resourceSchema(at *otlp.Cursor) ottl.SchemaURLItem {
	switch at.Signal {
	case subject.Metrics:
		return at.ResourceMetrics
	case subject.Logs:
		return at.ResourceLogs
	case subject.Traces:
	}
	return at.ResourceSpans
}

func scopeSchema(at *otlp.Cursor) ottl.SchemaURLItem {
	switch at.Signal {
	case subject.Metrics:
		return at.ScopeMetrics
	case subject.Logs:
		return at.ScopeLogs
	case subject.Traces:
	}
	return at.ScopeSpans
}
