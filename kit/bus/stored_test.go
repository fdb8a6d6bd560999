// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"errors"
	"testing"

	"github.com/busbar/busbar/kit/bus"
)

func TestStoredMessages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	publish(t, f.bus, bus.Msg{Subject: "s.a", Data: []byte("one")}, bus.Msg{Subject: "s.b", Data: []byte("two")})
	d, err := f.bus.Stored(t.Context(), "S", 2)
	if err != nil || d.Subject != "s.b" || d.Sequence != 2 || string(d.Raw()) != "two" {
		t.Fatalf("%+v, %v", d, err)
	}
	for range 2 { // the second time there is nothing to do
		if err := f.bus.Delete(t.Context(), "S", 2); err != nil {
			t.Error(err)
		}
	}
	for stream, sequence := range map[string]uint64{"S": 2, "NONE": 1} {
		if _, err := f.bus.Stored(t.Context(), stream, sequence); !errors.Is(err, bus.ErrNotFound) {
			t.Errorf("message %d of %s: %v", sequence, stream, err)
		}
	}
	if err := f.bus.Replay(t.Context(), "NONE", "", nil); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("replay: %v", err)
	}
}
