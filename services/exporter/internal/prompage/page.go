// SPDX-License-Identifier: Apache-2.0

// Package prompage shows the series of a [cumulative.State] on a page that Prometheus scrapes.
//
// Names follow the OpenTelemetry rules for Prometheus. The resource is on every series as job, instance, service_name and
// service_namespace, and in full on target_info.
package prompage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/busbar/busbar/services/exporter/internal/cumulative"
)

// Options shape a page.
type Options struct {
	Namespace   string            // begins the name of every metric, if set
	ConstLabels map[string]string // on every series
	Series      cumulative.Options
}

// Page is an HTTP server with the series of its State at /metrics. Its methods may be called by several goroutines.
type Page struct {
	state     *cumulative.State
	families  *families // used with the state locked
	gathering sync.Mutex
	labeler   labeler // guarded by gathering
	listener  net.Listener
	log       *slog.Logger
}

// Listen opens the page at address, host:port. Serve must follow, which closes it. The error names the address.
func Listen(ctx context.Context, address string, o Options, log *slog.Logger) (*Page, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("open Prometheus page on %s: %w", address, cause(err))
	}
	p := &Page{families: newFamilies(o.Namespace), labeler: newLabeler(o.ConstLabels), listener: listener, log: log}
	o.Series.View = p.families
	p.state = cumulative.New(o.Series)
	return p, nil
}

// State is what the page shows.
func (p *Page) State() *cumulative.State { return p.state }

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
	headerTimeout  = 5 * time.Second
	scrapeTimeout  = time.Minute
	maxScrapes     = 4 // at the same time: each holds the whole page in memory once
	drainOfScrapes = 2 * time.Second
)

// Serve answers scrapes until ctx ends; then it closes the page and returns nil.
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
	select {
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

// ignoreClosed leaves out the error that tells of a shutdown.
func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (p *Page) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(p, promhttp.HandlerOpts{
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
