// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/services/exporter/internal/otlp"
)

// HTTP is the settings of an otlp_http destination, with the keys that the Collector documents.
type HTTP struct {
	Endpoint    string            `yaml:"endpoint"` // base; /v1/traces and so on follow
	Traces      string            `yaml:"traces_endpoint"`
	Metrics     string            `yaml:"metrics_endpoint"`
	Logs        string            `yaml:"logs_endpoint"`
	Headers     map[string]string `yaml:"headers"`
	Compression otlp.Compression  `yaml:"compression"`
	Timeout     time.Duration     `yaml:"timeout"`
	TLS         TLS               `yaml:"tls"`
	Encoding    string            `yaml:"encoding"`

	Queue any `yaml:"sending_queue"`
	Retry any `yaml:"retry_on_failure"`
}

// NewHTTP returns the defaults, which are the Collector's.
func NewHTTP() *HTTP {
	return &HTTP{Compression: otlp.Gzip, Timeout: 30 * time.Second, Encoding: "proto"}
}

func (h *HTTP) into() any { return h }

func (h *HTTP) check(at report) {
	checkPolicy(at, h.Queue, h.Retry)
	if h.Endpoint == "" && h.Traces == "" && h.Metrics == "" && h.Logs == "" {
		at(".endpoint", "missing: want a URL such as http://tempo:4318")
	}
	endpoints := h.endpoints()
	for _, path := range slices.Sorted(maps.Keys(endpoints)) {
		if endpoints[path] == "" || hasReference(endpoints[path]) {
			continue
		}
		if _, err := parseURL(endpoints[path]); err != nil {
			at(path, "%v", err)
		}
	}
	checkHeaders(at, h.Headers)
	checkCompression(at, h.Compression, otlp.HTTPCompressions())
	if h.Encoding != "proto" {
		at(".encoding", "want proto, got %q: requests are forwarded as they are", h.Encoding)
	}
	checkTimeout(at, h.Timeout)
	h.TLS.check(at)
}

func checkCompression(at report, c otlp.Compression, known []otlp.Compression) {
	if c != "" && !slices.Contains(known, c) {
		var names []string
		for _, k := range known {
			names = append(names, string(k))
		}
		at(".compression", "unknown compression %q %s", c, config.Choices(string(c), names))
	}
}

func checkTimeout(at report, d time.Duration) {
	if d <= 0 {
		at(".timeout", "want more than 0s, got %v", d)
	}
}

func (h *HTTP) endpoints() map[string]string {
	return map[string]string{
		".endpoint": h.Endpoint, ".traces_endpoint": h.Traces, ".metrics_endpoint": h.Metrics, ".logs_endpoint": h.Logs,
	}
}

func (h *HTTP) texts() map[string]string { return headerTexts(h.endpoints(), h.Headers) }

func (h *HTTP) resolved(texts map[string]string) exporter {
	c := *h
	c.Endpoint, c.Traces = texts[".endpoint"], texts[".traces_endpoint"]
	c.Metrics, c.Logs = texts[".metrics_endpoint"], texts[".logs_endpoint"]
	c.Headers = resolvedHeaders(texts, h.Headers)
	return &c
}

func (h *HTTP) open(_ context.Context, userAgent string, log *slog.Logger) (sink, error) {
	urls, err := h.urls()
	if err != nil {
		return nil, err
	}
	if err := checkValues(h.Headers); err != nil {
		return nil, err
	}
	secure, err := h.TLS.config()
	if err != nil {
		return nil, err
	}
	cfg := otlp.HTTPConfig{
		URLs: urls, Header: make(http.Header), Compression: h.Compression, Timeout: h.Timeout, TLS: secure, UserAgent: userAgent,
	}
	for name, value := range h.Headers {
		cfg.Header.Set(name, value)
	}
	sender, err := otlp.NewHTTP(cfg)
	if err != nil {
		return nil, err
	}
	return &forward{sender: sender, log: log}, nil
}

// urls returns where each signal goes. A signal may have no place.
func (h *HTTP) urls() (map[subject.Signal]string, error) {
	own := map[subject.Signal]struct{ path, text string }{
		subject.Traces:  {"traces_endpoint", h.Traces},
		subject.Metrics: {"metrics_endpoint", h.Metrics},
		subject.Logs:    {"logs_endpoint", h.Logs},
	}
	urls := make(map[subject.Signal]string)
	for signal, at := range own {
		switch {
		case at.text != "":
			u, err := parseURL(at.text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", at.path, err)
			}
			urls[signal] = u.String()
		case h.Endpoint != "":
			u, err := parseURL(h.Endpoint)
			if err != nil {
				return nil, fmt.Errorf("endpoint: %w", err)
			}
			urls[signal] = u.JoinPath("v1", string(signal)).String()
		}
	}
	return urls, nil
}

// parseURL reads the URL of a back end. Errors do not repeat the text, which may come out of a secret.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	switch {
	case err != nil:
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, fmt.Errorf("is no URL: %w", err)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("want a URL that begins with http:// or https://")
	case u.Hostname() == "":
		return nil, errors.New("the URL names no host")
	}
	return u, nil
}
