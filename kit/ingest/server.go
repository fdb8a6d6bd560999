// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	headerTimeout = 5 * time.Second
	writeTimeout  = 5 * time.Minute // from the head of a request to the end of its answer: the body has a pace of its own
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10
	drainTimeout  = 3 * time.Second // for requests under way when the server is to end: one takes half of it
	maxStreams    = 100             // requests at a time on a connection of HTTP/2
	streamBuffer  = 64 << 10        // what a sender may be ahead of us
)

// Server serves requests on a port: HTTP/1.1, and HTTP/2 with TLS or, as gRPC does, without.
type Server struct {
	http     *http.Server
	listener net.Listener
	metrics  *metrics
}

// ServerConfig says what is served where. Address, or Listener, and Handler are required.
type ServerConfig struct {
	Address  string       // host:port
	Listener net.Listener // open already; nil: listen on Address
	TLS      *tls.Config
	Handler  http.Handler
	Service  string // a label of the metrics
	Metrics  prometheus.Registerer
	Log      *slog.Logger
}

// Listen opens the port. Run serves it; a server that is not run needs Close.
func Listen(ctx context.Context, cfg ServerConfig) (*Server, error) {
	listener := cfg.Listener
	if listener == nil {
		var err error
		if listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Address); err != nil {
			return nil, err
		}
	}
	s := &Server{listener: listener, metrics: newMetrics(cfg.Metrics, cfg.Service)}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	s.http = &http.Server{
		Handler: cfg.Handler, TLSConfig: cfg.TLS, Protocols: protocols,
		ReadHeaderTimeout: headerTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ConnState: s.count,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, MaxReadFrameSize: 16 << 10,
			MaxReceiveBufferPerConnection: 2 * streamBuffer, MaxReceiveBufferPerStream: streamBuffer,
		},
		ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug), // that a sender breaks off is no news
	}
	return s, nil
}

// Addr returns the address that is listened on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until ctx ends; then it lets requests under way finish and returns nil.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() {
		if s.http.TLSConfig != nil {
			served <- s.http.ServeTLS(s.listener, "", "")
			return
		}
		served <- s.http.Serve(s.listener)
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", s.listener.Addr(), err)
	case <-ctx.Done():
	}
	s.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("serve %s: %w", s.listener.Addr(), err)
	}
	return nil
}

// Close closes the port and lets requests under way finish.
func (s *Server) Close() {
	_ = s.listener.Close() // Shutdown closes it only once it is served
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
}

func (s *Server) count(_ net.Conn, state http.ConnState) {
	g := s.metrics.connections
	switch state {
	case http.StateNew:
		g.Inc()
	case http.StateClosed, http.StateHijacked:
		g.Dec()
	default:
	}
}

// Counter counts the requests that a service answers.
type Counter struct{ metrics *metrics }

// NewCounter returns the counter of a service.
func NewCounter(service string, reg prometheus.Registerer) Counter {
	return Counter{newMetrics(reg, service)}
}

// Count counts a request: route is a constant of the program, status the one that was answered.
func (c Counter) Count(route string, status int) {
	c.metrics.requests.WithLabelValues(c.metrics.service, route, strconv.Itoa(status)).Inc()
}
