// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"
	"testing"
	"time"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	kubev1 "github.com/busbar/busbar/contract/kube/v1"
)

func of(container, cgroup string) []*eventv1.Process {
	return []*eventv1.Process{{ContainerId: id(container), Cgroup: cgroup + id(container)}}
}

func TestABatchWaitsForItsPod(t *testing.T) {
	t.Parallel()
	d, at := NewDirectory(), time.Unix(1000, 0)
	w := NewWaiting(d)
	if !w.Wait(of("a", "/kubepods/pod1/"), 1, at) || !w.Wait(of("a", "/kubepods/pod1/"), 1, at.Add(Step)) {
		t.Error("it does not wait")
	}
	d.take(t, pod("1", "", "a", 1, 0))
	if w.Wait(of("a", "/kubepods/pod1/"), 1, at.Add(2*Step)) {
		t.Error("it waits for a pod that is known")
	}
	if c := w.Counts(); c != (WaitingCounts{Batches: 1}) {
		t.Errorf("%+v", c)
	}
}

func TestAContainerIsWaitedForOnce(t *testing.T) {
	t.Parallel()
	d, at := NewDirectory(), time.Unix(1000, 0)
	d.hear(&kubev1.Watcher{Instance: "i", Complete: true}, 1, at.Add(time.Hour))
	w := NewWaiting(d)
	for i, want := range []bool{true, true, false, false} {
		if got := w.Wait(of("a", "/kubepods/pod1/"), uint64(i), at.Add(time.Duration(i)*Patience/2)); got != want {
			t.Errorf("try %d: %v", i, got)
		}
	}
	if w.Wait(of("a", "/kubepods/pod1/"), 0, at.Add(Patience)) || w.Wait(of("a", "/kubepods/pod1/"), 1, at.Add(Patience)) {
		t.Error("it waits for a container that was given up")
	}
	if c := w.Counts(); c != (WaitingCounts{Batches: 2, GivenUp: 1}) {
		t.Errorf("%+v", c)
	}
}

// While nobody watches nobody can tell, so the wait is longer; but it ends.
func TestTheWaitIsLongerWhileNobodyWatches(t *testing.T) {
	t.Parallel()
	d, at := NewDirectory(), time.Unix(1000, 0)
	d.hear(&kubev1.Watcher{Instance: "i", Complete: true}, 1, at)
	w := NewWaiting(d)
	ask := func(after time.Duration) bool { return w.Wait(of("a", "/kubepods/pod1/"), 1, at.Add(after)) }
	for after := time.Duration(0); after < MaxPatience; after += Step {
		if !ask(after) {
			t.Fatalf("it does not wait after %v", after)
		}
	}
	if ask(MaxPatience) {
		t.Error("it waits for ever")
	}
}

func TestWhatIsNotOfKubernetesDoesNotWait(t *testing.T) {
	t.Parallel()
	w := NewWaiting(NewDirectory())
	for _, cgroup := range []string{"/docker/", "/machine.slice/libpod-", "/user.slice/", ""} {
		if w.Wait(of("a", cgroup), 1, time.Unix(1000, 0)) {
			t.Errorf("what is in %s waits", cgroup)
		}
	}
}

func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	w := NewWaiting(NewDirectory())
	at := time.Unix(1000, 0)
	waiting := 0
	for i := range uint64(2 * maxUnknown) {
		if w.Wait(of(fmt.Sprintf("%06x", i+1), "/kubepods/pod1/"), i, at) {
			waiting++
		}
	}
	if waiting != maxWaiting || len(w.unknown) > maxUnknown || len(w.batches) > maxWaiting {
		t.Errorf("%d wait, %d unknown, %d batches", waiting, len(w.unknown), len(w.batches))
	}
	if c := w.Counts(); c.Full != 2*maxUnknown-maxWaiting {
		t.Errorf("%+v", c)
	}
	at = at.Add(forgetUnknown + time.Second)
	if !w.Wait(of("ffffff", "/kubepods/pod1/"), 1<<40, at) {
		t.Error("there is no room after all that is forgotten")
	}
}
