// SPDX-License-Identifier: Apache-2.0

// Package store is the short-term state that the replicas of a stage share: the peers that the metrics of a
// service name, the decision about a trace, the quota of a tenant. It is a memory aid, never the truth: an entry may vanish
// before its time when room is short, and a caller must get by without it.
package store

import (
	"context"
	"errors"
	"time"
)

// Errors of every Store.
var (
	// ErrKind: the key holds another kind of value (bytes, counter, set, bucket) than the method works on.
	ErrKind = errors.New("key holds another kind of value")
	// ErrTooLarge: the value alone exceeds what the store may hold.
	ErrTooLarge = errors.New("value is too large")
)

// Limit is how fast a bucket fills, in tokens a second, and how many it holds. Both are above zero.
type Limit struct {
	Rate  float64
	Burst int64
}

// Store keeps bytes, counters, sets and buckets under keys. A key holds one kind. Each method is atomic among all users of the same
// store, and may be called from several goroutines. A ttl of zero keeps an entry until room is short. Slices that are given
// or returned are copies, or are treated as if they were: nobody changes them.
type Store interface {
	// Get returns the bytes under key; ok is false when there are none.
	Get(ctx context.Context, key string) (value []byte, ok bool, err error)
	// Set puts value under key, whatever was there.
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) error
	// CompareAndSwap puts value under key if the bytes there equal old, or if there is nothing and old is nil, and tells
	// whether it did.
	CompareAndSwap(ctx context.Context, key string, old, value []byte, ttl time.Duration) (swapped bool, err error)
	// Add adds delta to the counter under key, which begins at zero, and returns the sum. The ttl counts from its beginning.
	Add(ctx context.Context, key string, delta int64, ttl time.Duration) (sum int64, err error)
	// SetAdd adds member to the set under key unless that has limit members already, and tells whether member is in the
	// set now. The ttl counts from the last member added.
	SetAdd(ctx context.Context, key, member string, limit int, ttl time.Duration) (in bool, err error)
	// SetMembers returns the members of the set under key, in any order; none when there is no set.
	SetMembers(ctx context.Context, key string) (members []string, err error)
	// Take takes n tokens from the bucket under key, which begins full and fills by rate a second up to burst. It takes them all
	// or none: all if the bucket holds anything, be it less than n, so that a large demand is met too and paid off before the
	// next one; or all whatever the bucket holds, if it may owe. The wait is how long until the bucket holds something
	// again, as seen before this demand: zero if it did.
	Take(ctx context.Context, key string, n int64, limit Limit, owe bool) (taken bool, wait time.Duration, err error)
	// Delete removes whatever is under key.
	Delete(ctx context.Context, key string) error
}
