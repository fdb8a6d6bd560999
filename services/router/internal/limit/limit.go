// SPDX-License-Identifier: Apache-2.0

// Package limit holds flows to what they are allowed, over all replicas by way of a store that these share. It asks the store
// rarely: it takes what is good for some time to come, and where nothing is left it does not ask again before there can be
// something. While the store is away each replica holds flows to their limits by itself.
package limit

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/busbar/busbar/kit/store"
)

// Limiter is safe for concurrent use.
type Limiter struct {
	shared store.Store
	alone  *store.Memory // in its stead, while it is away
	chunk  time.Duration // what is taken in advance is good for; 0 if asking costs nothing
	failed func(error)   // told of each call that the store did not answer

	away  atomic.Pointer[error] // why the store is away; nil while it is there
	retry atomic.Int64          // when to ask it again, in nanoseconds of the epoch

	mu             sync.Mutex
	recent, former map[string]*allowance // by key, in two generations; the former one goes when the recent one is full
}

const (
	chunk      = 200 * time.Millisecond
	retryEvery = time.Second
	maxKeys    = 10_000           // of a generation: flows that are known at a time
	maxAlone   = 8 << 20          // bytes
	paidFor    = 10 * time.Minute // how long it is remembered that a message has paid
	paidKey    = "limit:paid:"    // begins the keys of those
)

// New returns a limiter for replicas that share a store; for this process alone if that is nil.
func New(shared store.Store, failed func(error)) *Limiter {
	l := &Limiter{shared: shared, alone: store.NewMemory(maxAlone), chunk: chunk, failed: failed, recent: map[string]*allowance{}}
	if shared == nil {
		l.shared, l.chunk = l.alone, 0
	}
	return l
}

// Away returns why the store cannot be asked at the moment, nil if it can.
func (l *Limiter) Away() error {
	if err := l.away.Load(); err != nil {
		return *err
	}
	return nil
}

// allowance is what this replica has taken of a bucket and not used.
type allowance struct {
	mu      sync.Mutex
	left    int64
	ready   time.Time // when it may be used: a bucket that owes is paid off first
	refused time.Time // the bucket has nothing until then
}

// Demand is for n tokens of the bucket of a flow.
type Demand struct {
	Key   string
	Limit store.Limit
	N     int64
}

// Take takes what is demanded, if the bucket holds anything.
func (l *Limiter) Take(ctx context.Context, d Demand) bool {
	a := l.allowance(d.Key)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.left >= d.N {
		a.left -= d.N
		return true
	}
	now := time.Now()
	if now.Before(a.refused) {
		return false
	}
	n := l.amount(d, a)
	taken, wait := l.ask(ctx, d, n, false)
	if !taken {
		a.refused = now.Add(wait)
		return false
	}
	a.left += n - d.N
	return true
}

// Book takes what is demanded in any case, and returns how long to wait until it is there.
func (l *Limiter) Book(ctx context.Context, d Demand) (wait time.Duration) {
	a := l.allowance(d.Key)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.left < d.N {
		n := l.amount(d, a)
		_, wait := l.ask(ctx, d, n, true)
		a.left += n
		a.ready = time.Now().Add(wait)
	}
	a.left -= d.N
	return max(0, time.Until(a.ready))
}

// Return gives back what was taken for something that does not happen.
func (l *Limiter) Return(d Demand) {
	a := l.allowance(d.Key)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left += d.N
}

// amount is what to take for a demand that exceeds what is left: the rest of it, or what is good for a while.
func (l *Limiter) amount(d Demand, a *allowance) int64 {
	return max(d.N-a.left, int64(d.Limit.Rate*l.chunk.Seconds()))
}

// ask takes from the bucket of the replicas, or from our own while the store is away.
func (l *Limiter) ask(ctx context.Context, d Demand, n int64, owe bool) (taken bool, wait time.Duration) {
	if l.there() {
		taken, wait, err := l.shared.Take(ctx, d.Key, n, d.Limit, owe)
		if l.answered(ctx, err) {
			return taken, wait
		}
	}
	taken, wait, err := l.alone.Take(ctx, d.Key, n, d.Limit, owe)
	return taken || err != nil, wait // memory fails only for keys that are too long
}

// there tells whether to ask the store: always, or one caller a while when it is away.
func (l *Limiter) there() bool {
	if l.away.Load() == nil {
		return true
	}
	now, retry := time.Now(), l.retry.Load()
	return now.UnixNano() >= retry && l.retry.CompareAndSwap(retry, now.Add(retryEvery).UnixNano())
}

// answered notes whether the store answered a call.
func (l *Limiter) answered(ctx context.Context, err error) bool {
	if err == nil {
		if l.away.Load() != nil {
			l.away.Store(nil)
		}
		return true
	}
	if ctx.Err() == nil { // else we have hung up
		l.retry.Store(time.Now().Add(retryEvery).UnixNano())
		l.away.Store(&err)
		l.failed(err)
	}
	return false
}

// Keep remembers until when a message has to wait for what it has paid, because it comes again, maybe to another replica.
func (l *Limiter) Keep(ctx context.Context, id string, until time.Time) {
	value := strconv.AppendInt(nil, until.UnixMilli(), 10)
	ttl := max(0, time.Until(until)) + paidFor
	if l.there() && l.answered(ctx, l.shared.Set(ctx, paidKey+id, value, ttl)) {
		return
	}
	_ = l.alone.Set(ctx, paidKey+id, value, ttl) // if it does not fit, the message pays again
}

// Paid tells whether a message that comes again has paid, and how long it still has to wait.
func (l *Limiter) Paid(ctx context.Context, id string) (wait time.Duration, paid bool) {
	for _, s := range [...]store.Store{l.alone, l.shared} {
		if s == l.shared && !l.there() {
			break
		}
		value, ok, err := s.Get(ctx, paidKey+id)
		if s == l.shared && !l.answered(ctx, err) || !ok {
			continue
		}
		until, err := strconv.ParseInt(string(value), 10, 64)
		return max(0, time.Until(time.UnixMilli(until))), err == nil
	}
	return 0, false
}

// allowance returns what is left to a flow.
func (l *Limiter) allowance(key string) *allowance {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.recent[key]; a != nil {
		return a
	}
	a := l.former[key]
	if a == nil {
		a = &allowance{}
	}
	if len(l.recent) >= maxKeys {
		l.former, l.recent = l.recent, make(map[string]*allowance)
	}
	l.recent[key] = a
	return a
}
