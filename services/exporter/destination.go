// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/busbar/busbar/services/exporter/internal/dest"
)

// Destination is one that a flag asks for, rather than a resource.
type Destination struct {
	Name string
	// Required makes Run fail when the destination cannot be opened at the start, as when a port is in use. That its back end
	// does not answer is no such failure.
	Required bool

	settings dest.Settings
}

// Page returns a required destination "page": metrics, for Prometheus to scrape at http://address/metrics.
func Page(address string) Destination {
	settings := dest.NewPrometheus()
	settings.Endpoint = address
	return Destination{Name: "page", Required: true, settings: dest.Of(settings)}
}

// otlpPort is where OTLP/gRPC is usually served.
const otlpPort = "4317"

// ParseOTLP returns a destination "otlp" that sends everything to a URL: http:// and https:// mean OTLP/HTTP, grpc:// and a bare
// host:port OTLP/gRPC in plaintext, and grpcs:// OTLP/gRPC over TLS.
func ParseOTLP(text string) (Destination, error) {
	const want = "want http://host:4318 or grpc://host:4317"
	fail := func(format string, args ...any) (Destination, error) {
		return Destination{}, fmt.Errorf("parse OTLP URL: "+format+": "+want, args...)
	}
	if text == "" {
		return fail("it is empty")
	}
	if !strings.Contains(text, "://") {
		if _, _, err := net.SplitHostPort(text); err != nil {
			return fail("%q has neither a scheme nor a port", text)
		}
		text = "grpc://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the text may hold a password
		}
		return fail("%w", err)
	}
	switch u.Scheme {
	case "http", "https", "grpc", "grpcs":
	default:
		return fail("scheme %q is not known", u.Scheme)
	}
	if u.Hostname() == "" {
		return fail("it names no host")
	}
	if u.Scheme == "http" || u.Scheme == "https" {
		settings := dest.NewHTTP()
		settings.Endpoint = literal(u.String())
		return Destination{Name: "otlp", settings: dest.Of(settings)}, nil
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return fail("a %s URL has a host and a port only", u.Scheme)
	}
	settings := dest.NewGRPC()
	settings.TLS.Insecure = u.Scheme == "grpc"
	port := u.Port()
	if port == "" {
		port = otlpPort
	}
	settings.Endpoint = literal(net.JoinHostPort(u.Hostname(), port))
	return Destination{Name: "otlp", settings: dest.Of(settings)}, nil
}

// literal keeps a text from being taken for one with references.
func literal(text string) string { return strings.ReplaceAll(text, "$", "$$") }
