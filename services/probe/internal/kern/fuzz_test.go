// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"encoding/hex"
	"maps"
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
	ring *ringReader
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
		w.ring = newRingReader(w.kern.ring, w)
		all = append(all, w)
	}
	return all
}

// where returns the exchanges of one role on a connection that a tier has told.
type where func(r *recorder, role Role) []seen

// overTCP finds the exchanges of a role on that role's end of a connection.
func overTCP(client, server net.Conn) where {
	return func(r *recorder, role Role) []seen {
		return r.on(role, of(map[Role]net.Conn{Client: client, Server: server}[role]))
	}
}

func overUnix(path string) where {
	return func(r *recorder, role Role) []seen { return r.at(role, path) }
}

// read returns the n exchanges of a role on a connection, and forgets them.
func (w *watcher) read(t *testing.T, role Role, at where, n int) (found []seen) {
	t.Helper()
	for patience := 5000; len(found) < n && w.ring.err == nil && patience > 0; patience-- {
		w.ring.drain(0)
		if found = at(&w.recorder, role); len(found) < n {
			w.kern.sweep()
			<-time.After(time.Millisecond) // the end of a connection may be dealt with later
		}
	}
	if w.ring.err != nil {
		t.Fatal(w.ring.err)
	}
	w.exchanges = slices.DeleteFunc(w.exchanges, func(e seen) bool {
		return slices.ContainsFunc(found, func(f seen) bool { return e.Role == role && e.SpanID == f.SpanID })
	})
	return found
}

// forget lets a failure have no consequences.
func (w *watcher) forget() {
	w.ring.drain(0)
	w.exchanges = nil
}

// lost returns what was counted as lost or incomplete of what the test said. Hooks that did not run may have been anybody's.
func (w *watcher) lost() map[string]uint64 {
	counts := w.kern.Drops()
	maps.Copy(counts, w.kern.Blemishes())
	maps.DeleteFunc(counts, func(reason string, n uint64) bool { return n == 0 || reason == missedRuns })
	return counts
}

// anyPipe returns both ends of a connection over TCP or over a unix socket, and where what is told of it is found.
func anyPipe(t *testing.T, local bool) (client, server net.Conn, at where) {
	t.Helper()
	if local {
		client, server, path := unixPipe(t, socketPath(t))
		return client, server, overUnix(path)
	}
	client, server = pipe(t, "tcp", "127.0.0.1:0")
	return client, server, overTCP(client, server)
}

// FuzzConversations has conversations of every kind that HTTP/1.x allows, cut anywhere, and compares what is told of them, byte by byte.
func FuzzConversations(f *testing.F) {
	for seed := range uint64(60) {
		f.Add(seed)
	}
	tiers := watchers(f)
	f.Fuzz(func(t *testing.T, seed uint64) {
		v, all := script{rand.New(rand.NewPCG(seed, 0))}.conversation() //nolint:gosec // No secret.
		local := seed%4 == 3
		client, server, at := anyPipe(t, local)
		if local {
			for i := range all {
				all[i].Flags &^= Keyed
			}
		}
		before := make([]map[string]uint64, len(tiers))
		for i, w := range tiers {
			before[i] = w.lost()
			defer w.forget()
		}
		v.hold(t, client, server)
		for i, w := range tiers {
			if local && blindToUnix(w.kern.Tier()) != nil {
				continue
			}
			for _, role := range []Role{Client, Server} {
				if diff := cmp.Diff(all, wantedOf(w.read(t, role, at, len(all)), all)); diff != "" {
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
		local := seed%4 == 3
		client, server, at := anyPipe(t, local)
		v.hold(t, client, server)
		for _, w := range tiers {
			defer w.forget()
			if local && blindToUnix(w.kern.Tier()) != nil {
				continue
			}
			checkFastCGI(t, Client, w.read(t, Client, at, len(all)), all)
			checkFastCGI(t, Server, w.read(t, Server, at, len(all)), all)
		}
	})
}
