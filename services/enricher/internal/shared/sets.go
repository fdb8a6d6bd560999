// SPDX-License-Identifier: Apache-2.0

// Package shared agrees with other replicas, by way of a store, on the few members of sets that anybody could fill.
//
// The store may be away for as long as it likes: nobody waits for it then, and each replica goes on by itself. When it is back, maybe empty, its
// state tells that there is something to agree on anew.
package shared

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/busbar/busbar/kit/store"
)

const (
	// keptFor is how long the store keeps a set to which nobody adds.
	keptFor = 30 * 24 * time.Hour
	// patience is how long a call may take: a batch waits for it.
	patience = 100 * time.Millisecond
	// retryEvery is how often a store that is away is asked.
	retryEvery = time.Second
	// stateKey holds what differs between two lives of a store that keeps nothing.
	stateKey = "state"
)

// errAway: the store did not answer lately, and was not asked again.
var errAway = errors.New("the store is away")

// Sets are sets in a store. It is safe for concurrent use.
type Sets struct {
	store  store.Store
	prefix string
	failed func(error) // told of each call that the store did not answer

	away  atomic.Pointer[error] // why the store is away; nil while it is there
	retry atomic.Int64          // when to ask it again, in nanoseconds of the epoch
}

// New returns the sets whose keys begin with prefix.
func New(s store.Store, prefix string, failed func(error)) *Sets {
	return &Sets{store: s, prefix: prefix, failed: failed}
}

// Away returns why the store cannot be asked at the moment, nil if it can.
func (s *Sets) Away() error {
	if err := s.away.Load(); err != nil {
		return *err
	}
	return nil
}

// Add adds member to a set unless that has limit members already, and tells whether it is in the set now.
func (s *Sets) Add(key, member string, limit int) (in bool, err error) {
	err = s.ask(context.Background(), func(ctx context.Context) error {
		in, err = s.store.SetAdd(ctx, s.prefix+key, member, limit, keptFor)
		return err
	})
	return in, err
}

// Members returns the members of a set.
func (s *Sets) Members(key string) (members []string, err error) {
	err = s.ask(context.Background(), func(ctx context.Context) error {
		members, err = s.store.SetMembers(ctx, s.prefix+key)
		return err
	})
	return members, err
}

// State returns what is another one when the store has lost what it had.
func (s *Sets) State(ctx context.Context) (state string, err error) {
	err = s.ask(ctx, func(ctx context.Context) error {
		value, ok, err := s.store.Get(ctx, s.prefix+stateKey)
		if err != nil || ok {
			state = string(value)
			return err
		}
		fresh := strconv.AppendUint(nil, rand.Uint64(), 36)
		if ok, err = s.store.CompareAndSwap(ctx, s.prefix+stateKey, nil, fresh, 0); ok {
			state = string(fresh)
			return err
		}
		value, _, err = s.store.Get(ctx, s.prefix+stateKey) // another replica was faster
		state = string(value)
		return err
	})
	return state, err
}

// ask makes a call, unless the store is away; then one a while is made to see whether it still is.
func (s *Sets) ask(ctx context.Context, call func(ctx context.Context) error) error {
	if !s.there() {
		return errAway
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := call(ctx)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return err // we have hung up
	}
	if err != nil {
		s.retry.Store(time.Now().Add(retryEvery).UnixNano())
		s.away.Store(&err)
		s.failed(err)
	} else if s.away.Load() != nil {
		s.away.Store(nil)
	}
	return err
}

func (s *Sets) there() bool {
	if s.away.Load() == nil {
		return true
	}
	now, retry := time.Now(), s.retry.Load()
	return now.UnixNano() >= retry && s.retry.CompareAndSwap(retry, now.Add(retryEvery).UnixNano())
}
