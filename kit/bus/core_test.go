// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
)

func TestBeatIsHeardBySubscribers(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	b, other := s.Connect(t, "test"), s.Connect(t, "other")
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan string, 100)
	ended := make(chan error, 2)
	go func() {
		ended <- other.Subscribe(ctx, "beat.>", func(d *bus.Delivery) {
			select {
			case heard <- d.Subject + " " + string(d.Raw()):
			default:
			}
		})
	}()
	go func() {
		ended <- b.Beat(ctx, "beat.a", time.Millisecond, func() []byte { return []byte("alive") })
	}()
	for range 3 {
		if got := <-heard; got != "beat.a alive" {
			t.Errorf("heard %q", got)
		}
	}
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestSubscribeSeesWhatPasses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	answers := f.answers(t) // is a subscription itself
	consume(t, f.bus, spec(), func(context.Context, *bus.Delivery) error { return nil })
	publish(t, f.bus, bus.Msg{Subject: "s.a"})
	bustest.Eventually(t, "acknowledgement seen", func() bool { return answers.count("+ACK") == 1 })
}

func TestReplay(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, subject := range []string{"s.a", "s.b", "s.a", "s.c"} {
		publish(t, f.bus, bus.Msg{Subject: subject})
	}
	for _, tt := range []struct {
		filter string
		want   []uint64
	}{
		{"", []uint64{1, 2, 3, 4}}, {"s.a", []uint64{1, 3}}, {"s.*", []uint64{1, 2, 3, 4}}, {"s.none", nil},
	} {
		var got []uint64
		for _, d := range bustest.ReadAll(t, f.bus, "S", tt.filter) {
			got = append(got, d.Sequence)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("filter %q: %s", tt.filter, diff)
		}
	}
	stop := errors.New("enough")
	if err := f.bus.Replay(t.Context(), "S", "", func(*bus.Delivery) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	if err := f.bus.Replay(t.Context(), "NONE", "", nil); err == nil {
		t.Error("replayed a stream that is not there")
	}
}

func TestPosition(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	hold := make(chan struct{})
	s := spec()
	s.Prefetch, s.Workers = 2, 2
	stop := consume(t, f.bus, s, func(context.Context, *bus.Delivery) error { <-hold; return nil })
	for range 5 {
		publish(t, f.bus, bus.Msg{Subject: "s.a"})
	}
	want := bus.Position{First: 1, Last: 5, Delivered: 2, Pending: 3, Unacked: 2}
	bustest.Eventually(t, "two of five in hand", func() bool {
		at, err := f.bus.Position(t.Context(), "S", "d")
		return err == nil && at == want
	})
	close(hold)
	f.drained(t)
	stop()
	for _, durable := range []string{"none", ""} {
		if _, err := f.bus.Position(t.Context(), "S", durable); err == nil {
			t.Errorf("consumer %q has a position", durable)
		}
	}
}
