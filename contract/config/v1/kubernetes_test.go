// SPDX-License-Identifier: Apache-2.0

package configv1_test

import (
	"path"
	"strings"
	"testing"

	configv1 "github.com/busbar/busbar/contract/config/v1"
)

// TestKeyIsPermanent: probes and enrichers of different versions must give a selector the same name.
func TestKeyIsPermanent(t *testing.T) {
	t.Parallel()
	s := &configv1.KubernetesSelector{
		Namespace: "shop", Deployment: "cart-*", Labels: map[string]string{"tier": "web", "app": "cart"}, Annotations: map[string]string{"a/b": "*"},
	}
	const want = "f01f3460d135aa7c"
	for range 20 { // maps have no order
		if got := s.Key(); got != want {
			t.Fatalf("key %s, want %s", got, want)
		}
	}
	if other := (&configv1.KubernetesSelector{Pod: "shop"}).Key(); other == (&configv1.KubernetesSelector{Namespace: "shop"}).Key() {
		t.Error("two selectors share a key")
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		glob, text string
		want       bool
	}{
		{"", "anything", true},
		{"shop", "shop", true},
		{"shop", "shop2", false},
		{"shop*", "shop", true},
		{"*-db", "cart-db", true},
		{"*-db", "cart-db-0", false},
		{"a*b*c", "a--b--c", true},
		{"a*b*c", "abcb", false},
		{"c?rt", "cart", true},
		{"c?rt", "crt", false},
		{"?", "ö", true},
		{"*", "", true},
		{"?", "", false},
		{"*/x", "a/b/x", true},
	} {
		if got := configv1.Matches(tc.glob, tc.text); got != tc.want {
			t.Errorf("Matches(%q, %q) = %t", tc.glob, tc.text, got)
		}
	}
}

// FuzzMatches holds the globs that path.Match understands as well against it.
func FuzzMatches(f *testing.F) {
	f.Add("a*b?", "axxbc")
	f.Add("**", "")
	f.Fuzz(func(t *testing.T, glob, text string) {
		if glob == "" || strings.ContainsAny(glob+text, `[]\/`) {
			t.Skip()
		}
		want, err := path.Match(glob, text)
		if got := configv1.Matches(glob, text); err == nil && got != want {
			t.Errorf("Matches(%q, %q) = %t", glob, text, got)
		}
	})
}
