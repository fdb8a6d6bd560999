// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/busbar/busbar/kit/store"
	"github.com/busbar/busbar/kit/store/storetest"
)

func TestMemoryConforms(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) store.Store { return store.NewMemory(0) }, synctest.Test)
}

func TestMemoryForgetsTheLeastRecentlyUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory(100 << 10)
		value := make([]byte, 1000)
		has := func(key string) bool {
			_, ok, err := s.Get(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			return ok
		}
		for _, set := range []struct {
			key string
			ttl time.Duration
		}{{"used", 0}, {"idle", 0}, {"expired", time.Second}} {
			if err := s.Set(t.Context(), set.key, value, set.ttl); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		for i := range 1000 {
			if err := s.Set(t.Context(), strconv.Itoa(i), value, time.Hour); err != nil {
				t.Fatal(err)
			}
			if !has("used") {
				t.Fatalf("forgot what is in use, at %d", i)
			}
		}
		if has("idle") || has("expired") || has("0") || !has("999") {
			t.Error("kept what it should forget, or the other way round")
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	s := store.NewMemory(4 << 10)
	if err := s.Set(t.Context(), "k", make([]byte, 5<<10), 0); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	var err error
	members := 0
	for ; members < 1000 && err == nil; members++ {
		_, err = s.SetAdd(t.Context(), "set", strconv.Itoa(members), 1<<20, 0)
	}
	if !errors.Is(err, store.ErrTooLarge) || members < 50 || members > 100 {
		t.Errorf("%d members, then %v", members, err)
	}
}

func BenchmarkMemorySetAdd(b *testing.B) {
	s := store.NewMemory(0)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.SetAdd(b.Context(), "routes:shop", "/users/*", 100, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}
