// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"testing"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
)

// TestFlat checks that growth of each kind is found, and that a start and a peak are none.
func TestFlat(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		at   func(i int) sample
		fine bool
	}{
		"flat":            {func(int) sample { return sample{40 << 10, 27 << 10, 100} }, true},
		"grows at first":  {func(i int) sample { return sample{min(i, 10) << 10, 27 << 10, 100} }, true},
		"a peak":          {func(i int) sample { return sample{40<<10 + i/59<<20, 27 << 10, 100} }, true},
		"memory grows":    {func(i int) sample { return sample{40<<10 + i*256, 27 << 10, 100} }, false},
		"maps grow":       {func(i int) sample { return sample{40 << 10, 27<<10 + i*64, 100} }, false},
		"files grow":      {func(i int) sample { return sample{40 << 10, 27 << 10, 100 + i/4} }, false},
		"nothing sampled": {nil, false},
	} {
		var samples []sample
		for i := 0; i < 60 && c.at != nil; i++ {
			samples = append(samples, c.at(i))
		}
		if err := flat(samples); (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBalance checks that each half counts.
func TestBalance(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		servers, clients int
		dropped, hidden  uint64
		batches          map[uint64]int
		faults           int
		fine             bool
	}{
		"all published":     {servers: 10, clients: 10, fine: true},
		"one counted":       {servers: 10, clients: 9, dropped: 1, fine: true},
		"one hidden":        {servers: 10, clients: 9, hidden: 2, fine: true},
		"nothing hidden":    {servers: 10, clients: 10, hidden: 2, fine: true},
		"too many missing":  {servers: 9, clients: 8, hidden: 2},
		"one missing":       {servers: 10, clients: 9},
		"one too many":      {servers: 11, clients: 10},
		"a batch twice":     {servers: 10, clients: 10, batches: map[uint64]int{1: 2}},
		"a message garbled": {servers: 10, clients: 10, faults: 1},
	} {
		tap := &tap{
			halves:  map[eventv1.Role]int{eventv1.Role_ROLE_SERVER: c.servers, eventv1.Role_ROLE_CLIENT: c.clients},
			dropped: map[string]uint64{"ring_full": c.dropped, hidden: c.hidden}, batches: c.batches, faults: c.faults,
		}
		if err := tap.balance(io.Discard, 10); (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
}
