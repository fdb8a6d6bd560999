// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
)

func state(t testing.TB, f *fixture) {
	t.Helper()
	provision(t, f.bus, bus.StreamSpec{Name: "STATE", Subjects: []string{"state.>"}, PerSubject: 1, DiscardNew: true})
}

func TestPutHasOneWriterAtATime(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	state(t, f)
	put := func(data string, last uint64) (uint64, error) {
		return f.bus.Put(t.Context(), bus.Msg{Subject: "state.a", Data: []byte(data)}, last)
	}
	if _, ok, err := f.bus.Last(t.Context(), "STATE", "state.a"); ok || err != nil {
		t.Fatalf("before the first: %v, %v", ok, err)
	}
	first, err := put("1", 0)
	if err != nil {
		t.Fatal(err)
	}
	second, err := put(strings.Repeat("2", 1000), first)
	if err != nil || second <= first {
		t.Fatal(second, err)
	}
	for _, last := range []uint64{0, first, second + 1} {
		if _, err := put("late", last); !errors.Is(err, bus.ErrConflict) {
			t.Errorf("after %d: error %v, want a conflict", last, err)
		}
	}
	d, ok, err := f.bus.Last(t.Context(), "STATE", "state.a")
	if err != nil || !ok || d.Sequence != second {
		t.Fatal(d, ok, err)
	}
	if data, err := d.Data(); err != nil || len(data) != 1000 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if all := bustest.ReadAll(t, f.bus, "STATE", ""); len(all) != 1 {
		t.Errorf("%d messages are kept, want the newest", len(all))
	}
	if _, err := f.bus.Put(t.Context(), bus.Msg{Subject: "nowhere", Data: []byte("x")}, 0); !errors.Is(err, bus.ErrNoStream) {
		t.Errorf("error %v, want no stream", err)
	}
}

// Whatever becomes of the connection, one of several writers gets through each time, and knows it.
func TestPutIsDecidedOnceAcrossRestarts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	state(t, f)
	const rounds, writers = 20, 3
	last := uint64(0)
	for round := range rounds {
		type outcome struct {
			sequence uint64
			err      error
		}
		outcomes := make(chan outcome, writers)
		seen := last // last changes with the first outcome, before the last writer may have begun
		for w := range writers {
			go func() {
				sequence, err := f.bus.Put(t.Context(), bus.Msg{Subject: "state.a", Data: fmt.Appendf(nil, "%d by %d", round, w)}, seen)
				outcomes <- outcome{sequence, err}
			}()
		}
		if round%5 == 0 {
			f.Restart()
		}
		won := 0
		for range writers {
			switch o := <-outcomes; {
			case o.err == nil:
				won++
				last = o.sequence
			case !errors.Is(o.err, bus.ErrConflict):
				t.Fatal(o.err)
			}
		}
		if won != 1 {
			t.Fatalf("%d of %d got through", won, writers)
		}
	}
}
