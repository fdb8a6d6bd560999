// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
)

// fixture is a server with the streams S and DEAD and a connection to it.
type fixture struct {
	*bustest.Server
	bus *bus.Bus
	reg *prometheus.Registry
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{Server: bustest.Start(t), reg: prometheus.NewRegistry()}
	f.bus = f.connect(t)
	provision(t, f.bus,
		bus.StreamSpec{Name: "S", Subjects: []string{"s.>"}},
		bus.StreamSpec{Name: "DEAD", Subjects: []string{"dead.>"}})
	return f
}

func (f *fixture) connect(t testing.TB) *bus.Bus {
	t.Helper()
	cfg := f.Config("test")
	cfg.Metrics = f.reg
	b, err := bus.Connect(t.Context(), cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// spec is the consumer of most tests.
func spec() bus.ConsumerSpec {
	return bus.ConsumerSpec{
		Stream: "S", Durable: "d", Stage: "tester",
		DeadSubject: func(reason string) string { return "dead.tester." + reason },
	}
}

// consume runs a consumer until the function returned is called, or the test ends.
func consume(t testing.TB, b *bus.Bus, spec bus.ConsumerSpec, fn bus.Handler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := b.Consume(ctx, spec, fn); err != nil {
			t.Error(err)
		}
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

// drained waits until everything in S was acknowledged.
func (f *fixture) drained(t testing.TB) {
	t.Helper()
	bustest.Eventually(t, "all acknowledged", func() bool { return f.Pending(t, "S", "d") == 0 })
}

// answers records the bodies of what consumers tell the server.
func (f *fixture) answers(t testing.TB) *recorder {
	t.Helper()
	b := f.connect(t)
	r := &recorder{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = b.Subscribe(ctx, "$JS.ACK.>", func(d *bus.Delivery) { r.add(string(d.Raw())) })
	}()
	t.Cleanup(func() { cancel(); <-ended })
	// The probe on an ack subject of no consumer shows that the subscription is in place.
	bustest.Eventually(t, "subscribed", func() bool {
		ping, end := context.WithCancel(t.Context())
		end()
		_ = b.Beat(ping, "$JS.ACK.ping", time.Hour, func() []byte { return []byte("ping") })
		return r.count("ping") > 0
	})
	return r
}

type recorder struct {
	mu  sync.Mutex
	all []string
}

func (r *recorder) add(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, s)
}

func (r *recorder) with(prefix string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var matching []string
	for _, s := range r.all {
		if strings.HasPrefix(s, prefix) {
			matching = append(matching, s)
		}
	}
	return matching
}

func (r *recorder) count(prefix string) int { return len(r.with(prefix)) }
