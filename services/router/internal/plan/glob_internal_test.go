// SPDX-License-Identifier: Apache-2.0

package plan

import "testing"

func TestGlob(t *testing.T) {
	t.Parallel()
	tests := []struct {
		glob, token string
		want        bool
	}{
		{"shop", "shop", true},
		{"shop", "shop2", false},
		{"shop*", "shop", true},
		{"*shop", "eu-shop", true},
		{"*shop", "shop-eu", false},
		{"s*p*i", "shop-api", true},
		{"s*p*x", "shop-api", false},
		{"sh?p", "shop", true},
		{"sh?p", "shp", false},
		{"shop.eu", "shop_eu", true},
		{"*", "_", true},
		{"", "_", true},
		{"", "a", false},
		{"a*b*c*d*", "abcabcabcabcd", true},
		{"größe", "gr____e", true},
	}
	for _, test := range tests {
		g, err := newGlob(test.glob)
		if err != nil || (globs{g}).match(test.token) != test.want {
			t.Errorf("%q matches %q: %t, want %t (%v)", test.glob, test.token, !test.want, test.want, err)
		}
	}
	for _, bad := range []string{"[a-z]", "{a,b}", `a\*`} {
		if _, err := newGlob(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
