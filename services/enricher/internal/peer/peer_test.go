// SPDX-License-Identifier: Apache-2.0

package peer_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

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

// set is what replicas agree by, which may be away.
type set struct {
	members map[string]map[string]bool
	away    bool
	asked   int
}

var errAway = errors.New("away")

func (s *set) Add(key, member string, limit int) (bool, error) {
	if s.asked++; s.away {
		return false, errAway
	}
	if s.members[key] == nil {
		s.members[key] = map[string]bool{}
	}
	if !s.members[key][member] && len(s.members[key]) >= limit {
		return false, nil
	}
	s.members[key][member] = true
	return true, nil
}

func (s *set) Members(key string) ([]string, error) {
	if s.asked++; s.away {
		return nil, errAway
	}
	return slices.Collect(maps.Keys(s.members[key])), nil
}

func (s *set) lose() { s.members = map[string]map[string]bool{} }

// named returns which of many addresses a replica names.
func named(p *peer.Peers) (out []int) {
	for i := range 4 * peer.MaxAddresses {
		if p.Admit("crawler", fmt.Sprintf("host-%d", i), 80) {
			out = append(out, i)
		}
	}
	return out
}

func TestReplicasNameTheSame(t *testing.T) {
	t.Parallel()
	s := &set{}
	s.lose()
	a, b := peer.New(s), peer.New(s)
	for i := range 150 {
		a.Admit("crawler", fmt.Sprintf("host-%d", 2*i), 80)
		b.Admit("crawler", fmt.Sprintf("host-%d", 2*i+1), 80)
	}
	first := named(b)
	if d := cmp.Diff(first, named(a)); d != "" || len(first) != peer.MaxAddresses {
		t.Errorf("%d addresses; replicas differ: %s", len(first), d)
	}
	if asked := s.asked; len(named(a)) != peer.MaxAddresses || s.asked != asked {
		t.Errorf("a full set was asked %d times", s.asked-asked)
	}

	s.lose()
	if err := errors.Join(b.Renew(true), a.Renew(true)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(first, named(peer.New(s))); d != "" {
		t.Errorf("after the loss of the set: %s", d)
	}
}

func TestReplicasAgreeAfterTheSetWasAway(t *testing.T) {
	t.Parallel()
	s := &set{away: true}
	s.lose()
	a, b := peer.New(s), peer.New(s)
	for i := range 2 * peer.MaxAddresses {
		a.Admit("crawler", fmt.Sprintf("host-%d", 2*i), 80)
		b.Admit("crawler", fmt.Sprintf("host-%d", 2*i+1), 80)
	}
	if len(named(a)) != peer.MaxAddresses || len(named(b)) != peer.MaxAddresses {
		t.Error("a replica alone does not name as many as it may")
	}
	if a.Renew(false) == nil {
		t.Error("agreed with nobody")
	}
	s.away = false
	if err := errors.Join(a.Renew(false), b.Renew(false)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(named(a), named(b)); d != "" || len(named(a)) != peer.MaxAddresses {
		t.Errorf("replicas differ: %s", d)
	}
}
