// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
)

// mortal is a way to the server that can be cut for good, as the death of a process cuts it.
type mortal struct {
	*bustest.Server

	mu    sync.Mutex
	dead  bool
	conns []net.Conn
}

func (m *mortal) InProcessConn() (net.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil, errors.New("dead")
	}
	conn, err := m.Server.InProcessConn()
	if err == nil {
		m.conns = append(m.conns, conn)
	}
	return conn, err
}

func (m *mortal) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	for _, c := range m.conns {
		_ = c.Close()
	}
}

func TestKilledConsumerLosesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	way := &mortal{Server: f.Server}
	victim, err := bus.Connect(t.Context(), bus.Config{Name: "victim", InProcess: way}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(victim.Close)
	s := spec()
	s.AckWait = 500 * time.Millisecond

	const n = 200
	for i := range n {
		publish(t, f.bus, bus.Msg{Subject: "s.a", ID: strconv.Itoa(i)})
	}
	release := make(chan struct{})
	var handled atomic.Int64
	stop := consume(t, victim, s, func(context.Context, *bus.Delivery) error {
		if handled.Add(1) > 50 {
			<-release // dies with these in hand
		}
		return nil
	})
	bustest.Eventually(t, "in work", func() bool { return handled.Load() > 50 })
	way.kill()

	var seen recorder
	consume(t, f.connect(t), s, func(_ context.Context, d *bus.Delivery) error { seen.add(d.Header(bus.HeaderID)); return nil })
	f.drained(t)
	distinct := map[string]bool{}
	for _, id := range seen.with("") {
		distinct[id] = true
	}
	if len(distinct) < n-50 { // the victim may have finished the first fifty
		t.Errorf("the other process handled %d messages", len(distinct))
	}
	close(release)
	stop()
}

// TestRedeliveryIsStoredOnce publishes what a handler makes and fails afterwards, so that it makes it again.
func TestRedeliveryIsStoredOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	provision(t, f.bus, bus.StreamSpec{Name: "OUT", Subjects: []string{"out.>"}})
	consume(t, f.bus, spec(), func(ctx context.Context, d *bus.Delivery) error {
		for _, part := range []string{"a", "b"} {
			if err := f.bus.Publish(ctx, bus.Msg{Subject: "out." + part, ID: d.DerivedID(part)}); err != nil {
				return err
			}
		}
		if d.Attempt == 1 {
			return bus.Throttled(0, errors.New("crashed before the acknowledgement"))
		}
		return nil
	})
	const n = 20
	for range n {
		publish(t, f.bus, bus.Msg{Subject: "s.a"})
	}
	f.drained(t)
	if got := len(bustest.ReadAll(t, f.bus, "OUT", "")); got != 2*n {
		t.Errorf("%d messages are stored, want %d", got, 2*n)
	}
}

// TestDerivedIDOutlivesTheStream deletes a stream and fills it again: the same places hold other messages.
func TestDerivedIDOutlivesTheStream(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	publish(t, f.bus, bus.Msg{Subject: "s.a"})
	first := bustest.ReadAll(t, f.bus, "S", "")[0]
	f.DeleteStream(t, "S")
	publish(t, f.bus, bus.Msg{Subject: "s.a"})
	second := bustest.ReadAll(t, f.bus, "S", "")[0]
	if first.Sequence != second.Sequence {
		t.Fatalf("sequences are %d and %d", first.Sequence, second.Sequence)
	}
	if first.DerivedID("x") == second.DerivedID("x") || first.DerivedID("x") == first.DerivedID("y") {
		t.Errorf("ids are %s and %s", first.DerivedID("x"), second.DerivedID("x"))
	}
}

func TestDeletedConsumerAndStreamAreMadeAnew(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	got := make(chan string, 100)
	consume(t, f.bus, spec(), func(_ context.Context, d *bus.Delivery) error { got <- d.Header(bus.HeaderID); return nil })
	await := func(id string) {
		t.Helper()
		publish(t, f.bus, bus.Msg{Subject: "s.a", ID: id})
		for have := range got {
			if have == id {
				return
			}
		}
	}
	await("1")
	f.DeleteConsumer(t, "S", "d")
	await("2")
	f.DeleteStream(t, "S")
	await("3")
	f.Restart()
	await("4")
}

// TestRestartWhileConsuming restarts the server under a two-stage flow and finds every message at its end once.
func TestRestartWhileConsuming(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	provision(t, f.bus, bus.StreamSpec{Name: "OUT", Subjects: []string{"out.>"}})
	var passed atomic.Int64
	consume(t, f.connect(t), spec(), func(ctx context.Context, d *bus.Delivery) error {
		defer passed.Add(1)
		return f.bus.Publish(ctx, bus.Msg{Subject: "out.a", ID: d.DerivedID(""), Header: map[string]string{"Of": d.Header(bus.HeaderID)}})
	})
	const n = 500
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := range n {
			if err := f.bus.Publish(t.Context(), bus.Msg{Subject: "s.a", ID: strconv.Itoa(i)}); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	bustest.Eventually(t, "flowing", func() bool { return passed.Load() > 50 })
	f.Restart()
	<-ended
	count := func() (distinct, all int) {
		ids := map[string]bool{}
		for _, d := range bustest.ReadAll(t, f.bus, "OUT", "") {
			ids[d.Header("Of")] = true
			all++
		}
		return len(ids), all
	}
	bustest.Eventually(t, "all arrived", func() bool { distinct, _ := count(); return distinct == n })
	if distinct, all := count(); all != distinct {
		t.Errorf("%d messages are stored for %d", all, distinct)
	}
}

func TestConsumeEndsWithTheBus(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	other := f.connect(t)
	ended := make(chan error, 1)
	begun := make(chan struct{}, 1)
	go func() {
		ended <- other.Consume(t.Context(), spec(), func(context.Context, *bus.Delivery) error { begun <- struct{}{}; return nil })
	}()
	publish(t, f.bus, bus.Msg{Subject: "s.a"})
	<-begun
	other.Close()
	if err := <-ended; !errors.Is(err, bus.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
