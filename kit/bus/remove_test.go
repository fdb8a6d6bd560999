// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
)

// A sealed stream takes nothing and still hands out what it has; removed, it is not made anew by whoever removed it.
func TestSealAndRemove(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	provision(t, f.bus, bus.StreamSpec{Name: "OUT", Subjects: []string{"out.>"}, Metadata: map[string]string{"busbar.a": "b"}})
	publish(t, f.bus, bus.Msg{Subject: "out.a", Data: []byte("kept")})
	for range 2 {
		if err := f.bus.Seal(t.Context(), "OUT"); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.bus.Publish(t.Context(), bus.Msg{Subject: "out.a"}); err == nil {
		t.Error("a sealed stream took a message")
	}
	if n := len(bustest.ReadAll(t, f.bus, "OUT", "")); n != 1 {
		t.Errorf("%d messages", n)
	}
	all, err := f.bus.Streams(t.Context(), "out.>")
	if err != nil || len(all) != 1 || all[0].Name != "OUT" || all[0].Messages != 1 || all[0].Metadata["busbar.a"] != "b" {
		t.Errorf("%+v, %v", all, err)
	}
	for range 2 {
		if err := f.bus.Remove(t.Context(), "OUT"); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.bus.Publish(t.Context(), bus.Msg{Subject: "out.a"}); !errors.Is(err, bus.ErrNoStream) {
		t.Error(err)
	}
	all, err = f.bus.Streams(t.Context(), "out.>")
	if diff := cmp.Diff([]bus.StreamState(nil), all); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if err := f.bus.Seal(t.Context(), "OUT"); !errors.Is(err, bus.ErrNotFound) {
		t.Error(err)
	}
}

// A message that was replaced meanwhile stays.
func TestPurge(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	state(t, f)
	first, err := f.bus.Put(t.Context(), bus.Msg{Subject: "state.a"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	second, err := f.bus.Put(t.Context(), bus.Msg{Subject: "state.a"}, first)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, f.bus, bus.Msg{Subject: "state.b"})
	for _, step := range []struct {
		last uint64
		left bool
	}{{first, true}, {second, false}} {
		if err := f.bus.Purge(t.Context(), "STATE", "state.a", step.last); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := f.bus.Last(t.Context(), "STATE", "state.a"); err != nil || ok != step.left {
			t.Errorf("up to %d: left %v, %v", step.last, ok, err)
		}
	}
	if _, ok, err := f.bus.Last(t.Context(), "STATE", "state.b"); err != nil || !ok {
		t.Errorf("another subject: left %v, %v", ok, err)
	}
}
