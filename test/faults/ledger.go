// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"sync"
	"time"
)

// ledger says of each record whether the bus acknowledged it. Records are numbered from 0 on.
type ledger struct {
	mu    sync.Mutex
	acked []bool
	count int
}

// ack notes the records of a message, from the one numbered first on.
func (l *ledger) ack(first int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.acked) < first+batch {
		l.acked = append(l.acked, false)
	}
	for i := first; i < first+batch; i++ {
		if !l.acked[i] {
			l.count++
		}
		l.acked[i] = true
	}
}

func (l *ledger) acknowledged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// tally says how often each record came to a destination, and how long after it was published.
type tally struct {
	mu       sync.Mutex
	times    []uint8
	distinct int
	repeated int // records that had come before
	delays   []delay
}

// delay is how long a record took that was published at a time.
type delay struct {
	at   time.Time
	took time.Duration
}

// came notes a record that was published at a time.
func (t *tally) came(record int, published time.Time) {
	took := time.Since(published)
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.times) <= record {
		t.times = append(t.times, 0)
	}
	if t.times[record] > 0 {
		t.repeated++
	} else {
		t.distinct++
		t.delays = append(t.delays, delay{published, took})
	}
	t.times[record] = min(t.times[record]+1, 255)
}

// has tells whether a record came.
func (t *tally) has(record int) bool {
	return record < len(t.times) && t.times[record] > 0
}

func (t *tally) counts() (distinct, repeated int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.distinct, t.repeated
}

// lost returns how many acknowledged records came to none of the places.
func (l *ledger) lost(places ...*tally) (lost int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range places {
		p.mu.Lock()
		defer p.mu.Unlock()
	}
	for record, acked := range l.acked {
		if acked && !slices.ContainsFunc(places, func(p *tally) bool { return p.has(record) }) {
			lost++
		}
	}
	return lost
}

// p99 returns what 99 of 100 records took at most that were published in a span of time, 0 if there were none.
func (t *tally) p99(from, until time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	var took []time.Duration
	for _, d := range t.delays {
		if !d.at.Before(from) && d.at.Before(until) {
			took = append(took, d.took)
		}
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[(len(took)*99-1)/100]
}
