// SPDX-License-Identifier: Apache-2.0

package run

import "testing"

func TestPercent(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, c := range []struct {
		live, headroom uint64
		want           int
	}{
		{0, 64 * mib, 6400},
		{8 * mib, 64 * mib, 800},
		{64 * mib, 64 * mib, 100},
		{1024 * mib, 64 * mib, 100},
	} {
		if got := percent(c.live, c.headroom); got != c.want {
			t.Errorf("%d live bytes: %d %%, want %d %%", c.live, got, c.want)
		}
	}
}
