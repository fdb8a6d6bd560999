// SPDX-License-Identifier: Apache-2.0

package shared_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/busbar/busbar/kit/store/redis"
	"github.com/busbar/busbar/kit/store/redis/redistest"
	"github.com/busbar/busbar/services/enricher/internal/shared"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, server *redistest.Server, failed *atomic.Int64) *shared.Sets {
	t.Helper()
	s, err := redis.Open(server.URL(), "test:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return shared.New(s, "x/", func(error) { failed.Add(1) })
}

// A store that is gone is asked once a while, however many want something of it, and is found again with another state.
func TestStoreGoesAndComesBack(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var failed atomic.Int64
	a, b := open(t, server, &failed), open(t, server, &failed)
	redistest.Eventually(t, "the store answers", func() bool { // within our patience
		in, err := a.Add("k", "m", 1)
		return err == nil && in
	})
	redistest.Eventually(t, "both are in the same state", func() bool {
		mine, err := a.State(t.Context())
		theirs, theirErr := b.State(t.Context())
		in, addErr := b.Add("k", "other", 1)
		members, membersErr := b.Members("k")
		return err == nil && theirErr == nil && addErr == nil && membersErr == nil &&
			mine == theirs && mine != "" && !in && fmt.Sprint(members) == "[m]"
	})
	before, err := a.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	server.Kill(t)
	was := failed.Load()
	const calls = 100_000
	for range calls {
		if _, err := a.Add("k", "n", 1); err == nil {
			t.Fatal("an answer of a store that is gone")
		}
	}
	if n := failed.Load() - was; n == 0 || n > calls/100 || a.Away() == nil {
		t.Errorf("asked %d times, away: %v", n, a.Away())
	}

	server.Start(t)
	redistest.Eventually(t, "the store is back in another state", func() bool {
		state, err := a.State(t.Context())
		return err == nil && state != before && a.Away() == nil
	})
}
