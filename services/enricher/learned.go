// SPDX-License-Identifier: Apache-2.0

package enricher

import (
	"context"
	"time"

	"github.com/busbar/busbar/kit/store"
)

const (
	// learnedFor is how long the store keeps what no replica adds to. Each keeps what it knows besides.
	learnedFor = 24 * time.Hour
	// storePatience is how long a batch waits for the store.
	storePatience = 100 * time.Millisecond
)

// sharedSet keeps what is learned about services in a store.
type sharedSet struct{ store store.Store }

// AddBounded implements route.Set and peer.Set. If the store fails, the answer is yes: what a replica knows by itself
// is bounded too.
func (s sharedSet) AddBounded(key, member string, limit int) bool {
	ctx, cancel := context.WithTimeout(context.Background(), storePatience)
	defer cancel()
	in, err := s.store.SetAdd(ctx, Service+"/"+key, member, limit, learnedFor)
	return in || err != nil
}
