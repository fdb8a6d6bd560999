// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"testing"
	"testing/synctest"
	"time"
)

// A message is given up that fails for ten minutes while others are taken; one that fails because all do never is.
func TestHopelessMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStubborn()
		for range 10000 { // an outage of hours
			if s.failed(1) {
				t.Fatal("given up in an outage")
			}
			time.Sleep(5 * time.Second)
		}
		s.succeeded(1)
		start := time.Now()
		for attempt := 1; !s.failed(2); attempt++ {
			if s.failed(uint64(1000 + attempt)) {
				t.Fatal("one that failed once is given up")
			}
			s.succeeded(uint64(3 + attempt))
			time.Sleep(5 * time.Second)
		}
		if after := time.Since(start); after != hopelessAfter {
			t.Errorf("given up after %v", after)
		}
		if n := len(s.tries); n > 2*maxAckPending {
			t.Errorf("%d messages are remembered", n)
		}
	})
}
