// SPDX-License-Identifier: Apache-2.0

// Package bustest gives tests a real NATS server with JetStream, in process and in a temporary directory, that can be
// stopped and started again.
package bustest

import (
	"errors"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/embedded"
)

// Server is a server for one test. It satisfies bus.InProcess, also across Stop and Start.
type Server struct {
	t       testing.TB
	options embedded.Options

	mu  sync.Mutex
	now *embedded.Server // nil while stopped
}

// Start starts a server that only this process can reach. It ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	return start(t, embedded.Options{DontListen: true})
}

// Listen starts a server on a free port of 127.0.0.1, for tests of other processes. It ends with the test.
func Listen(t testing.TB) *Server {
	t.Helper()
	return start(t, embedded.Options{Port: -1})
}

func start(t testing.TB, o embedded.Options) *Server {
	t.Helper()
	o.StoreDir = t.TempDir()
	s := &Server{t: t, options: o}
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Stop shuts the server down; connections to it wait for it to come back.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != nil {
		s.now.Shutdown()
		s.now = nil
	}
}

// Start starts the server again, on the data and the port it had.
func (s *Server) Start() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	server, err := embedded.Start(s.options)
	if err != nil {
		s.t.Fatal(err)
	}
	s.now = server
	if !s.options.DontListen {
		_, port, err := net.SplitHostPort(server.ClientURL()[len("nats://"):])
		if err == nil {
			s.options.Port, err = strconv.Atoi(port)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// Restart stops the server and starts it again.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.Start()
}

// URL returns the address of a server made with Listen.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil {
		return ""
	}
	return s.now.ClientURL()
}

// InProcessConn connects to the server without a socket.
func (s *Server) InProcessConn() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil {
		return nil, errors.New("server is stopped")
	}
	return s.now.InProcessConn()
}

// Config returns a configuration that connects to the server in process.
func (s *Server) Config(name string) bus.Config {
	return bus.Config{Name: name, InProcess: s}
}

// Connect connects to the server. The Bus is closed at the end of the test, before the server stops.
func (s *Server) Connect(t testing.TB, name string) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(t.Context(), s.Config(name), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// ReadAll returns what stream stores now on subjects that match filter; "" matches all.
func ReadAll(t testing.TB, b *bus.Bus, stream, filter string) []*bus.Delivery {
	t.Helper()
	var all []*bus.Delivery
	err := b.Replay(t.Context(), stream, filter, func(d *bus.Delivery) error {
		all = append(all, d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Eventually waits until condition returns true, and fails the test if it has not after half a minute.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen in time: %s", what)
		}
	}
}

// DeleteStream deletes a stream behind the back of whoever uses it.
func (s *Server) DeleteStream(t testing.TB, stream string) {
	t.Helper()
	s.manage(t, func(js jetstream.JetStream) error { return js.DeleteStream(t.Context(), stream) })
}

// EditStream changes settings of a stream, as whoever runs the server would, and returns what it then has.
func (s *Server) EditStream(t testing.TB, stream string, edit func(*jetstream.StreamConfig)) (has jetstream.StreamConfig) {
	t.Helper()
	s.manage(t, func(js jetstream.JetStream) error {
		st, err := js.Stream(t.Context(), stream)
		if err != nil {
			return err
		}
		has = st.CachedInfo().Config
		if edit == nil {
			return nil
		}
		edit(&has)
		_, err = js.UpdateStream(t.Context(), has)
		return err
	})
	return has
}

// DeleteConsumer deletes a consumer behind the back of whoever uses it.
func (s *Server) DeleteConsumer(t testing.TB, stream, durable string) {
	t.Helper()
	s.manage(t, func(js jetstream.JetStream) error { return js.DeleteConsumer(t.Context(), stream, durable) })
}

// Pending returns how many messages of stream the consumer has not acknowledged, delivered or not; -1 without a consumer.
func (s *Server) Pending(t testing.TB, stream, durable string) int {
	t.Helper()
	pending := -1
	s.manage(t, func(js jetstream.JetStream) error {
		c, err := js.Consumer(t.Context(), stream, durable)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil
		}
		if err == nil {
			info := c.CachedInfo()
			pending = int(info.NumPending) + info.NumAckPending
		}
		return err
	})
	return pending
}

// manage makes one request to the server on a connection of its own.
func (s *Server) manage(t testing.TB, do func(jetstream.JetStream) error) {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err == nil {
		err = do(js)
	}
	if err != nil {
		t.Fatal(err)
	}
}
