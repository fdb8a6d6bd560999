// SPDX-License-Identifier: Apache-2.0

// Package admin is the one port by which a process is watched: /livez, /readyz, /metrics and /debug/pprof. It holds the
// process's metric registry and its named readiness checks.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/busbar/busbar/kit/metric"
)

const (
	headerTimeout = 5 * time.Second
	closeTimeout  = 2 * time.Second
)

// Admin is the health and the metrics of a process. Its methods may be called from several goroutines.
type Admin struct {
	registry *prometheus.Registry
	drops    *metric.Drops

	mu     sync.Mutex
	checks map[string]func() error
	pages  map[string]func() any
}

// New returns an Admin with the metrics of the Go runtime and of the process, and without a port.
func New() *Admin {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Admin{registry: registry, drops: metric.NewDrops(registry), checks: make(map[string]func() error), pages: make(map[string]func() any)}
}

// Registerer takes the metrics of the process.
func (a *Admin) Registerer() prometheus.Registerer { return a.registry }

// Gatherer reads them.
func (a *Admin) Gatherer() prometheus.Gatherer { return a.registry }

// Drops counts lost records.
func (a *Admin) Drops() *metric.Drops { return a.drops }

// Check has /readyz ask check, which returns quickly, nil when the part called name can do its work. A second check of
// the same name takes the place of the first. The function returned removes it.
func (a *Admin) Check(name string, check func() error) (remove func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.checks[name] = check
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.checks, name)
	}
}

// Show has /name answer with what page returns, as JSON. The function returned removes it.
func (a *Admin) Show(name string, page func() any) (remove func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pages[name] = page
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.pages, name)
	}
}

func (a *Admin) page(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	page := a.pages[r.PathValue("page")]
	a.mu.Unlock()
	if page == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(page()) // to whoever is still there
}

// process is the name of the check that Open adds.
const process = "process"

// begun tells whether any part has added a check beside that of the process: until then nobody knows whether it can do its work.
func (a *Admin) begun() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.checks) > 1
}

// Ready returns the failures of all checks, one "name: reason" a line, or nil.
func (a *Admin) Ready() error {
	a.mu.Lock()
	checks := maps.Clone(a.checks)
	a.mu.Unlock()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(checks)) {
		if err := checks[name](); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// Handler serves the pages. They show no data of users, but pprof shows what the process is doing: keep the port inside.
func (a *Admin) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.HandleFunc("GET /{page}", a.page)
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

func (a *Admin) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := a.Ready(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

// Port is an open admin port.
type Port struct {
	listener net.Listener
	server   *http.Server
	served   chan struct{}
}

// Open serves the pages on addr, "host:port", until Close. /readyz fails with "starting" as long as no part has a check, and from
// the end of ctx on with "stopping", so that traffic goes elsewhere while the process drains. An address in use is one error that names it.
func (a *Admin) Open(ctx context.Context, addr string) (*Port, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("open admin port: %w", err)
	}
	a.Check(process, func() error {
		switch {
		case ctx.Err() != nil:
			return errors.New("stopping")
		case !a.begun():
			return errors.New("starting")
		}
		return nil
	})
	p := &Port{
		listener: listener,
		server:   &http.Server{Handler: a.Handler(), ReadHeaderTimeout: headerTimeout},
		served:   make(chan struct{}),
	}
	go func() {
		defer close(p.served)
		_ = p.server.Serve(listener) // until Close
	}()
	return p, nil
}

// Addr returns the address that is listened on, "host:port".
func (p *Port) Addr() string { return p.listener.Addr().String() }

// Close closes the port. Do it last, so that the end can be watched.
func (p *Port) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if p.server.Shutdown(ctx) != nil {
		_ = p.server.Close() // a profile is being taken; it is cut
	}
	<-p.served
}
