// SPDX-License-Identifier: Apache-2.0

// Package store is the short-term state that the replicas of a stage share: the routes seen of a service, the address of a
// workload, the decision about a trace, the quota of a tenant. It is a memory aid, never the truth: an entry may vanish
// before its time when room is short, and a caller must get by without it.
package store

import (
	"context"
	"errors"
	"time"
)

// Errors of every Store.
var (
	// ErrKind: the key holds another kind of value (bytes, counter, set) than the method works on.
	ErrKind = errors.New("key holds another kind of value")
	// ErrTooLarge: the value alone exceeds what the store may hold.
	ErrTooLarge = errors.New("value is too large")
)

// Store keeps bytes, counters and sets under keys. A key holds one kind. Each method is atomic among all users of the same
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
	// Delete removes whatever is under key.
	Delete(ctx context.Context, key string) error
}
