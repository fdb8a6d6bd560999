// SPDX-License-Identifier: Apache-2.0

// Package bus is how a Busbar process talks to NATS, and the only package that imports its client.
//
// It promises at-least-once delivery. Publish returns once the stream has stored the messages. Consume acknowledges a
// message only after its handler returned nil; it repeats what failed, with growing delays and for ever, copies what can
// never succeed to a dead-letter subject before it lets go of it, and keeps messages that are slow to handle from being
// delivered twice. Whatever is in flight is bounded: publications by a window, deliveries by a prefetch. The connection is
// re-established for ever, and streams and consumers that vanish are made anew.
//
// What a message means, which subjects exist and who may write them is left to package contract/subject and the services.
package bus

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// InProcess connects to a NATS server inside this process; embedded.Server is one.
type InProcess interface {
	InProcessConn() (net.Conn, error)
}

// Config tells how a process reaches the bus. The zero value of each field but URL and Name is usable.
type Config struct {
	URL       string    // nats://host:port or tls://host:port, several separated by commas
	Creds     string    // path of a .creds file; empty for none
	Name      string    // connection name, e.g. "busbar-router"; also the label "client" of the metrics
	InProcess InProcess // if set, connect to this server instead of URL, without a socket
	// Wait is how long Connect keeps trying; zero fails at once. A pod that may start before the bus gives it a minute.
	Wait time.Duration
	// WindowBytes and WindowMessages bound what was published and not yet acknowledged. Default 8 MiB, where more was
	// measured to bring stalls and not throughput, and 1024 messages.
	WindowBytes, WindowMessages int
	// Replicas is how many copies a cluster of NATS servers keeps of every stream, at least; zero leaves it to the stream.
	Replicas int
	Metrics  prometheus.Registerer // nil counts into the void
}

const (
	connectTimeout    = 2 * time.Second // of one attempt
	reconnectWait     = 250 * time.Millisecond
	drainTimeout      = 5 * time.Second
	defaultWindow     = 8 << 20
	defaultWindowMsgs = 1024
)

// Bus is a connection to NATS. Its methods may be called from several goroutines.
type Bus struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	log     *slog.Logger
	name    string
	wait    time.Duration
	copies  int // of every stream, at least
	metrics *metrics
	out     *publisher
	streams provisioner

	closed     chan struct{} // closed with the connection
	closeOnce  sync.Once
	background sync.WaitGroup // repairs
	troubles   occasion       // that the server tells of: a permission that is missing befalls every message

	mu          sync.Mutex
	reconnected chan struct{} // closed and replaced on each reconnection
}

// Connect connects to NATS. When the server cannot be reached within cfg.Wait, the error names URL and cause. Afterwards
// the connection is re-established for ever; Ready tells how it is. Close the Bus after everything that uses it has ended.
func Connect(ctx context.Context, cfg Config, log *slog.Logger) (*Bus, error) {
	b := &Bus{
		log:         log.With("client", cfg.Name),
		name:        cfg.Name,
		wait:        cfg.Wait,
		copies:      cfg.Replicas,
		metrics:     newMetrics(cfg.Metrics, cfg.Name),
		closed:      make(chan struct{}),
		reconnected: make(chan struct{}),
	}
	if err := b.dial(ctx, cfg); err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w", address(cfg), err)
	}
	js, err := jetstream.New(b.nc)
	if err == nil {
		b.js = js
		b.out, err = newPublisher(b, cfg.WindowBytes, cfg.WindowMessages)
	}
	if err != nil {
		b.nc.Close()
		return nil, fmt.Errorf("connect to NATS at %s: %w", address(cfg), err)
	}
	b.metrics.connected.Set(1)
	return b, nil
}

// Close stops taking publications, waits a few seconds for those in flight, flushes acknowledgements and disconnects.
func (b *Bus) Close() {
	b.closeOnce.Do(func() {
		b.out.close(drainTimeout)
		if err := b.nc.Drain(); err != nil {
			b.nc.Close() // not connected: nothing to drain
		}
		<-b.closed
		b.background.Wait()
	})
}

// Ready returns nil while the connection is up, for a readiness check.
func (b *Bus) Ready() error {
	if b.nc.IsConnected() {
		return nil
	}
	return ErrDisconnected
}

// URL returns the address of the server it is or was last connected to, without credentials.
func (b *Bus) URL() string { return b.nc.ConnectedUrlRedacted() }

func (b *Bus) onDisconnect(_ *nats.Conn, err error) {
	b.metrics.connected.Set(0)
	if err != nil {
		b.log.Warn("bus disconnected", "error", err)
	}
}

func (b *Bus) onReconnect(nc *nats.Conn) {
	b.metrics.connected.Set(1)
	b.metrics.reconnects.Inc()
	b.log.Info("bus reconnected", "url", nc.ConnectedUrlRedacted())
	b.mu.Lock()
	close(b.reconnected)
	b.reconnected = make(chan struct{})
	b.mu.Unlock()
	b.out.resend()
}

func (b *Bus) onError(_ *nats.Conn, sub *nats.Subscription, err error) {
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	b.troubles.warn(b.log, "bus error", "subject", subject, "error", err)
}

// nextReconnect returns a channel that is closed at the next reconnection.
func (b *Bus) nextReconnect() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reconnected
}
