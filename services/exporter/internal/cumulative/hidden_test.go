// SPDX-License-Identifier: Apache-2.0

package cumulative

import "testing"

func TestHiddenShardsAreNotShown(t *testing.T) {
	t.Parallel()
	a := New(options())
	for shard, service := range []string{"shop", "stock"} {
		a.Own(shard, 0)
		apply(t, a, Message{Shard: shard, Sequence: 1, Time: epoch, Data: delta(t, service, "a", epoch, 5)})
	}
	a.Hide(0)
	if got := sums(a); len(got) != 2 || got["stock a"] != 5 {
		t.Errorf("%v are shown, want those of stock", got)
	}
	apply(t, a, Message{Shard: 0, Sequence: 2, Time: epoch, Data: delta(t, "shop", "a", epoch, 2)})
	a.Reveal()
	if got := sums(a); len(got) != 4 || got["shop a"] != 7 {
		t.Errorf("%v are shown, want all", got)
	}
}
