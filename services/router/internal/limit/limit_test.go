// SPDX-License-Identifier: Apache-2.0

package limit_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/busbar/busbar/kit/store"
	"github.com/busbar/busbar/services/router/internal/limit"
)

// counting counts what a store is asked, and may be away.
type counting struct {
	*store.Memory
	asked atomic.Int64
	away  atomic.Bool
}

var errAway = errors.New("away")

func (c *counting) ask() error {
	c.asked.Add(1)
	if c.away.Load() {
		return errAway
	}
	return nil
}

func (c *counting) Take(ctx context.Context, key string, n int64, l store.Limit, owe bool) (bool, time.Duration, error) {
	if err := c.ask(); err != nil {
		return false, 0, err
	}
	return c.Memory.Take(ctx, key, n, l, owe)
}

func (c *counting) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if err := c.ask(); err != nil {
		return nil, false, err
	}
	return c.Memory.Get(ctx, key)
}

func (c *counting) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := c.ask(); err != nil {
		return err
	}
	return c.Memory.Set(ctx, key, value, ttl)
}

func within(t *testing.T, what string, got, least, most int64) {
	t.Helper()
	if got < least || got > most {
		t.Errorf("%s: %d, want %d to %d", what, got, least, most)
	}
}

// Replicas together let pass what the limit says, and a share of chunks, while they ask the store rarely.
func TestReplicasShareALimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := &counting{Memory: store.NewMemory(0)}
		replicas := make([]*limit.Limiter, 4)
		for i := range replicas {
			replicas[i] = limit.New(shared, func(err error) { t.Error(err) })
		}
		d := limit.Demand{Key: "a", Limit: store.Limit{Rate: 10_000, Burst: 20_000}, N: 10}
		passed, tried := int64(0), int64(0)
		for range 60_000 { // a minute, with ten times the limit
			for range 25 {
				for _, l := range replicas {
					if tried++; l.Take(t.Context(), d) {
						passed += d.N
					}
				}
			}
			time.Sleep(time.Millisecond)
		}
		within(t, "passed", passed, 600_000, 620_000+4*2000)
		within(t, "questions", shared.asked.Load(), 60_000/200, tried/500)
	})
}

func TestFlowsDoNotDelayEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limit.New(nil, nil)
		demand := func(key string, n int64) limit.Demand {
			return limit.Demand{Key: key, Limit: store.Limit{Rate: 100, Burst: 100}, N: n}
		}
		if !l.Take(t.Context(), demand("a", 500)) || l.Take(t.Context(), demand("a", 1)) {
			t.Error("a message that finds something passes as a whole, and the next one does not")
		}
		if !l.Take(t.Context(), demand("b", 1)) {
			t.Error("another flow is held up")
		}
		time.Sleep(4*time.Second + time.Millisecond)
		if !l.Take(t.Context(), demand("a", 1)) {
			t.Error("what was too much is paid off")
		}
		l.Return(demand("a", 1))
		if !l.Take(t.Context(), demand("a", 1)) {
			t.Error("what is given back is there")
		}
	})
}

// Messages that wait are let through one after another, as fast as the limit says.
func TestBookings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := store.NewMemory(0)
		replicas := [...]*limit.Limiter{limit.New(shared, nil), limit.New(shared, nil)}
		d := limit.Demand{Key: "a", Limit: store.Limit{Rate: 1000, Burst: 1000}, N: 500}
		var last time.Duration
		for i := range 100 {
			last = max(last, replicas[i%2].Book(t.Context(), d))
		}
		if last < 48*time.Second || last > 49*time.Second { // 50,000, less the burst, and the last is let through whole
			t.Errorf("the last of 100 waits %v", last)
		}
	})
}

func TestPaidOnceOnAnyReplica(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := store.NewMemory(0)
		a, b := limit.New(shared, nil), limit.New(shared, nil)
		if _, paid := b.Paid(t.Context(), "1"); paid {
			t.Error("paid before it came")
		}
		a.Keep(t.Context(), "1", time.Now().Add(3*time.Second))
		if wait, paid := b.Paid(t.Context(), "1"); !paid || wait != 3*time.Second {
			t.Errorf("%v, %v", wait, paid)
		}
		time.Sleep(4 * time.Second)
		if wait, paid := b.Paid(t.Context(), "1"); !paid || wait != 0 {
			t.Errorf("%v, %v", wait, paid)
		}
		time.Sleep(time.Hour)
		if _, paid := b.Paid(t.Context(), "1"); paid {
			t.Error("remembered for ever")
		}
	})
}

// While the store is away each replica keeps to the limit by itself and asks rarely; then they share it again.
func TestStoreGoesAndComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := &counting{Memory: store.NewMemory(0)}
		failures := 0
		l := limit.New(shared, func(error) { failures++ })
		d := limit.Demand{Key: "a", Limit: store.Limit{Rate: 1000, Burst: 1000}, N: 1}
		second := func() (passed int64) {
			for range 2000 {
				if l.Take(t.Context(), d) {
					passed++
				}
				time.Sleep(time.Second / 2000)
			}
			return passed
		}
		second()
		shared.away.Store(true)
		for range 3 {
			second()
		}
		within(t, "passed alone", second(), 900, 1100)
		if l.Away() == nil {
			t.Error("the store is not said to be away")
		}
		within(t, "failures", int64(failures), 3, 6)
		l.Keep(t.Context(), "1", time.Now())
		if _, paid := l.Paid(t.Context(), "1"); !paid {
			t.Error("forgot who paid meanwhile")
		}
		shared.away.Store(false)
		second()
		second()
		if err := l.Away(); err != nil {
			t.Errorf("still away: %v", err)
		}
		within(t, "passed together", second(), 900, 1200)
		if _, paid := l.Paid(t.Context(), "1"); !paid {
			t.Error("forgot who paid meanwhile")
		}
	})
}

// Flows come from outside: their number is bounded, and one that is in use is not forgotten.
func TestManyFlows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := &counting{Memory: store.NewMemory(0)}
		l := limit.New(shared, nil)
		used := limit.Demand{Key: "used", Limit: store.Limit{Rate: 1e6, Burst: 1e6}, N: 1}
		l.Take(t.Context(), used)
		for i := range 50_000 {
			l.Take(t.Context(), limit.Demand{Key: fmt.Sprint(i), Limit: used.Limit, N: 1})
			before := shared.asked.Load()
			if l.Take(t.Context(), used); shared.asked.Load() != before {
				t.Fatalf("a flow in use is forgotten after %d", i)
			}
		}
	})
}

func BenchmarkTake(b *testing.B) {
	l := limit.New(nil, nil)
	d := limit.Demand{Key: "records:a/steps[0].default", Limit: store.Limit{Rate: 1e9, Burst: 1e9}, N: 1}
	b.ReportAllocs()
	for b.Loop() {
		l.Take(b.Context(), d)
	}
}
