// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"container/list"
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// Memory is a Store inside this process. When it would exceed its bound it forgets what has expired, and then what was
// used least recently.
type Memory struct {
	mu      sync.Mutex
	max     int
	size    int
	entries map[string]*list.Element // of *entry
	recent  *list.List               // most recently used first
	swept   time.Time
}

// entry is what a key holds. The kind tells which of value, counter, members and full.
type entry struct {
	key     string
	kind    kind
	value   []byte
	counter int64
	members map[string]struct{}
	full    time.Time // when the bucket will be full
	size    int       // bytes, roughly
	expires time.Time // zero: never
}

type kind uint8

const (
	kindBytes kind = iota
	kindCounter
	kindSet
	kindBucket
)

const (
	// DefaultBytes is the bound that NewMemory takes for zero.
	DefaultBytes = 64 << 20

	entryOverhead  = 200 // bytes of map, list and entry, measured roughly
	memberOverhead = 50

	sweepEvery = 10 * time.Second // a sweep looks at every entry
)

// NewMemory returns an empty store of at most maxBytes, keys and bookkeeping included.
func NewMemory(maxBytes int) *Memory {
	if maxBytes <= 0 {
		maxBytes = DefaultBytes
	}
	return &Memory{max: maxBytes, entries: make(map[string]*list.Element), recent: list.New()}
}

// Get implements Store.
func (m *Memory) Get(_ context.Context, key string) ([]byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.find(key, kindBytes)
	if e == nil || err != nil {
		return nil, false, err
	}
	return bytes.Clone(e.value), true, nil
}

// Set implements Store.
func (m *Memory) Set(_ context.Context, key string, value []byte, ttl time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.put(key, value, ttl)
}

// CompareAndSwap implements Store.
func (m *Memory) CompareAndSwap(_ context.Context, key string, old, value []byte, ttl time.Duration) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.find(key, kindBytes)
	if err != nil {
		return false, err
	}
	if (e == nil) != (old == nil) || e != nil && !bytes.Equal(e.value, old) {
		return false, nil
	}
	err = m.put(key, value, ttl)
	return err == nil, err
}

// Add implements Store.
func (m *Memory) Add(_ context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.find(key, kindCounter)
	if err != nil {
		return 0, err
	}
	if e == nil {
		e = &entry{key: key, kind: kindCounter, expires: expiry(ttl)}
		if err := m.insert(e, entryOverhead+len(key)); err != nil {
			return 0, err
		}
	}
	e.counter += delta
	return e.counter, nil
}

// SetAdd implements Store.
func (m *Memory) SetAdd(_ context.Context, key, member string, limit int, ttl time.Duration) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.find(key, kindSet)
	if err != nil {
		return false, err
	}
	if e == nil {
		if limit <= 0 {
			return false, nil
		}
		e = &entry{key: key, kind: kindSet, members: make(map[string]struct{})}
		if err := m.insert(e, entryOverhead+len(key)); err != nil {
			return false, err
		}
	}
	if _, ok := e.members[member]; ok {
		return true, nil
	}
	if len(e.members) >= limit {
		return false, nil
	}
	if err := m.grow(e, memberOverhead+len(member)); err != nil {
		return false, err
	}
	e.members[member] = struct{}{}
	e.expires = expiry(ttl)
	return true, nil
}

// SetMembers implements Store.
func (m *Memory) SetMembers(_ context.Context, key string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.find(key, kindSet)
	if e == nil || err != nil {
		return nil, err
	}
	return slices.Collect(maps.Keys(e.members)), nil
}

// Take implements Store.
func (m *Memory) Take(_ context.Context, key string, n int64, limit Limit, owe bool) (taken bool, wait time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.find(key, kindBucket)
	if err != nil {
		return false, 0, err
	}
	now := time.Now()
	if e == nil {
		e = &entry{key: key, kind: kindBucket, full: now}
		if err := m.insert(e, entryOverhead+len(key)); err != nil {
			return false, 0, err
		}
	}
	if debt := e.full.Sub(now) - limit.lasts(limit.Burst); debt >= 0 {
		wait = debt + time.Microsecond // when it holds more than nothing
	}
	if wait > 0 && !owe {
		return false, wait, nil
	}
	if e.full.Before(now) {
		e.full = now
	}
	e.full = e.full.Add(limit.lasts(n))
	e.expires = e.full
	return true, wait, nil
}

// Delete implements Store.
func (m *Memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at, ok := m.entries[key]; ok {
		m.remove(at)
	}
	return nil
}

// lasts is how long the bucket takes to fill by n, a hundred years at most.
func (l Limit) lasts(n int64) time.Duration {
	const most = 100 * 365 * 24 * time.Hour
	return time.Duration(min(float64(n)/l.Rate*float64(time.Second), float64(most)))
}

// find returns the live entry of key, now the most recently used, or nil.
func (m *Memory) find(key string, want kind) (*entry, error) {
	at, ok := m.entries[key]
	if !ok {
		return nil, nil
	}
	e := at.Value.(*entry)
	if e.expired(time.Now()) {
		m.remove(at)
		return nil, nil
	}
	if e.kind != want {
		return nil, ErrKind
	}
	m.recent.MoveToFront(at)
	return e, nil
}

// put replaces whatever is under key by bytes.
func (m *Memory) put(key string, value []byte, ttl time.Duration) error {
	size := entryOverhead + len(key) + len(value)
	if size > m.max {
		return ErrTooLarge
	}
	if at, ok := m.entries[key]; ok {
		m.remove(at)
	}
	return m.insert(&entry{key: key, value: bytes.Clone(value), expires: expiry(ttl)}, size)
}

func (m *Memory) insert(e *entry, size int) error {
	if size > m.max {
		return ErrTooLarge
	}
	m.entries[e.key] = m.recent.PushFront(e)
	return m.grow(e, size)
}

// grow counts size bytes more for e, which is the most recently used, and makes room by forgetting others.
func (m *Memory) grow(e *entry, size int) error {
	if e.size+size > m.max {
		return ErrTooLarge
	}
	e.size += size
	m.size += size
	if now := time.Now(); m.size > m.max && now.Sub(m.swept) > sweepEvery {
		m.sweep(now)
		m.swept = now
	}
	for m.size > m.max {
		m.remove(m.recent.Back())
	}
	return nil
}

// sweep forgets what has expired.
func (m *Memory) sweep(now time.Time) {
	for at := m.recent.Back(); at != nil; {
		before := at.Prev()
		if at.Value.(*entry).expired(now) {
			m.remove(at)
		}
		at = before
	}
}

func (m *Memory) remove(at *list.Element) {
	e := m.recent.Remove(at).(*entry)
	delete(m.entries, e.key)
	m.size -= e.size
}

func (e *entry) expired(now time.Time) bool { return !e.expires.IsZero() && !now.Before(e.expires) }

func expiry(ttl time.Duration) time.Time {
	if ttl <= 0 {
		return time.Time{}
	}
	return time.Now().Add(ttl)
}
