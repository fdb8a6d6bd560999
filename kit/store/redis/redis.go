// SPDX-License-Identifier: Apache-2.0

// Package redis is a store.Store in Redis, for replicas on several machines. Every call is bounded in time and tried once: whoever
// calls must get by without the store, and a repeated addition would count twice. Connections come back by themselves.
package redis

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/busbar/busbar/kit/store"
)

// Timeout bounds every call, connecting included.
const Timeout = 500 * time.Millisecond

// Store keeps everything in one database of a Redis server.
type Store struct {
	client *redis.Client
	prefix string
}

// Open returns the store at an address such as redis://user:password@host:6379/0, rediss:// for TLS, or unix:///path. Keys begin
// with prefix. It does not connect: that is done when the store is first used. Its errors show no password.
func Open(address, prefix string) (*Store, error) {
	options, err := redis.ParseURL(address)
	if err != nil {
		if bad, ok := errors.AsType[*url.Error](err); ok {
			err = bad.Err // without the address
		}
		return nil, fmt.Errorf("address of the store: %s", strings.TrimPrefix(err.Error(), "redis: "))
	}
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout, options.PoolTimeout = Timeout, Timeout, Timeout, Timeout
	options.ContextTimeoutEnabled = true
	options.MaxRetries, options.DialerRetries = -1, 1
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	redis.SetLogger(silence{})
	return &Store{client: redis.NewClient(options), prefix: prefix}, nil
}

// Close ends the connections.
func (s *Store) Close() error { return s.client.Close() }

// Ping tells whether the server answers.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	return s.client.Ping(ctx).Err()
}

// silence is the log of the library, which every call's error has already.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (value []byte, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	value, err = s.client.Get(ctx, s.prefix+key).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, false, nil
	}
	return value, err == nil, meaning(err)
}

// Set implements store.Store.
func (s *Store) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	return meaning(s.client.Set(ctx, s.prefix+key, value, max(ttl, 0)).Err())
}

// CompareAndSwap implements store.Store.
func (s *Store) CompareAndSwap(ctx context.Context, key string, old, value []byte, ttl time.Duration) (bool, error) {
	absent := 0
	if old == nil {
		absent = 1
	}
	answer, err := s.run(ctx, compareAndSwap, key, absent, old, value, millis(ttl))
	return answer[0] == 1, err
}

// Add implements store.Store.
func (s *Store) Add(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
	answer, err := s.run(ctx, add, key, delta, millis(ttl))
	return answer[0], err
}

// SetAdd implements store.Store.
func (s *Store) SetAdd(ctx context.Context, key, member string, limit int, ttl time.Duration) (bool, error) {
	answer, err := s.run(ctx, setAdd, key, member, limit, millis(ttl))
	return answer[0] == 1, err
}

// SetMembers implements store.Store.
func (s *Store) SetMembers(ctx context.Context, key string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	members, err := s.client.SMembers(ctx, s.prefix+key).Result()
	return members, meaning(err)
}

// Take implements store.Store, by the clock of the server.
func (s *Store) Take(ctx context.Context, key string, n int64, limit store.Limit, owe bool) (bool, time.Duration, error) {
	may := 0
	if owe {
		may = 1
	}
	answer, err := s.run(ctx, take, key, n, limit.Rate, limit.Burst, may)
	return answer[0] == 1, time.Duration(answer[1]) * time.Microsecond, err
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	return meaning(s.client.Del(ctx, s.prefix+key).Err())
}

// run runs a script on a key and returns its answer, one or two numbers.
func (s *Store) run(ctx context.Context, script *redis.Script, key string, args ...any) (answer [2]int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	numbers, err := script.Run(ctx, s.client, []string{s.prefix + key}, args...).Int64Slice()
	copy(answer[:], numbers)
	return answer, meaning(err)
}

// meaning gives an error of the server the meaning that callers branch on.
func meaning(err error) error {
	if err != nil && strings.Contains(err.Error(), "WRONGTYPE") {
		return store.ErrKind
	}
	return err
}

// millis is a ttl as scripts take it, rounded up; 0 for none.
func millis(ttl time.Duration) int64 {
	if ttl <= 0 {
		return 0
	}
	return int64((ttl + time.Millisecond - 1) / time.Millisecond)
}
