// SPDX-License-Identifier: Apache-2.0

package exporter_test

import (
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/exporter"
)

func TestResourcesChangeWhileItRuns(t *testing.T) {
	t.Parallel()
	first, second, other := newBackend(t), newBackend(t), newBackend(t)
	to := func(name string, b *backend) string {
		return destination(name, "otlp_http: {endpoint: 'http://"+b.address+"'}, onRemove: keep")
	}
	path := resources(t, to("moving", first)+to("other", other))
	l := start(t, func(c *exporter.Config) { c.Paths = []string{path} })
	l.publish("moving", subject.Traces, 0, 10, spans(t))
	bustest.Eventually(t, "10 at first", func() bool { return first.distinct() == 10 })

	write(t, path, to("moving", second)+to("other", other))
	bustest.Eventually(t, "traffic moves", func() bool {
		n := second.distinct()
		l.publish("moving", subject.Traces, 10+first.distinct()+n, 11+first.distinct()+n, spans(t))
		return n > 0
	})

	write(t, path, "kind: [")
	bustest.Eventually(t, "the bad change is refused", func() bool { return l.metric("busbar_config_refused") == 1 })
	l.publish("moving", subject.Traces, 1000, 1010, spans(t))
	l.publish("other", subject.Traces, 0, 10, spans(t))
	bustest.Eventually(t, "the last good state runs on", func() bool {
		return second.has("traces-1009") && other.distinct() == 10
	})

	write(t, path, to("other", other))
	bustest.Eventually(t, "moving is gone", func() bool { return l.metric("busbar_config_refused") == 0 && !l.state("moving", "ok")() })
	l.publish("moving", subject.Traces, 2000, 2010, spans(t))
	if n := l.nats.Pending(t, root.OutStream("moving").Name, "exporter"); n != 10 {
		t.Errorf("%d messages wait, want 10", n)
	}
	write(t, path, to("other", other)+to("moving", second))
	bustest.Eventually(t, "what waited arrives", func() bool { return second.has("traces-2009") })
}

func (b *backend) has(key string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.got[key] > 0
}

func TestSecretsAreReadWhenTheyChange(t *testing.T) {
	t.Parallel()
	b, open := newBackend(t), newBackend(t)
	secret := filepath.Join(t.TempDir(), "token")
	b.authorized("Bearer good")
	path := resources(t, destination("d", "otlp_http: {endpoint: 'http://"+b.address+"', headers: {authorization: 'Bearer ${file:"+secret+"}'}}")+
		destination("open", "otlp_http: {endpoint: 'http://"+open.address+"'}"))
	l := start(t, func(c *exporter.Config) { c.Paths = []string{path} })
	l.publish("d", subject.Traces, 0, 3, spans(t))
	l.publish("open", subject.Traces, 0, 3, spans(t))
	bustest.Eventually(t, "a missing secret is told", l.state("d", "misconfigured"))
	bustest.Eventually(t, "the other runs", func() bool { return open.distinct() == 3 })
	write(t, secret, "bad\n")
	bustest.Eventually(t, "a bad secret is refused", l.state("d", "refusing"))
	write(t, secret, "good\n")
	bustest.Eventually(t, "a good secret works", func() bool { return b.distinct() == 3 })
	bustest.Eventually(t, "and says so", l.state("d", "ok"))
}

// authorized has the back end refuse requests that lack these credentials.
func (b *backend) authorized(credentials string) {
	b.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != credentials {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		b.take(w, r)
	})
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	nats := bustest.Start(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	taken := listener.Addr().String()
	for _, tc := range []struct {
		name   string
		change func(*exporter.Config)
		want   string
	}{
		{"port of the page", func(c *exporter.Config) { c.Destinations = []exporter.Destination{exporter.Page(taken)} },
			"destinations: open destination page: open Prometheus page on " + taken + ": bind: address already in use"},
		{"resources", func(c *exporter.Config) { c.Paths = []string{resources(t, destination("d", "otlp: {endpoint: x}"))} },
			"resources.yaml:5:25: spec.otlp.endpoint: want host:port: missing port in address"},
		{"name of a flag", func(c *exporter.Config) {
			c.Destinations = []exporter.Destination{exporter.Page("127.0.0.1:0")}
			c.Paths = []string{resources(t, destination("page", "otlp: {endpoint: 'x:1'}"))}
		}, `metadata.name: a flag of this process has a destination "page" already: choose another name`},
		{"no bus", func(c *exporter.Config) { c.Bus.InProcess, c.Bus.URL = nil, "nats://"+freePort(t) }, "connect to NATS at nats://127.0.0.1:"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := exporter.Default()
			cfg.Bus, cfg.Log = nats.Config(""), slog.New(slog.DiscardHandler)
			tc.change(&cfg)
			err := exporter.Run(t.Context(), cfg)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v\nwant %s", err, tc.want)
			}
		})
	}
}

// A page of a resource whose port is in use waits for it; what is declared besides runs.
func TestPageWaitsForItsPort(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	address := listener.Addr().String()
	path := resources(t, destination("p", "prometheus: {endpoint: '"+address+"'}"))
	l := start(t, func(c *exporter.Config) { c.Paths = []string{path} })
	bustest.Eventually(t, "the port is in use", l.state("p", "misconfigured"))
	_ = listener.Close()
	l.publish("p", subject.Metrics, 0, 3, counter(t))
	bustest.Eventually(t, "the page is there", func() bool { return sample(t, address, "calls_total") == 3 })
}
