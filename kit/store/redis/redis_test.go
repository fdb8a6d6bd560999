// SPDX-License-Identifier: Apache-2.0

package redis_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/busbar/busbar/kit/store"
	"github.com/busbar/busbar/kit/store/redis"
	"github.com/busbar/busbar/kit/store/redis/redistest"
	"github.com/busbar/busbar/kit/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, address, prefix string) *redis.Store {
	t.Helper()
	s, err := redis.Open(address, prefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConforms(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var opened atomic.Int32
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, server.URL(), string(rune('a'+opened.Add(1)))+":")
	}, func(t *testing.T, test func(*testing.T)) {
		t.Parallel()
		test(t)
	})
}

// Replicas share one bucket: together they get what the limit says.
func TestReplicasShareABucket(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	limit := store.Limit{Rate: 1e-3, Burst: 10}
	taken := 0
	for range 4 {
		s := open(t, server.URL(), "x:")
		for range 10 {
			ok, _, err := s.Take(t.Context(), "k", 1, limit, false)
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				taken++
			}
		}
	}
	if taken != 10 && taken != 11 { // a little has flown in meanwhile
		t.Errorf("%d taken of 10", taken)
	}
}

func TestServerGoesAndComesBack(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, server.URL(), "x:")
	if err := s.Set(t.Context(), "k", []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	server.Kill(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // each call ends by itself, long before
	defer cancel()
	for range 20 {
		if err := s.Set(ctx, "k", []byte("v"), 0); err == nil {
			t.Fatal("set in a server that is gone")
		}
	}
	if ctx.Err() != nil {
		t.Fatal("calls are not bounded")
	}
	server.Start(t)
	redistest.Eventually(t, "store is back", func() bool { return s.Set(t.Context(), "k", []byte("w"), 0) == nil })
	if v, ok, err := s.Get(t.Context(), "k"); err != nil || !ok || string(v) != "w" {
		t.Errorf("%q, %v, %v", v, ok, err)
	}
}

// A server that takes connections and does not answer holds nobody up for long.
func TestServerHangs(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, server.URL(), "x:")
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Pause(t)
	defer server.Resume(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, _, err := s.Get(ctx, "k"); err == nil || ctx.Err() != nil {
		t.Errorf("%v, %v", err, ctx.Err())
	}
}

func TestOpenShowsNoPassword(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"redis://:hunter2@host:port", "http://:hunter2@host", "redis://:hunter2@host:1/db", "redis://:hunter2%zz@host", "hunter2"} {
		if _, err := redis.Open(address, ""); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	s := open(b, redistest.Start(b).URL(), "x:")
	limit := store.Limit{Rate: 1e9, Burst: 1e9}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.Take(b.Context(), "k", 1, limit, false); err != nil {
			b.Fatal(err)
		}
	}
}
