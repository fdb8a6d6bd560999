// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"github.com/busbar/busbar/services/enricher/internal/route"
	"github.com/busbar/busbar/services/enricher/internal/signals"
)

// spanMetrics are what a span metrics connector would make of all spans, under the name that it has today and the one it had.
func spanMetrics() family {
	current := func(s *signals.Settings, _ *cell) bool { return s.Spans }
	legacy := func(s *signals.Settings, _ *cell) bool { return s.SpansLegacy }
	sizes := func(s *signals.Settings, _ *cell) bool { return s.SpanSizes }
	calls := func(c *cell) uint64 { return c.duration.count }
	v := &view{
		attributes: appendSpanMetric,
		instruments: []instrument{
			{name: "traces.span.metrics.calls", description: "Number of spans.", on: current, sum: calls},
			{name: "traces.span.metrics.duration", unit: "s", description: "Duration of spans.", on: current, distribution: (*cell).durations, seconds: true},
			{name: "traces_spanmetrics_calls_total", description: "Number of spans.", on: legacy, sum: calls},
			{name: "traces_spanmetrics_latency", description: "Duration of spans in seconds.", on: legacy, distribution: (*cell).durations, seconds: true},
			{name: "traces_spanmetrics_response_size_total", description: "Bytes of response bodies.", on: sizes, sum: func(c *cell) uint64 { return c.response.sum }},
			{name: "traces_spanmetrics_size_total", description: "Bytes of request bodies.", on: sizes, sum: func(c *cell) uint64 { return c.request.sum }},
		},
	}
	return family{name: "spans", on: func(s *signals.Settings) bool { return s.Spans || s.SpansLegacy || s.SpanSizes }, append: v.append}
}

// appendSpanMetric appends the attributes of span metrics. The name of the service is that of the resource.
func appendSpanMetric(b []byte, t tag, p *process, c *cell) ([]byte, bool) {
	kind, status := "SPAN_KIND_SERVER", "STATUS_CODE_UNSET"
	if c.side == route.Client {
		kind = "SPAN_KIND_CLIENT"
	}
	if c.failed {
		status = "STATUS_CODE_ERROR"
	}
	b = appendText(b, t, "source", p.group.settings.Source)
	b = appendText(b, t, "span.kind", kind)
	verb, object := httpName(c.method, c.route)
	b = appendName(appendTextHead(b, t, "span.name", nameSize(verb, object)), verb, object)
	b = appendText(b, t, "status.code", status)
	if p.language != "" {
		b = appendText(b, t, "telemetry.sdk.language", p.language)
	}
	return b, true
}
