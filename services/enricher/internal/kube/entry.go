// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"time"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
)

// Key names a thing.
type Key struct {
	Kind Kind
	UID  string
}

// Entry is a thing as the bus has it.
type Entry struct {
	Message  Message
	Sequence uint64    // of its message
	Expires  time.Time // when the directory forgets it; zero while it lives
}

// Entry returns what the bus has about a thing; ok is false when it has nothing.
func (d *Directory) Entry(key Key) (e Entry, ok bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	t := d.things[key.Kind][key.UID]
	if t == nil {
		return Entry{}, false
	}
	return t.entry(), true
}

// Entries returns all that the bus has.
func (d *Directory) Entries() map[Key]Entry {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := map[Key]Entry{}
	for kind, things := range d.things {
		for uid, t := range things {
			all[Key{kind, uid}] = t.entry()
		}
	}
	return all
}

func (t *thing) entry() Entry { return Entry{t.message, t.sequence, t.expires} }

// Learn takes in a message that this process has stored on the bus, before it comes back from there.
func (d *Directory) Learn(kind Kind, m Message, sequence uint64) {
	d.mu.RLock()
	generation := d.generation
	d.mu.RUnlock()
	d.put(kind, m, sequence, generation, time.Now())
}

// Beat is how often the watcher says that it lives.
const Beat = 3 * time.Second

// Lease is who watches, as was last heard.
type Lease struct {
	*kubev1.Watcher           // nil when nobody ever did
	Sequence        uint64    // of the message
	Heard           time.Time // by the clock of this process
}

// Lease returns who watches.
func (d *Directory) Lease() Lease {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.lease
}

// watched tells whether somebody watches who has told all that there is.
func (d *Directory) watched(now time.Time) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.lease.GetInstance() != "" && d.lease.GetComplete() && now.Sub(d.lease.Heard) < quiet
}

// hear takes in what a watcher says of itself.
func (d *Directory) hear(w *kubev1.Watcher, sequence uint64, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	news := w.GetComplete() != d.lease.GetComplete() || w.GetCluster() != d.lease.GetCluster()
	d.lease = Lease{w, sequence, now}
	if news {
		d.touch()
	}
}

// Removed takes note that a thing is on the bus no more. It stays known until it expires.
func (d *Directory) Removed(key Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.things[key.Kind][key.UID]; t != nil {
		t.sequence = 0
	}
}

// Reading goes up with every reading of all that is on the bus, when it ends.
func (d *Directory) Reading() uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.readings
}
