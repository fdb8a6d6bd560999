// SPDX-License-Identifier: Apache-2.0

package peer_test

import (
	"fmt"
	"testing"

	"github.com/busbar/busbar/services/enricher/internal/peer"
)

func TestAdmit(t *testing.T) {
	t.Parallel()
	p := peer.New(nil)
	for round := range 2 {
		for i := range 2 * peer.MaxAddresses {
			if got, want := p.Admit("crawler", fmt.Sprintf("host-%d", i), 80), i < peer.MaxAddresses; got != want {
				t.Fatalf("round %d: address %d: %v", round, i, got)
			}
		}
	}
	if p.Admit("crawler", "host-0", 81) || !p.Admit("shop", "host-900", 80) {
		t.Error("another port passes, or another service does not")
	}
}

// refusing is a set that other replicas have filled.
type refusing struct{ asked int }

func (r *refusing) AddBounded(string, string, int) bool { r.asked++; return false }

func TestAFullSetIsAskedOnce(t *testing.T) {
	t.Parallel()
	set := &refusing{}
	p := peer.New(set)
	for i := range 10 {
		if p.Admit("crawler", fmt.Sprint(i), 80) {
			t.Error("an address passes")
		}
	}
	if set.asked != 1 {
		t.Errorf("asked %d times", set.asked)
	}
}
