// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"strings"
	"sync"
	"time"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
)

const (
	// Patience is how long a batch waits for a container that nobody knows: a pod runs before the API tells who it is. It begins anew while
	// nobody watches the API, up to MaxPatience in all.
	Patience = 5 * time.Second
	// MaxPatience is how long a batch waits at most.
	MaxPatience = 30 * time.Second
	// quiet is how long a watcher may say nothing before it is taken to be gone: half again what it takes its time for.
	quiet = Beat * 3 / 2
	// Step is how long it waits between two looks.
	Step = 250 * time.Millisecond
	// maxUnknown is how many containers that nobody knows are remembered, so that each is waited for once. What comes to a full table is not waited for.
	maxUnknown = 10_000
	// maxWaiting is how many batches of one enricher wait on the bus at a time, a quarter of what may be on its way. Others go on without names.
	maxWaiting = 256
	// forgetUnknown is when a container that nobody spoke of any more is forgotten.
	forgetUnknown = 10 * time.Minute
)

// Waiting knows which batches wait for pods that are not known yet. It is safe for concurrent use.
type Waiting struct {
	directory *Directory

	mu      sync.Mutex
	unknown map[string]*unknown  // by container id, or by cgroup
	batches map[uint64]time.Time // by place in the stream, until when they wait at most
	tidied  time.Time
	blind   time.Time // when nobody watched last
	counts  WaitingCounts
}

// unknown is a container that nobody knows.
type unknown struct {
	first, last time.Time // when it was asked for
	given       bool      // nobody waits for it any more
}

// WaitingCounts are what became of batches and containers since the start.
type WaitingCounts struct {
	Batches uint64 // that waited
	GivenUp uint64 // containers that stayed unknown
	Full    uint64 // batches that should have waited, and did not as too many did
	Now     int    // batches that wait
}

// NewWaiting returns a Waiting for things of a directory.
func NewWaiting(d *Directory) *Waiting {
	return &Waiting{directory: d, unknown: map[string]*unknown{}, batches: map[uint64]time.Time{}}
}

// Wait tells whether the batch at a place in the stream, about some processes, should wait for a Step, because it has a container of a kubelet that the directory does
// not know yet.
func (w *Waiting) Wait(processes []*eventv1.Process, sequence uint64, now time.Time) bool {
	var missing []string
	for _, p := range processes {
		if !Managed(p.GetCgroup()) {
			continue
		}
		if _, container := w.directory.Process(p.GetContainerId(), p.GetCgroup()); container == nil {
			missing = append(missing, name(p))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tidy(now)
	if !w.directory.watched(now) {
		w.blind = now
	}
	worth, full := w.worth(missing, now)
	_, waited := w.batches[sequence]
	switch {
	case worth && waited:
	case worth && len(w.batches) < maxWaiting:
		w.counts.Batches++
	default:
		if worth || full {
			w.counts.Full++
		}
		delete(w.batches, sequence)
		return false
	}
	w.batches[sequence] = now.Add(Patience)
	return true
}

// name is what an unknown container goes by.
func name(p *eventv1.Process) string {
	if id := p.GetContainerId(); id != "" {
		return id
	}
	return p.GetCgroup()
}

// worth tells whether one of some unknown containers may still become known; full that one of them cannot be remembered.
func (w *Waiting) worth(missing []string, now time.Time) (worth, full bool) {
	for _, id := range missing {
		u := w.unknown[id]
		if u == nil {
			if len(w.unknown) >= maxUnknown {
				full = true
				continue
			}
			u = &unknown{first: now}
			w.unknown[strings.Clone(id)] = u // it is a piece of a message
		}
		u.last = now
		switch {
		case u.given:
		case now.Sub(u.first) < Patience, now.Sub(w.blind) < Patience && now.Sub(u.first) < MaxPatience:
			worth = true
		default:
			u.given = true
			w.counts.GivenUp++
		}
	}
	return worth, full
}

// tidy forgets, now and then, what nobody speaks of any more. A batch that waited may have gone to another enricher.
func (w *Waiting) tidy(now time.Time) {
	if now.Sub(w.tidied) < Patience {
		return
	}
	w.tidied = now
	for sequence, until := range w.batches {
		if now.After(until) {
			delete(w.batches, sequence)
		}
	}
	for id, u := range w.unknown {
		if now.Sub(u.last) > forgetUnknown {
			delete(w.unknown, id)
		}
	}
}

// Counts returns what became of batches and containers.
func (w *Waiting) Counts() WaitingCounts {
	w.mu.Lock()
	defer w.mu.Unlock()
	counts := w.counts
	counts.Now = len(w.batches)
	return counts
}
