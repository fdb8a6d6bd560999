// SPDX-License-Identifier: Apache-2.0

// Package storetest holds every implementation of store.Store to what the interface promises.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/busbar/busbar/kit/store"
)

// Run runs the suite on stores made by open, each of them empty. Each test runs inside within: synctest.Test for a store
// that keeps time by the clock of this process; a function that just calls, for one with a clock of its own.
func Run(t *testing.T, open func(*testing.T) store.Store, within func(*testing.T, func(*testing.T))) {
	t.Helper()
	for _, tt := range []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"bytes", testBytes},
		{"compare and swap", testCompareAndSwap},
		{"counter", testCounter},
		{"set", testSet},
		{"bucket", testBucket},
		{"kinds do not mix", testKinds},
		{"many at once", testConcurrency},
	} {
		t.Run(tt.name, func(t *testing.T) {
			within(t, func(t *testing.T) { tt.test(t, open(t)) })
		})
	}
}

const ttl = 2 * time.Second

func testBytes(t *testing.T, s store.Store) {
	ctx := t.Context()
	expect(t, s, "k", nil)
	value := []byte("v")
	check(t, s.Set(ctx, "k", value, ttl))
	value[0] = 'x' // the store has its own copy
	expect(t, s, "k", []byte("v"))
	time.Sleep(ttl / 2)
	check(t, s.Set(ctx, "k", []byte("w"), ttl))
	check(t, s.Set(ctx, "for ever", []byte{}, 0))
	time.Sleep(ttl * 3 / 4)
	expect(t, s, "k", []byte("w")) // its time began anew
	time.Sleep(ttl)
	expect(t, s, "k", nil)
	expect(t, s, "for ever", []byte{})
	check(t, s.Delete(ctx, "for ever"))
	check(t, s.Delete(ctx, "for ever"))
	expect(t, s, "for ever", nil)
}

func testCompareAndSwap(t *testing.T, s store.Store) {
	ctx := t.Context()
	for _, tt := range []struct {
		old, value string
		absent     bool
		swapped    bool
	}{
		{old: "x", value: "1"},
		{absent: true, value: "1", swapped: true},
		{absent: true, value: "2"},
		{old: "x", value: "2"},
		{old: "1", value: "2", swapped: true},
	} {
		old := []byte(tt.old)
		if tt.absent {
			old = nil
		}
		swapped, err := s.CompareAndSwap(ctx, "k", old, []byte(tt.value), ttl)
		check(t, err)
		if swapped != tt.swapped {
			t.Errorf("%q to %q: swapped %v", tt.old, tt.value, swapped)
		}
	}
	expect(t, s, "k", []byte("2"))
	time.Sleep(2 * ttl)
	if swapped, err := s.CompareAndSwap(ctx, "k", nil, []byte("3"), ttl); err != nil || !swapped {
		t.Errorf("what has expired is in the way: %v", err)
	}
}

func testCounter(t *testing.T, s store.Store) {
	ctx := t.Context()
	add := func(delta, want int64) {
		t.Helper()
		if sum, err := s.Add(ctx, "k", delta, ttl); err != nil || sum != want {
			t.Errorf("add %d: %d, %v, want %d", delta, sum, err, want)
		}
	}
	add(5, 5)
	time.Sleep(ttl * 3 / 4)
	add(-7, -2)
	time.Sleep(ttl / 2) // counted from the beginning, not from the last addition
	add(1, 1)
}

func testSet(t *testing.T, s store.Store) {
	ctx := t.Context()
	add := func(member string, limit int, want bool) {
		t.Helper()
		if in, err := s.SetAdd(ctx, "k", member, limit, ttl); err != nil || in != want {
			t.Errorf("add %s: %v, %v, want %v", member, in, err, want)
		}
	}
	members := func(want ...string) {
		t.Helper()
		got, err := s.SetMembers(ctx, "k")
		check(t, err)
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("members are %q, want %q", got, want)
		}
	}
	members()
	add("a", 0, false)
	add("a", 2, true)
	members("a")
	time.Sleep(ttl * 3 / 4)
	add("b", 2, true)
	add("c", 2, false)
	add("a", 2, true)
	time.Sleep(ttl / 2) // counted from the last member added
	add("c", 2, false)
	members("a", "b")
	time.Sleep(ttl)
	members()
	add("c", 2, true)
}

func testBucket(t *testing.T, s store.Store) {
	ctx := t.Context()
	const second, slack = time.Second, 10 * time.Microsecond
	limit := store.Limit{Rate: 10, Burst: 200}
	take := func(n int64, owe, want bool, least, most time.Duration) {
		t.Helper()
		taken, wait, err := s.Take(ctx, "k", n, limit, owe)
		if err != nil || taken != want || wait < least || wait > most {
			t.Errorf("take %d: %v, wait %v, %v, want %v and %v to %v", n, taken, wait, err, want, least, most)
		}
	}
	take(50, false, true, 0, 0)                       // 150 are left
	take(250, false, true, 0, 0)                      // 100 are owed
	take(1, false, false, 5*second, 10*second+slack)  // they are paid in ten seconds
	take(100, true, true, 5*second, 10*second+slack)  // 200 are owed
	take(1, false, false, 15*second, 20*second+slack) // which is twenty
	check(t, s.Delete(ctx, "k"))                      // full again
	take(205, false, true, 0, 0)                      // 5 are owed
	time.Sleep(2 * second)                            // 15 are left
	take(1, false, true, 0, 0)
	check(t, s.Delete(ctx, "k"))
	take(1, false, true, 0, 0)   // 199 are left
	time.Sleep(2 * second)       // no more than the burst
	take(250, false, true, 0, 0) // 50 are owed
	take(1, false, false, 3500*time.Millisecond, 5*second+slack)
	slow := store.Limit{Rate: 1e-6, Burst: 1}
	if _, _, err := s.Take(ctx, "slow", 1000, slow, false); err != nil {
		t.Error(err)
	}
	if taken, wait, err := s.Take(ctx, "slow", 1, slow, false); err != nil || taken || wait < time.Hour {
		t.Errorf("slow: %v, %v, %v", taken, wait, err)
	}
}

func testKinds(t *testing.T, s store.Store) {
	ctx := t.Context()
	_, err := s.Add(ctx, "k", 1, 0)
	check(t, err)
	_, _, errGet := s.Get(ctx, "k")
	_, errSwap := s.CompareAndSwap(ctx, "k", nil, nil, 0)
	_, errSet := s.SetAdd(ctx, "k", "m", 1, 0)
	_, errMembers := s.SetMembers(ctx, "k")
	_, _, errTake := s.Take(ctx, "k", 1, store.Limit{Rate: 1, Burst: 1}, false)
	_, _, err = s.Take(ctx, "bucket", 1, store.Limit{Rate: 1, Burst: 1}, false)
	check(t, err)
	_, errAdd := s.Add(ctx, "bucket", 1, 0)
	for _, err := range []error{errGet, errSwap, errSet, errMembers, errTake, errAdd} {
		if !errors.Is(err, store.ErrKind) {
			t.Errorf("got %v", err)
		}
	}
	check(t, s.Set(ctx, "k", []byte("v"), 0)) // takes the place of anything
	expect(t, s, "k", []byte("v"))
}

func testConcurrency(t *testing.T, s store.Store) {
	const users, each, limit = 8, 100, 10
	ctx := t.Context()
	var members, swaps, taken atomic.Int64
	var wait sync.WaitGroup
	for u := range users {
		wait.Go(func() {
			for i := range each {
				_, err := s.Add(ctx, "counter", 1, 0)
				in, setErr := s.SetAdd(ctx, "set", strconv.Itoa(u*each+i), limit, 0)
				swapped, swapErr := s.CompareAndSwap(ctx, "bytes"+strconv.Itoa(i), nil, []byte("mine"), 0)
				took, _, takeErr := s.Take(ctx, "bucket", 2, store.Limit{Rate: 1e-3, Burst: 2 * limit}, false)
				if err := errors.Join(err, setErr, swapErr, takeErr); err != nil {
					t.Error(err)
				}
				if in {
					members.Add(1)
				}
				if took {
					taken.Add(1)
				}
				if swapped {
					swaps.Add(1)
				}
			}
		})
	}
	wait.Wait()
	sum, err := s.Add(ctx, "counter", 0, 0)
	if err != nil || sum != users*each || members.Load() != limit || swaps.Load() != each || taken.Load() != limit && taken.Load() != limit+1 {
		t.Errorf("sum %d, members %d, swaps %d, taken %d, %v", sum, members.Load(), swaps.Load(), taken.Load(), err)
	}
}

// expect compares what is under key; nil means nothing.
func expect(t *testing.T, s store.Store, key string, want []byte) {
	t.Helper()
	got, ok, err := s.Get(context.WithoutCancel(t.Context()), key)
	if err != nil || ok != (want != nil) || !bytes.Equal(got, want) {
		t.Errorf("%s: got %q, %v, %v, want %q", key, got, ok, err, want)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
