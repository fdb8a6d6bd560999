// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"github.com/busbar/busbar/services/enricher/internal/route"
	"github.com/busbar/busbar/services/enricher/internal/signals"
)

// requests are the metrics that the OpenTelemetry conventions have for HTTP.
func requests() family {
	of := func(side route.Side) func(*signals.Settings, *cell) bool {
		return func(_ *signals.Settings, c *cell) bool { return c.side == side }
	}
	duration := func(side route.Side, name, description string) instrument {
		return instrument{name: name, unit: "s", description: description, on: of(side), distribution: (*cell).durations, seconds: true}
	}
	size := func(side route.Side, name, description string, sizes func(*cell) *distribution) instrument {
		return instrument{name: name, unit: "By", description: description, on: of(side), distribution: sizes}
	}
	v := &view{
		attributes: appendRequest,
		instruments: []instrument{
			size(route.Client, "http.client.request.body.size", "Size of HTTP client request bodies.", (*cell).requests),
			duration(route.Client, "http.client.request.duration", "Duration of HTTP client requests."),
			size(route.Client, "http.client.response.body.size", "Size of HTTP client response bodies.", (*cell).responses),
			size(route.Server, "http.server.request.body.size", "Size of HTTP server request bodies.", (*cell).requests),
			duration(route.Server, "http.server.request.duration", "Duration of HTTP server requests."),
			size(route.Server, "http.server.response.body.size", "Size of HTTP server response bodies.", (*cell).responses),
		},
	}
	return family{name: "requests", on: func(s *signals.Settings) bool { return s.Requests }, append: v.append}
}

func (c *cell) durations() *distribution { return &c.duration }
func (c *cell) requests() *distribution  { return &c.request }
func (c *cell) responses() *distribution { return &c.response }

// appendRequest appends the attributes of request metrics, in the order of their names.
func appendRequest(b []byte, t tag, p *process, c *cell) ([]byte, bool) {
	with := &p.group.settings.Attributes
	if with.Client && c.client != "" {
		b = appendText(b, t, "client.address", c.client)
	}
	if with.Fault && c.fault != "" {
		b = appendText(b, t, "error.type", c.fault)
	}
	if with.Method {
		b = appendText(b, t, "http.request.method", c.method)
	}
	if with.Status && c.status != 0 {
		b = appendInt(b, t, "http.response.status_code", uint64(c.status))
	}
	if with.Route && c.route != "" {
		b = appendText(b, t, "http.route", c.route)
	}
	if with.Address {
		b = appendText(b, t, "server.address", c.address)
	}
	if with.Port && c.port != 0 {
		b = appendInt(b, t, "server.port", uint64(c.port))
	}
	if with.Path && c.path != "" {
		b = appendText(b, t, "url.path", c.path)
	}
	if with.Scheme {
		b = appendText(b, t, "url.scheme", scheme(c.tls))
	}
	return b, true
}
