// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"slices"
	"sync"
	"time"

	fleetv1 "github.com/busbar/busbar/contract/fleet/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
)

// patience is for how many heartbeats an instance counts after its last one, and others are listened to before they are
// taken for silent.
const patience = 3

// fleet knows from heartbeats which destinations the routers and the other exporters of the bus still use. Resources reach
// processes at different times: what this one has no use for any more, another may still write to.
type fleet struct {
	every time.Duration // between two heartbeats
	self  string        // subject of our own, which must be heard for silence to mean anything

	mu    sync.Mutex
	since time.Time        // listened without a gap; zero while nothing was heard
	heard time.Time        // our own heartbeat
	uses  map[string]usage // by subject
	now   func() time.Time // the clock
}

// usage is what an instance last said.
type usage struct {
	at           time.Time
	destinations []string
}

func newFleet(root subject.Root, instance string, every time.Duration) *fleet {
	return &fleet{every: every, self: root.Beat(stage, instance), uses: map[string]usage{}, now: time.Now}
}

// listen takes in heartbeats until ctx ends.
func (f *fleet) listen(ctx context.Context, b *bus.Bus, root subject.Root) error {
	return b.Subscribe(ctx, string(root)+".beat.*.*", func(d *bus.Delivery) {
		beat := new(fleetv1.Heartbeat)
		if beat.UnmarshalVT(d.Raw()) == nil {
			f.hear(d.Subject, beat.GetDestinations())
		}
	})
}

// hear notes what an instance uses.
func (f *fleet) hear(subject string, destinations []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if subject != f.self {
		f.uses[subject] = usage{now, destinations}
		return
	}
	if f.since.IsZero() || now.Sub(f.heard) > patience*f.every { // the bus was away, and others may have spoken
		f.since = now
	}
	f.heard = now
}

// unused tells whether nobody else has used a destination for long enough to be sure.
func (f *fleet) unused(destination string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if f.since.IsZero() || now.Sub(f.since) < patience*f.every || now.Sub(f.heard) > patience*f.every {
		return false
	}
	for subject, u := range f.uses {
		if now.Sub(u.at) > patience*f.every {
			delete(f.uses, subject)
		} else if slices.Contains(u.destinations, destination) {
			return false
		}
	}
	return true
}
