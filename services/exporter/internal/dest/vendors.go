// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"encoding/base64"
	"log/slog"
	"maps"
	"net/url"
	"time"

	"github.com/busbar/busbar/services/exporter/internal/otlp"
)

// Datadog is the settings of a datadog destination: those of the Collector's exporter that make sense for Datadog's OTLP intake,
// which everything is sent to as it is.
type Datadog struct {
	API struct {
		Key  string `yaml:"key"`
		Site string `yaml:"site"`
	} `yaml:"api"`
	Traces  Intake `yaml:"traces"`
	Metrics Intake `yaml:"metrics"`
	Logs    Intake `yaml:"logs"`
	// Source is what Datadog calls the sender of traces: the name of the organization that it tells whom it lets in.
	Source      string            `yaml:"otlp_source"`
	Headers     map[string]string `yaml:"headers"`
	Compression otlp.Compression  `yaml:"compression"`
	Timeout     time.Duration     `yaml:"timeout"`
	TLS         TLS               `yaml:"tls"`

	Hostname any `yaml:"hostname"`
	Metadata any `yaml:"host_metadata"`
	Queue    any `yaml:"sending_queue"`
	Retry    any `yaml:"retry_on_failure"`
}

// Intake is where one signal goes, if not to the intake of the site.
type Intake struct {
	Endpoint string `yaml:"endpoint"` // the whole URL
}

// NewDatadog returns the defaults.
func NewDatadog() *Datadog {
	d := &Datadog{Compression: otlp.Gzip, Timeout: 15 * time.Second}
	d.API.Site = "datadoghq.com"
	return d
}

func (d *Datadog) into() any { return d }

func (d *Datadog) check(at report) {
	if d.API.Key == "" {
		at(".api.key", "missing: want an API key of Datadog, such as ${env:DD_API_KEY}")
	}
	if !hasReference(d.API.Site) && !legalHost(d.API.Site) {
		at(".api.site", "want a site such as datadoghq.com or datadoghq.eu, got %q", d.API.Site)
	}
	if d.Hostname != nil {
		at(".hostname", "data is sent as it is: set resource.attributes[\"host.name\"] in a pipeline instead")
	}
	if d.Metadata != nil {
		at(".host_metadata", "the OTLP intake takes no metadata of hosts; remove it")
	}
	checkPolicy(at, d.Queue, d.Retry)
	checkForwarded(at, d.forwarder())
}

func (d *Datadog) texts() map[string]string {
	return headerTexts(map[string]string{
		".api.key": d.API.Key, ".api.site": d.API.Site, ".otlp_source": d.Source,
		".traces.endpoint": d.Traces.Endpoint, ".metrics.endpoint": d.Metrics.Endpoint, ".logs.endpoint": d.Logs.Endpoint,
	}, d.Headers)
}

func (d *Datadog) resolved(texts map[string]string) exporter {
	c := *d
	c.API.Key, c.API.Site, c.Source = texts[".api.key"], texts[".api.site"], texts[".otlp_source"]
	c.Traces.Endpoint, c.Metrics.Endpoint, c.Logs.Endpoint = texts[".traces.endpoint"], texts[".metrics.endpoint"], texts[".logs.endpoint"]
	c.Headers = resolvedHeaders(texts, d.Headers)
	return &c
}

func (d *Datadog) open(ctx context.Context, userAgent string, log *slog.Logger) (sink, error) {
	return d.forwarder().open(ctx, userAgent, log)
}

// forwarder is the same as OTLP over HTTP.
func (d *Datadog) forwarder() *HTTP {
	h := NewHTTP()
	h.Endpoint = "https://otlp." + d.API.Site
	h.Traces, h.Metrics, h.Logs = d.Traces.Endpoint, d.Metrics.Endpoint, d.Logs.Endpoint
	h.Compression, h.Timeout, h.TLS = d.Compression, d.Timeout, d.TLS
	h.Headers = withHeaders(d.Headers, map[string]string{"dd-protocol": "otlp", "dd-api-key": d.API.Key, "dd-otlp-source": d.Source})
	return h
}

// Elasticsearch is the settings of an elasticsearch destination: those of the Collector's exporter that make sense for the
// server's own OTLP endpoint, which everything is sent to as it is.
type Elasticsearch struct {
	Endpoint    string            `yaml:"endpoint"` // of the server; /_otlp/v1/traces and so on follow
	APIKey      string            `yaml:"api_key"`  // as Kibana shows it, encoded
	User        string            `yaml:"user"`
	Password    string            `yaml:"password"`
	Headers     map[string]string `yaml:"headers"`
	Compression otlp.Compression  `yaml:"compression"`
	Timeout     time.Duration     `yaml:"timeout"`
	TLS         TLS               `yaml:"tls"`

	Endpoints any `yaml:"endpoints"`
	Mapping   any `yaml:"mapping"`
	Queue     any `yaml:"sending_queue"`
	Retry     any `yaml:"retry_on_failure"`
	RetryOwn  any `yaml:"retry"`
}

// NewElasticsearch returns the defaults.
func NewElasticsearch() *Elasticsearch {
	return &Elasticsearch{Compression: otlp.Gzip, Timeout: 30 * time.Second}
}

func (e *Elasticsearch) into() any { return e }

func (e *Elasticsearch) check(at report) {
	if e.Endpoints != nil {
		at(".endpoints", "want one endpoint, that of the server or of what balances between servers: write endpoint")
		return
	}
	if e.Mapping != nil {
		at(".mapping", "the server maps OTLP itself; remove it")
	}
	if e.APIKey != "" && e.User != "" {
		at(".user", "want api_key or user, not both")
	}
	checkPolicy(at, e.Queue, e.Retry)
	checkPolicy(at, nil, e.RetryOwn)
	if e.Endpoint == "" {
		at(".endpoint", "missing: want a URL such as https://elasticsearch:9200")
		return
	}
	checkForwarded(at, e.forwarder())
}

func (e *Elasticsearch) texts() map[string]string {
	return headerTexts(map[string]string{".endpoint": e.Endpoint, ".api_key": e.APIKey, ".user": e.User, ".password": e.Password}, e.Headers)
}

func (e *Elasticsearch) resolved(texts map[string]string) exporter {
	c := *e
	c.Endpoint, c.APIKey, c.User, c.Password = texts[".endpoint"], texts[".api_key"], texts[".user"], texts[".password"]
	c.Headers = resolvedHeaders(texts, e.Headers)
	return &c
}

func (e *Elasticsearch) open(ctx context.Context, userAgent string, log *slog.Logger) (sink, error) {
	return e.forwarder().open(ctx, userAgent, log)
}

// forwarder is the same as OTLP over HTTP.
func (e *Elasticsearch) forwarder() *HTTP {
	h := NewHTTP()
	h.Endpoint, h.Compression, h.Timeout, h.TLS = e.Endpoint, e.Compression, e.Timeout, e.TLS
	if u, err := parseURL(e.Endpoint); err == nil { // what is wrong with it, open reports
		h.Endpoint = u.JoinPath("_otlp").String()
	}
	own := map[string]string{}
	switch {
	case e.APIKey != "":
		own["Authorization"] = "ApiKey " + e.APIKey
	case e.User != "":
		own["Authorization"] = basicAuth(e.User, e.Password)
	}
	h.Headers = withHeaders(e.Headers, own)
	return h
}

// checkForwarded reports what is wrong with the settings that the forwarder shares with its wrapper.
func checkForwarded(at report, h *HTTP) {
	paths := map[string]string{".traces_endpoint": ".traces.endpoint", ".metrics_endpoint": ".metrics.endpoint", ".logs_endpoint": ".logs.endpoint"}
	h.check(func(path, format string, args ...any) {
		if own, ok := paths[path]; ok {
			path = own
		}
		at(path, format, args...)
	})
}

// withHeaders adds headers of ours, without empty ones, to those that users declare, which win.
func withHeaders(declared, own map[string]string) map[string]string {
	out := make(map[string]string, len(declared)+len(own))
	for name, value := range own {
		if value != "" {
			out[name] = value
		}
	}
	maps.Copy(out, declared)
	return out
}

func basicAuth(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// legalHost tells whether a text can end the name of a host.
func legalHost(text string) bool {
	u, err := url.Parse("https://otlp." + text)
	return err == nil && text != "" && u.Host == "otlp."+text && u.Port() == ""
}
