// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"os/exec"
	"testing"
)

// TestStartedThreads asks a server that makes its own requests on its threads and on threads that those start. What a started
// thread asks for belongs to the request that started it, once a thread has been seen to end before its request. A thread of a
// pool outlives it: from then on nothing is concluded.
func TestStartedThreads(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip(err)
	}
	const requests = 60
	eachTier(t, func(t *testing.T, tier string) {
		k, r := start(t, Options{Tier: tier})
		check := func(s *relayed, way string, requests, number, right int) {
			t.Helper()
			got, none, wrong := s.ask(t, way, requests, 20)
			if wrong > 0 || got != requests*right || none != requests*(number-right) {
				t.Errorf("%s: %d right, %d without a parent, %d wrong", way, got, none, wrong)
			}
		}
		s := startRelay(t, k, r, python, "testdata/threads.py")
		check(s, "direct", requests, 2, 2)
		until(t, func() bool {
			right, _, _ := s.ask(t, "thread", 1, 1)
			return right == 2
		}, func() { t.Error("no thread was seen to end before its request") })
		check(s, "thread", requests, 2, 2)
		check(s, "nested", requests, 1, 1)
		pooled := startRelay(t, k, r, python, "testdata/threads.py")
		check(pooled, "pool", requests, 1, 0)
		check(pooled, "thread", requests, 2, 0)
	})
}
