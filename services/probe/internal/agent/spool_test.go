// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/busbar/busbar/kit/bus"
)

// fakeBus confirms nothing by itself.
type fakeBus struct {
	mu     sync.Mutex
	window int   // messages it takes without having confirmed them
	refuse error // what PublishAsync returns
	sent   []string
	flying map[string]func(error)
}

func (f *fakeBus) PublishAsync(m bus.Msg, done func(error)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.refuse != nil:
		return f.refuse
	case len(f.flying) >= f.window:
		return bus.ErrWindowFull
	}
	f.sent = append(f.sent, m.ID)
	f.flying[m.ID] = done
	return nil
}

// settle tells what became of a message.
func (f *fakeBus) settle(id string, err error) {
	f.mu.Lock()
	done := f.flying[id]
	delete(f.flying, id)
	f.mu.Unlock()
	done(err)
}

func (f *fakeBus) got() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sent)
}

func (f *fakeBus) refusing(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = err
}

// harness runs a spool in a bubble of its own time.
type harness struct {
	*spool
	bus  *fakeBus
	lost map[string]int // by reason; read while everything is blocked
	stop context.CancelFunc
	done chan struct{}
}

// start runs a spool with room for so many messages of ten bytes, and half of another.
func start(t *testing.T, room, window int) *harness {
	t.Helper()
	h := &harness{bus: &fakeBus{window: window, flying: map[string]func(error){}}, lost: map[string]int{}, done: make(chan struct{})}
	h.spool = newSpool(room*(messageBytes+10)+messageBytes/2, h.bus, func(reason string, m bus.Msg) { h.lost[reason] += m.Items })
	ctx, stop := context.WithCancel(t.Context())
	h.stop = stop
	go func() {
		defer close(h.done)
		h.run(ctx)
	}()
	return h
}

// add puts messages of ten bytes and three items.
func (h *harness) add(ids ...string) {
	for _, id := range ids {
		h.put(bus.Msg{ID: id, Data: make([]byte, 10), Items: 3})
	}
	h.kick()
	synctest.Wait()
}

func (h *harness) want(t *testing.T, sent []string, lost map[string]int) {
	t.Helper()
	synctest.Wait()
	if got := h.bus.got(); !slices.Equal(got, sent) {
		t.Errorf("sent %v, want %v", got, sent)
	}
	if !maps.Equal(h.lost, lost) {
		t.Errorf("lost %v, want %v", h.lost, lost)
	}
}

func TestSpoolSendsInOrderAndWaitsForRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, 10, 2)
		h.add("a", "b", "c", "d")
		h.want(t, []string{"a", "b"}, map[string]int{})
		h.bus.settle("b", nil)
		h.want(t, []string{"a", "b", "c"}, map[string]int{})
		h.bus.settle("a", nil)
		h.bus.settle("c", nil)
		h.want(t, []string{"a", "b", "c", "d"}, map[string]int{})
		h.stop()
		h.bus.settle("d", nil)
		<-h.done
		h.want(t, []string{"a", "b", "c", "d"}, map[string]int{})
	})
}

func TestSpoolDropsTheOldestWhenFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, 2, 1)
		h.add("flying")
		h.add("a", "b", "c", "d")
		h.want(t, []string{"flying"}, map[string]int{"spool": 6})
		if got, want := h.size(), 2*(messageBytes+10); got != want {
			t.Errorf("%d bytes wait, want %d", got, want)
		}
		h.bus.settle("flying", nil)
		synctest.Wait()
		h.bus.settle("c", nil)
		h.want(t, []string{"flying", "c", "d"}, map[string]int{"spool": 6})
		h.stop()
		h.bus.settle("d", nil)
		<-h.done
	})
}

func TestSpoolTriesAgainAfterAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, 10, 10)
		h.add("a")
		h.bus.settle("a", bus.ErrNoStream)
		h.add("b") // is no reason to try before the pause is over
		h.want(t, []string{"a"}, map[string]int{})
		time.Sleep(retryPause)
		h.want(t, []string{"a", "a", "b"}, map[string]int{})
		h.bus.settle("a", bus.ErrTooLarge)
		h.bus.settle("b", nil)

		h.bus.refusing(errors.New("passing"))
		h.add("c")
		h.bus.refusing(nil)
		time.Sleep(retryPause)
		h.want(t, []string{"a", "a", "b", "c"}, map[string]int{"too_large": 3})
		h.stop()
		h.bus.settle("c", nil)
		<-h.done
	})
}

func TestSpoolGivesUpWhenItEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, 10, 1)
		h.add("a", "b", "c")
		h.stop()
		began := time.Now()
		<-h.done
		if took := time.Since(began); took != drainTimeout {
			t.Errorf("gave up after %v, want %v", took, drainTimeout)
		}
		h.want(t, []string{"a"}, map[string]int{"shutdown": 6})
		h.bus.settle("a", bus.ErrClosed)
		h.want(t, []string{"a"}, map[string]int{"shutdown": 9})
	})
}
