// SPDX-License-Identifier: Apache-2.0

package cumulative

import (
	"testing"

	statev1 "github.com/busbar/busbar/contract/state/v1"
)

// FuzzRestore holds that whatever a part of a checkpoint says, it is refused as a whole, or a state that can be kept again and added to.
func FuzzRestore(f *testing.F) {
	a := New(options())
	a.Own(0, 0)
	apply(f, a, Message{Shard: 0, Sequence: 1, ID: "1", Time: epoch, Data: delta(f, "shop", "a", epoch, 3)})
	for i := range Parts {
		if b, err := a.Pack(0, i); err == nil {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a := New(options())
		var parts [Parts][]byte
		parts[0] = b
		if a.Restore(0, &statev1.Shard{Position: 7}, parts) != nil {
			return
		}
		if _, _, err := a.Apply(Message{Shard: 0, Sequence: 8, ID: "8", Time: epoch, Data: delta(t, "shop", "a", epoch, 3)}); err != nil {
			t.Error(err)
		}
		_ = sums(a)
		for _, i := range a.Dirty(0) {
			kept, err := a.Pack(0, i)
			if err != nil {
				t.Fatal(err)
			}
			var again [Parts][]byte
			again[i] = kept
			if err := New(options()).Restore(0, a.Position(0), again); err != nil {
				t.Errorf("what was restored cannot be restored again: %v", err)
			}
		}
	})
}
