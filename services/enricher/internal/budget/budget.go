// SPDX-License-Identifier: Apache-2.0

// Package budget bounds the series of a service. Whatever else fails to keep the number of attributes small, what is beyond
// the budget is counted under one series.
//
// What was counted lately keeps its place: a budget is of those sets of attributes that came in this window or the one before, so
// a flood of new ones, however long, takes no place from those that were there before it and still come. Sets of requests that failed
// may take half of the places: whoever asks a service for what it does not have cannot take those that it answers with
// success.
//
// Each replica has a budget of its own. Since what leaves an enricher are deltas, it does not matter to sums who counted what under
// which series; replicas that see the same traffic admit nearly the same, and at worst there are as many times the budget as replicas.
package budget

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"
)

const (
	window      = 5 * time.Minute // also how long the page keeps a series that does not change
	maxServices = 4096            // remembered at a time; with more, all are forgotten and begin anew. Some 64 KiB each at worst
)

// Budget remembers the series of every service. It is safe for concurrent use.
type Budget struct {
	Seed maphash.Seed // for the hashes of series, which all who share the budget must make alike

	now func() time.Time

	mu       sync.Mutex
	services map[string]*Account
}

// Account is the series of a service by their hashes: those of this window, and those of the one before that have not come again. It
// is safe for concurrent use.
type Account struct {
	now func() time.Time

	mu             sync.Mutex
	began          time.Time
	current, older map[uint64]bool // the value tells whether a request succeeded
	unproven       int             // of both
}

// New returns a Budget. Now tells the time; nil is the clock.
func New(now func() time.Time) *Budget {
	if now == nil {
		now = time.Now
	}
	return &Budget{Seed: maphash.MakeSeed(), now: now, services: map[string]*Account{}}
}

// Of returns the account of a service.
func (b *Budget) Of(service string) *Account {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.services[service]
	if a == nil {
		if len(b.services) == maxServices {
			clear(b.services)
		}
		a = &Account{now: b.now, began: b.now(), current: map[uint64]bool{}}
		b.services[strings.Clone(service)] = a
	}
	return a
}

// Admit tells whether the service may count under a series, of which it may have limit at a time. Proven says that a request of it was
// answered with success.
func (a *Account) Admit(series uint64, proven bool, limit int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if known, ok := a.current[series]; ok && (known || !proven) {
		return true
	}
	a.turn(a.now())
	return a.admit(series, proven, limit)
}

// turn begins a new window when it is time.
func (a *Account) turn(now time.Time) {
	if now.Sub(a.began) < window {
		return
	}
	a.older = a.current
	a.began, a.current, a.unproven = now, make(map[uint64]bool, len(a.older)), 0
	for _, proven := range a.older {
		if !proven {
			a.unproven++
		}
	}
}

// admit takes in a series that is not of this window, or was not proven.
func (a *Account) admit(series uint64, proven bool, limit int) bool {
	known, ok := a.current[series]
	if !ok {
		known, ok = a.older[series]
	}
	switch {
	case ok:
	case len(a.current)+len(a.older) >= limit, !proven && a.unproven >= (limit+1)/2:
		return false
	case !proven:
		a.unproven++
	}
	if ok && proven && !known {
		a.unproven--
	}
	delete(a.older, series)
	a.current[series] = known || proven
	return true
}
