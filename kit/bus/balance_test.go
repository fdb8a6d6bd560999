// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"context"
	"errors"
	"net"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
)

// deaf is a way to a server that does not hear acknowledgements for a while, as one that is killed forgets the last ones.
type deaf struct {
	*bustest.Server
	is atomic.Bool
}

func (d *deaf) InProcessConn() (net.Conn, error) {
	conn, err := d.Server.InProcessConn()
	return &deafConn{conn, d}, err
}

type deafConn struct {
	net.Conn
	to *deaf
}

var acknowledgement = regexp.MustCompile(`PUB \$JS\.ACK\.S\.\S+ 4\r\n\+ACK\r\n`)

func (c *deafConn) Write(b []byte) (int, error) {
	heard := b
	if c.to.is.Load() {
		heard = acknowledgement.ReplaceAll(b, nil)
	}
	if _, err := c.Conn.Write(heard); err != nil {
		return 0, err
	}
	return len(b), nil
}

// TestForgottenAnswerIsRepeated: a message that was handled and comes again is acknowledged again and not handled again.
func TestForgottenAnswerIsRepeated(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	way := &deaf{Server: f.Server}
	way.is.Store(true)
	b, err := bus.Connect(t.Context(), bus.Config{Name: "test", InProcess: way, Metrics: f.reg}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	s := spec()
	s.AckWait = 500 * time.Millisecond
	const n = 50
	for range n {
		publish(t, f.bus, bus.Msg{Subject: "s.a", Items: 2})
	}
	var handled atomic.Int64
	consume(t, b, s, func(context.Context, *bus.Delivery) error { handled.Add(1); return nil })
	bustest.Eventually(t, "all handled", func() bool { return handled.Load() >= n })
	way.is.Store(false)
	f.drained(t)
	if got := handled.Load(); got != n {
		t.Errorf("%d messages were handled %d times", n, got)
	}
	if got := f.records(t, "consumed", "stream", "S", "outcome", "acked"); got != 2*n {
		t.Errorf("%v records are counted, want %d", got, 2*n)
	}
}

// TestBalance: what is published is consumed, by outcome, and nothing else; what is stored already counts as such.
func TestBalance(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i := range 60 {
		publish(t, f.bus, bus.Msg{Subject: "s.a", ID: strconv.Itoa(i % 50), Items: 3})
	}
	publish(t, f.bus, bus.Msg{Subject: "s.a", Data: []byte("of one record")})
	s := spec()
	s.DeadSubject = func(reason string) string {
		if reason == "none" {
			return ""
		}
		return "dead.tester." + reason
	}
	consume(t, f.bus, s, func(_ context.Context, d *bus.Delivery) error {
		switch {
		case d.Sequence%5 == 0:
			return bus.Permanent("bad", errors.New("bad"))
		case d.Sequence%7 == 0:
			return bus.Permanent("none", errors.New("bad"))
		case d.Sequence%3 == 0 && d.Attempt == 1:
			return errors.New("later")
		}
		return nil
	})
	f.drained(t)
	for _, c := range []struct {
		what   string
		labels []string
		want   float64
	}{
		{"published", []string{"stream", "S"}, 151},
		{"repeated", []string{"stream", "S"}, 30},
		{"published", []string{"stream", "DEAD"}, 30},
		{"consumed", []string{"stream", "S", "outcome", "dead"}, 30},
		{"dead", []string{"stream", "S", "reason", "bad"}, 30},
		{"consumed", []string{"stream", "S", "outcome", "dropped"}, 18},
		{"consumed", []string{"stream", "S", "outcome", "acked"}, 103},
	} {
		if got := f.records(t, c.what, c.labels...); got != c.want {
			t.Errorf("%s%v is %v, want %v", c.what, c.labels, got, c.want)
		}
	}
}

// records adds up busbar_bus_<what>_records_total where the labels have these values.
func (f *fixture) records(t *testing.T, what string, labels ...string) (sum float64) {
	t.Helper()
	families, err := f.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			has := prometheus.Labels{}
			for _, l := range m.GetLabel() {
				has[l.GetName()] = l.GetValue()
			}
			matches := family.GetName() == "busbar_bus_"+what+"_records_total"
			for i := 0; i < len(labels); i += 2 {
				matches = matches && has[labels[i]] == labels[i+1]
			}
			if matches {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
