// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
)

// fill publishes numbers on s.<n mod 4>.
func fill(t testing.TB, f *fixture, from, to int) {
	t.Helper()
	var msgs []bus.Msg
	for i := from; i < to; i++ {
		msgs = append(msgs, bus.Msg{Subject: fmt.Sprintf("s.%d", i%4), ID: fmt.Sprint(i), Data: fmt.Append(nil, i)})
	}
	if err := f.bus.Publish(t.Context(), msgs...); err != nil {
		t.Fatal(err)
	}
}

// read takes n messages.
func read(t testing.TB, r *bus.Reader, n int) (all []*bus.Delivery) {
	t.Helper()
	for len(all) < n {
		batch, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, batch...)
	}
	if len(all) > n {
		t.Fatalf("%d messages, want %d", len(all), n)
	}
	return all
}

func inOrder(t testing.TB, all []*bus.Delivery, after uint64) {
	t.Helper()
	for _, d := range all {
		if d.Sequence <= after {
			t.Fatalf("message %d after %d", d.Sequence, after)
		}
		after = d.Sequence
	}
}

func TestReaderReadsInOrderFromAPlace(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	fill(t, f, 0, 1000)
	r := f.bus.Read(bus.ReaderSpec{Stream: "S", Filters: []string{"s.1", "s.3"}, After: 500, MaxMessages: 7})
	defer r.Close()
	all := read(t, r, 250)
	inOrder(t, all, 500)
	if r.Pending() != 0 {
		t.Errorf("%d pending", r.Pending())
	}
	fill(t, f, 1000, 1008)
	inOrder(t, read(t, r, 4), 1000)
}

func TestReaderGoesOnAcrossRestarts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.bus.Read(bus.ReaderSpec{Stream: "S", MaxMessages: 10})
	defer r.Close()
	var all []*bus.Delivery
	for round := range 3 {
		fill(t, f, round*100, round*100+100)
		all = append(all, read(t, r, 50)...)
		f.Restart()
		all = append(all, read(t, r, 50)...)
	}
	inOrder(t, all, 0)
}

func TestReaderTellsOfAnotherStream(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	fill(t, f, 0, 20)
	r := f.bus.Read(bus.ReaderSpec{Stream: "S"})
	read(t, r, 20)
	created := r.Created()
	r.Close()
	f.DeleteStream(t, "S")
	again := f.bus.Read(bus.ReaderSpec{Stream: "S", After: 20, Created: created})
	defer again.Close()
	if _, err := again.Next(t.Context()); !errors.Is(err, bus.ErrAnew) {
		t.Errorf("error %v", err)
	}
	fresh := f.bus.Read(bus.ReaderSpec{Stream: "S"})
	defer fresh.Close()
	bustest.Eventually(t, "the stream is back", func() bool {
		return f.bus.Publish(t.Context(), bus.Msg{Subject: "s.0", Data: []byte("x")}) == nil
	})
	read(t, fresh, 1)
}

func TestReaderEndsWithItsContext(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.bus.Read(bus.ReaderSpec{Stream: "S"})
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if batch, err := r.Next(ctx); err == nil {
		t.Errorf("%d messages and no error", len(batch))
	}
}
