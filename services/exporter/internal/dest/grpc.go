// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/busbar/busbar/services/exporter/internal/otlp"
)

// GRPC is the settings of an otlp_grpc destination, with the keys that the Collector documents.
type GRPC struct {
	Endpoint    string            `yaml:"endpoint"` // host:port; http:// before it means plaintext, https:// TLS
	Headers     map[string]string `yaml:"headers"`
	Compression otlp.Compression  `yaml:"compression"`
	Timeout     time.Duration     `yaml:"timeout"`
	TLS         TLS               `yaml:"tls"`

	Queue any `yaml:"sending_queue"`
	Retry any `yaml:"retry_on_failure"`
}

// NewGRPC returns the defaults, which are the Collector's.
func NewGRPC() *GRPC { return &GRPC{Compression: otlp.Gzip, Timeout: 5 * time.Second} }

func (g *GRPC) into() any { return g }

func (g *GRPC) check(at report) {
	checkPolicy(at, g.Queue, g.Retry)
	switch {
	case g.Endpoint == "":
		at(".endpoint", "missing: want host:port such as tempo:4317")
	case !hasReference(g.Endpoint):
		if _, err := g.target(); err != nil {
			at(".endpoint", "%v", err)
		}
	}
	checkHeaders(at, g.Headers)
	for name := range g.Headers {
		if strings.HasPrefix(strings.ToLower(name), "grpc-") {
			at(headerPath(name), "names that begin with grpc- belong to the protocol")
		}
	}
	checkCompression(at, g.Compression, otlp.GRPCCompressions())
	checkTimeout(at, g.Timeout)
	g.TLS.check(at)
}

func (g *GRPC) texts() map[string]string {
	return headerTexts(map[string]string{".endpoint": g.Endpoint}, g.Headers)
}

func (g *GRPC) resolved(texts map[string]string) exporter {
	c := *g
	c.Endpoint, c.Headers = texts[".endpoint"], resolvedHeaders(texts, g.Headers)
	return &c
}

func (g *GRPC) open(_ context.Context, userAgent string, log *slog.Logger) (sink, error) {
	target, err := g.target()
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	if err := checkValues(g.Headers); err != nil {
		return nil, err
	}
	var secure *tls.Config
	if !target.plaintext {
		if secure, err = g.TLS.config(); err != nil {
			return nil, err
		}
	}
	sender, err := otlp.NewGRPC(otlp.GRPCConfig{
		Target: target.name, Metadata: g.Headers, Compression: g.Compression, Timeout: g.Timeout, TLS: secure, UserAgent: userAgent,
	})
	if err != nil {
		return nil, err
	}
	return &forward{sender: sender, log: log}, nil
}

type target struct {
	name      string // as gRPC takes it
	plaintext bool
}

// target reads the endpoint. Errors do not repeat the text, which may come out of a secret.
func (g *GRPC) target() (target, error) {
	text := strings.TrimSpace(g.Endpoint)
	scheme, rest, ok := strings.Cut(text, "://")
	t := target{name: text, plaintext: g.TLS.Insecure}
	switch {
	case !ok && strings.HasPrefix(text, "unix:"):
		return t, nil
	case !ok:
		rest = text
	case scheme == "http" || scheme == "https":
		rest = strings.TrimSuffix(rest, "/")
		t = target{name: rest, plaintext: scheme == "http"}
	case scheme == "dns" || scheme == "unix" || scheme == "passthrough":
		return t, nil
	default:
		return target{}, errors.New("want host:port, or a URL that begins with http://, https://, dns:/// or unix://")
	}
	host, port, err := net.SplitHostPort(rest)
	switch {
	case err != nil:
		if e, ok := errors.AsType[*net.AddrError](err); ok {
			err = errors.New(e.Err)
		}
		return target{}, fmt.Errorf("want host:port: %w", err)
	case host == "" || port == "":
		return target{}, errors.New("want host:port: a part is empty")
	}
	return t, nil
}
