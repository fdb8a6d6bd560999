// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"os/exec"
	"testing"

	symbols "github.com/busbar/busbar/services/probe/internal/hook"
)

// TestTicks asks a Node.js server that makes requests of its own in every way there is (testdata/loop.js): one at a time, and 50
// at a time. Each of them must be the child of the request that it was made for or of none, and those made at once when a
// request comes in, or when the answer to the only one's does, must have their parent.
func TestTicks(t *testing.T) {
	ways := []struct {
		name         string
		alone, crowd int // requests that are certain to have their parent, of each that comes in
	}{
		{"chain", 3, 1},
		{"all", 3, 3},
		{"after", 3, 1},
		{"fresh", 2, 1},
		{"few", 2, 0},
		{"one", 1, 0},
		{"fetch", 2, 1},
		{"timeout", 0, 0},
		{"immediate", 0, 0},
		{"lookup", 0, 0},
		{"shared", 2, 0},
	}
	const requests = 100
	eachTier(t, func(t *testing.T, tier string) {
		node, err := exec.LookPath("node")
		if err != nil {
			t.Skip(err)
		}
		k, r := start(t, Options{Tier: tier})
		found, err := symbols.Functions(node, []string{LoopFunction})
		if err != nil || found[LoopFunction] == 0 {
			t.Fatal(found, err)
		}
		loop, err := k.HookLoop(node, found[LoopFunction])
		if err != nil {
			t.Fatal(err)
		}
		defer loop.Close()
		s := startRelay(t, k, r, node, "testdata/loop.js")
		for _, way := range ways {
			t.Run(way.name, func(t *testing.T) {
				right, none, wrong := s.ask(t, way.name, requests, 1)
				if t.Logf("alone: %d right, %d without a parent, %d wrong", right, none, wrong); wrong > 0 || right < requests*way.alone {
					t.Errorf("of each request's own ones %d must have their parent, and none another", way.alone)
				}
				right, none, wrong = s.ask(t, way.name, requests, 50)
				if t.Logf("50 at a time: %d right, %d without a parent, %d wrong", right, none, wrong); wrong > 0 || right < requests*way.crowd {
					t.Errorf("of each request's own ones %d must have their parent, and none another", way.crowd)
				}
			})
		}
		if right, none, wrong := s.settle(t, "background"); right+wrong > 0 || none == 0 {
			t.Errorf("what a timer asks for: %d have no parent, %d have", none, right+wrong)
		}
	})
}
