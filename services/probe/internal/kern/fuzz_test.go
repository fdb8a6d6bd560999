// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"encoding/hex"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// watcher is a tier that observes the test. It is read when the test wants, so that no conversation waits for a reader's turn.
type watcher struct {
	recorder
	kern *Kern
	ring ringReader
}

// watchers loads every tier that this kernel has, side by side.
func watchers(f *testing.F) (all []*watcher) {
	f.Helper()
	for _, tier := range tiers() {
		if tier.impossible() != nil {
			continue
		}
		w := &watcher{kern: load(f, Options{Tier: tier.name, DefaultIgnore: true})}
		f.Cleanup(func() {
			if err := w.kern.Close(); err != nil {
				f.Error(err)
			}
		})
		if err := w.kern.Decide(uint32(os.Getpid()), Verdict{Observe: true}); err != nil {
			f.Fatal(err)
		}
		w.ring = w.kern.newRingReader(w)
		all = append(all, w)
	}
	return all
}

// read returns the n exchanges of a role on a connection, and forgets them.
func (w *watcher) read(t *testing.T, role Role, c net.Conn, n int) (found []seen) {
	t.Helper()
	for patience := 400; len(found) < n && w.ring.err == nil && patience > 0; patience-- {
		w.ring.drain(0)
		found = w.on(role, of(c))
		if len(found) < n {
			<-time.After(time.Millisecond) // the end of a connection may be dealt with later
		}
	}
	if w.ring.err != nil {
		t.Fatal(w.ring.err)
	}
	w.exchanges = slices.DeleteFunc(w.exchanges, func(e seen) bool { return e.Role == role && of(c).match(&e.Exchange) })
	return found
}

// forget lets a failure have no consequences.
func (w *watcher) forget() {
	w.ring.drain(0)
	w.exchanges = nil
}

// lost returns what was counted as lost.
func (w *watcher) lost() map[string]uint64 {
	drops := w.kern.Drops()
	for reason, n := range drops {
		if n == 0 {
			delete(drops, reason)
		}
	}
	return drops
}

// FuzzConversations has conversations of every kind that HTTP/1.x allows, cut anywhere, and compares what is told of them, byte by byte.
func FuzzConversations(f *testing.F) {
	for seed := range uint64(60) {
		f.Add(seed)
	}
	tiers := watchers(f)
	f.Fuzz(func(t *testing.T, seed uint64) {
		v, all := script{rand.New(rand.NewPCG(seed, 0))}.conversation() //nolint:gosec // No secret.
		client, server := pipe(t, "tcp", "127.0.0.1:0")
		before := make([]map[string]uint64, len(tiers))
		for i, w := range tiers {
			before[i] = w.lost()
			defer w.forget()
		}
		v.hold(t, client, server)
		for i, w := range tiers {
			for role, c := range map[Role]net.Conn{Client: client, Server: server} {
				if diff := cmp.Diff(all, wantedOf(w.read(t, role, c, len(all)), all)); diff != "" {
					t.Fatalf("%s, role %d: -want +got\n%s", w.kern.Tier(), role, diff)
				}
			}
			if len(w.exchanges) > 0 {
				t.Errorf("%s: too many: %+v", w.kern.Tier(), w.exchanges)
			}
			if diff := cmp.Diff(before[i], w.lost()); diff != "" {
				t.Errorf("%s: lost: -before +after\n%s", w.kern.Tier(), diff)
			}
		}
	})
}

// wantedOf puts what was told in the form of what is wanted. A trace id is compared where one was given.
func wantedOf(got []seen, want []wanted) (all []wanted) {
	for i, e := range got {
		w := wanted{e.request, e.response, e.RequestHead, e.ResponseHead, e.RequestBytes, e.ResponseBytes, e.Status, e.Flags, ""}
		if i < len(want) && want[i].Trace != "" {
			w.Trace = hex.EncodeToString(e.TraceID[:])
		}
		all = append(all, w)
	}
	return all
}

// FuzzFastCGI has conversations of FastCGI, in records of any size, cut anywhere.
func FuzzFastCGI(f *testing.F) {
	for seed := range uint64(30) {
		f.Add(seed)
	}
	tiers := watchers(f)
	f.Fuzz(func(t *testing.T, seed uint64) {
		v, all := script{rand.New(rand.NewPCG(seed, 1))}.fastCGI() //nolint:gosec // No secret.
		client, server := pipe(t, "tcp", "127.0.0.1:0")
		v.hold(t, client, server)
		for _, w := range tiers {
			defer w.forget()
			checkFastCGI(t, Client, w.read(t, Client, client, len(all)), all)
			checkFastCGI(t, Server, w.read(t, Server, server, len(all)), all)
		}
	})
}
