// SPDX-License-Identifier: Apache-2.0

package bus

import "testing"

func TestSettledForgetsTheOldest(t *testing.T) {
	t.Parallel()
	var s settled
	const n = 3*maxSettled + 7
	at := func(i int64) place { return place{sequence: uint64(i), stored: 1_700_000_000_000_000_000 + i} } //nolint:gosec // not negative
	for i := range int64(n) {
		if s.has(at(i)) {
			t.Fatalf("place %d is there before it is added", i)
		}
		s.add(at(i))
	}
	for i := range int64(n) {
		if has := s.has(at(i)); has != (i >= n-maxSettled) {
			t.Fatalf("place %d of %d: %v", i, n, has)
		}
	}
	anew := at(n - 1)
	anew.stored++
	if s.has(anew) {
		t.Error("a message of a stream that was made anew counts as settled")
	}
}
