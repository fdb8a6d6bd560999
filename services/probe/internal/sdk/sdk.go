// SPDX-License-Identifier: Apache-2.0

// Package sdk recognises processes that export telemetry themselves, through an OpenTelemetry SDK inside them, by what they were
// seen to send. That a process could export, because its environment names a collector or its executable holds an SDK, proves
// nothing: an export must have got through or, where exports cannot be seen, a connection to that collector.
package sdk

import (
	"bytes"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/busbar/busbar/services/probe/internal/decode"
	"github.com/busbar/busbar/services/probe/internal/kern"
)

// Signals are what a process exports.
type Signals uint8

// The signals that matter here.
const (
	Traces Signals = 1 << iota
	Metrics
)

// portGRPC is where collectors listen for gRPC unless told otherwise.
const portGRPC = 4317

// Environment is where the environment of a process tells its SDK to export to. The zero value tells nothing.
type Environment struct {
	traces, metrics endpoint
}

// endpoint is where one signal goes; the zero value is nowhere.
type endpoint struct {
	host string
	port uint16
	path string
	grpc bool
}

// Parse reads an environment area, "NAME=value\0...". The first of two equal names counts, as it does for getenv.
func Parse(environ []byte) Environment {
	v := map[string]string{}
	for entry := range bytes.SplitSeq(environ, []byte{0}) {
		name, value, ok := bytes.Cut(entry, []byte{'='})
		if !ok || !bytes.HasPrefix(name, []byte("OTEL_")) || len(value) > maxValue {
			continue
		}
		if _, twice := v[string(name)]; !twice {
			v[string(name)] = string(value)
		}
	}
	if strings.EqualFold(v["OTEL_SDK_DISABLED"], "true") {
		return Environment{}
	}
	return Environment{traces: parseEndpoint(v, "TRACES"), metrics: parseEndpoint(v, "METRICS")}
}

// maxValue bounds a value: URLs are not longer.
const maxValue = 4 << 10

// parseEndpoint finds the endpoint of a signal as the specification of OTLP exporters does. Only what is set counts: that an SDK
// would have a default does not make a process have an SDK.
func parseEndpoint(v map[string]string, signal string) endpoint {
	if v["OTEL_"+signal+"_EXPORTER"] == "none" {
		return endpoint{}
	}
	own, all := v["OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT"], v["OTEL_EXPORTER_OTLP_ENDPOINT"]
	protocol := v["OTEL_EXPORTER_OTLP_"+signal+"_PROTOCOL"]
	if protocol == "" {
		protocol = v["OTEL_EXPORTER_OTLP_PROTOCOL"]
	}
	text := own
	if text == "" {
		text = all
	}
	if text == "" {
		return endpoint{}
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return endpoint{}
	}
	e := endpoint{host: strings.ToLower(u.Hostname()), port: port(u, protocol), path: u.Path}
	e.grpc = protocol == "grpc" || protocol == "" && e.port == portGRPC
	if own == "" {
		e.path = strings.TrimSuffix(u.Path, "/") + "/v1/" + strings.ToLower(signal)
	}
	return e
}

func port(u *url.URL, protocol string) uint16 {
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		return uint16(n)
	}
	switch {
	case protocol == "grpc":
		return portGRPC
	case u.Scheme == "https":
		return 443
	case u.Scheme == "http":
		return 80
	}
	return 0
}

// Seen returns what an exchange with such heads proves that its process exports: a POST that was accepted to the path of OTLP over
// HTTP, or to the one that the environment names; or an encrypted connection to where the environment says.
func (e *Environment) Seen(x *kern.Exchange, h *decode.Heads) Signals {
	switch {
	case x.Role != kern.Client:
		return 0
	case x.Protocol == kern.TLS:
		return e.connected(string(h.ServerName), x.Remote())
	case string(h.Method) != "POST" || h.Status < 200 || h.Status > 299:
		return 0
	}
	return e.posted(h.Path, x.RemotePort)
}

func (e *Environment) posted(path []byte, port uint16) (found Signals) {
	is := func(suffix string, to endpoint) bool {
		return bytes.HasSuffix(path, []byte(suffix)) || to.port != 0 && to.port == port && to.path == string(path)
	}
	if is("/v1/traces", e.traces) {
		found |= Traces
	}
	if is("/v1/metrics", e.metrics) {
		found |= Metrics
	}
	return found
}

func (e *Environment) connected(name string, peer netip.AddrPort) (found Signals) {
	is := func(to endpoint) bool {
		if to.port == 0 || to.port != peer.Port() {
			return false
		}
		if ip, err := netip.ParseAddr(to.host); err == nil {
			return ip.Unmap() == peer.Addr().Unmap()
		}
		return to.host == strings.ToLower(name)
	}
	if is(e.traces) {
		found |= Traces
	}
	if is(e.metrics) {
		found |= Metrics
	}
	return found
}

// GRPC returns the port to which the environment has signals exported by gRPC, and which they are; 0 if there is none. Such exports
// are not seen as exchanges: a connection to that port has to do.
func (e *Environment) GRPC() (port uint16, signals Signals) {
	if e.traces.grpc {
		port, signals = e.traces.port, Traces
	}
	if e.metrics.grpc && (port == 0 || port == e.metrics.port) {
		port, signals = e.metrics.port, signals|Metrics
	}
	return port, signals
}
