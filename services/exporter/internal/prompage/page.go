// SPDX-License-Identifier: Apache-2.0

// Package prompage shows OTLP metrics on a page that Prometheus scrapes.
//
// Prometheus wants each series cumulative and complete at every scrape; the bus carries deltas. A [Page] adds them up in
// memory: a restart of the process is a counter reset, which Prometheus knows how to read. What a series may cost is
// bounded: their number by Options.MaxSeries, their labels in count and length, their life by Options.Expiration. Points
// that find no place are counted by reason, never silently left out. Requests that are delivered again are told by their
// id and change nothing.
//
// Names follow the OpenTelemetry rules for Prometheus. The resource is on every series as job, instance, service_name and
// service_namespace, and in full on target_info. Instrumentation scopes are not told apart: deltas of two scopes that agree in
// everything else add up.
package prompage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options shape a page.
type Options struct {
	Namespace   string            // begins the name of every metric, if set
	ConstLabels map[string]string // on every series
	Expiration  time.Duration     // after which a series that nothing was added to is forgotten
	MaxSeries   int               // as Prometheus counts them: each bucket of a histogram is one
}

// Defaults of Options.
const (
	// DefaultExpiration is that of the Collector's exporter.
	DefaultExpiration = 5 * time.Minute
	// DefaultMaxSeries is ten thousand histograms of the usual buckets, about 100 MB of page.
	DefaultMaxSeries = 200_000
)

// Page is an HTTP server with the accumulated metrics at /metrics. Its methods may be called by several goroutines.
type Page struct {
	*accumulator
	listener net.Listener
	log      *slog.Logger
}

// Listen opens the page at address, host:port. Serve must follow, which closes it. The error names the address.
func Listen(ctx context.Context, address string, o Options, log *slog.Logger) (*Page, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("open Prometheus page on %s: %w", address, cause(err))
	}
	return &Page{accumulator: newAccumulator(o), listener: listener, log: log}, nil
}

// cause strips an error of net of the address that our own words name.
func cause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// Address is where the page listens.
func (p *Page) Address() string { return p.listener.Addr().String() }

const (
	sweepEvery     = 10 * time.Second
	headerTimeout  = 5 * time.Second
	scrapeTimeout  = time.Minute
	maxScrapes     = 4 // at the same time: each holds the whole page in memory once
	drainOfScrapes = 2 * time.Second
)

// Serve answers scrapes and forgets stale series until ctx ends; then it closes the page and returns nil.
func (p *Page) Serve(ctx context.Context) error {
	server := &http.Server{
		Handler:           p.handler(),
		ReadHeaderTimeout: headerTimeout,
		WriteTimeout:      scrapeTimeout,
		IdleTimeout:       2 * scrapeTimeout,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(p.listener) }()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			p.sweep(now)
		case err := <-served:
			return fmt.Errorf("serve Prometheus page on %s: %w", p.Address(), err)
		case <-ctx.Done():
			drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainOfScrapes)
			defer cancel()
			if err := server.Shutdown(drain); err != nil {
				_ = server.Close() // a scrape that takes longer is cut
			}
			return ignoreClosed(<-served)
		}
	}
}

// ignoreClosed leaves out the error that tells of a shutdown.
func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (p *Page) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.accumulator, promhttp.HandlerOpts{
		EnableOpenMetrics:   true,
		MaxRequestsInFlight: maxScrapes,
		ErrorLog:            slog.NewLogLogger(p.log.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.HTTPErrorOnError,
	}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/metrics", http.StatusFound)
	})
	return mux
}
