// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
)

// A destination that is no longer declared leaves. Its resource says what becomes of what waits for it: it is delivered, for as
// long as draining may take; or discarded, which is counted; and then the stream goes. It goes when nothing waits in it and no
// heartbeat has named the destination for a while, of a router that would write to it or of another exporter that
// reads it. Should somebody write nevertheless, from a plan of before, then the seal shows it: from the seal on nothing comes in, so a
// stream that is found empty behind it is empty. A stream that is made anew later is one that was left behind.

// reasonRemoved is why records are dropped that waited for a destination that is no longer declared.
const reasonRemoved = "removed"

// leave is the story of a destination that leaves.
type leave struct {
	until   time.Time // when what still waits is discarded
	discard bool
	sealed  bool
	mark    mark
}

// mark is how far a stream had come at some time.
type mark struct {
	last uint64
	at   time.Time
}

// remove has those leave that are not wanted any more.
func (m *Manager) remove(want map[string]Wanted) {
	for name, r := range m.running {
		if _, ok := want[name]; ok || r.leaving != nil {
			continue
		}
		switch r.wanted.Retention.OnRemove {
		case configv1.Drain:
			m.Log.Info("destination removed, what waits for it is delivered", "destination", name, "for", r.wanted.Retention.DrainTimeout)
			m.leaves(name, r, &leave{until: time.Now().Add(r.wanted.Retention.DrainTimeout)})
		case configv1.Discard:
			m.Log.Info("destination removed, what waits for it is discarded", "destination", name)
			m.leaves(name, r, &leave{until: time.Now()})
		case configv1.Keep, "":
			r.stop()
			<-r.done
			m.Log.Info("destination removed, its stream stays", "destination", name)
			m.forget(name)
		}
	}
}

// leaves notes that a destination leaves, or that it does no longer.
func (m *Manager) leaves(name string, r *running, l *leave) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.leaving = l
	if l != nil {
		m.gone[name] = r.wanted
	}
}

// discard has a destination take and count what waits, instead of handing it over.
func (m *Manager) discard(ctx context.Context, g *errgroup.Group, name string, r *running) {
	r.stop()
	<-r.done
	w := r.wanted
	w.discard = true
	next := m.start(ctx, g, name, w, r)
	m.leaves(name, next, &leave{discard: true})
}

// sweep takes those that leave a step further, and has those leave that were removed while nobody looked.
func (m *Manager) sweep(ctx context.Context, g *errgroup.Group) {
	if m.Bus.Ready() != nil {
		return
	}
	for name, r := range m.running {
		if r.leaving == nil || !r.leaving.sealed && !m.fleet.unused(name) {
			continue // a router that refuses the change sends on, and what it sends is taken
		}
		if !r.leaving.discard && time.Now().After(r.leaving.until) {
			m.Log.Info("what waits for the removed destination is discarded", "destination", name)
			m.discard(ctx, g, name, r)
			continue
		}
		if err := m.end(ctx, name, r); err != nil && ctx.Err() == nil {
			m.Log.Warn("stream of a removed destination stays for now", "destination", name, "error", err)
		}
	}
	if err := m.leftBehind(ctx, g); err != nil && ctx.Err() == nil {
		m.Log.Debug("streams cannot be listed", "error", err)
	}
}

// end removes the stream of a destination that leaves and that nobody uses, if nothing waits in it.
func (m *Manager) end(ctx context.Context, name string, r *running) error {
	stream := m.Root.OutStream(name).Name
	state, err := m.Bus.Stream(ctx, stream)
	if errors.Is(err, bus.ErrNotFound) {
		return m.over(ctx, name, r)
	}
	if err != nil {
		return err
	}
	empty, err := m.empty(ctx, stream, r, state.Last)
	if err != nil || !empty {
		return err
	}
	if err := m.Bus.Seal(ctx, stream); err != nil {
		return err
	}
	r.leaving.sealed = true
	sealed, err := m.Bus.Stream(ctx, stream)
	if err != nil || sealed.Last != state.Last { // somebody was faster; it is empty the next time
		return err
	}
	return m.over(ctx, name, r)
}

// empty tells whether everything up to the last message of the stream of a destination that leaves is done with.
func (m *Manager) empty(ctx context.Context, stream string, r *running, last uint64) (bool, error) {
	if !accumulates(r.wanted) {
		at, err := m.Bus.Position(ctx, stream, durable)
		if errors.Is(err, bus.ErrNotFound) {
			return false, nil // it is being made
		}
		return err == nil && at.Pending == 0 && at.Unacked == 0, err
	}
	if r.wanted.discard {
		return true, nil
	}
	before := r.leaving.mark
	r.leaving.mark = mark{last, time.Now()}
	pending, told := r.state.waits()
	return before.last == last && pending == 0 && told.After(before.at), nil
}

// accumulates tells whether a destination keeps its place in the stream by itself.
func accumulates(w Wanted) bool {
	return slices.Contains([]string{"prometheus", "prometheusremotewrite"}, w.Retention.Exporter)
}

// over ends a destination that has left.
func (m *Manager) over(ctx context.Context, name string, r *running) error {
	r.stop()
	<-r.done
	if pending, _ := r.state.waits(); r.wanted.discard && accumulates(r.wanted) {
		m.Metrics.drop(name, reasonRemoved, int(pending)) //nolint:gosec // far below
	}
	if err := errors.Join(m.Bus.Remove(ctx, m.Root.OutStream(name).Name), m.Bus.Remove(ctx, m.Root.StateStream(name).Name)); err != nil {
		return err
	}
	m.Log.Info("destination has left, its stream is removed", "destination", name)
	m.forget(name)
	return nil
}

// forget removes what is known of a destination.
func (m *Manager) forget(name string) {
	m.Metrics.forget(name)
	m.set(name, nil)
}

// leftBehind looks for streams whose destinations nobody declares: removed while no exporter ran, or made anew since by a router that
// had not heard. What was to be drained can be only if this process knows how; otherwise it stays until somebody declares the
// destination again, or its age ends it.
func (m *Manager) leftBehind(ctx context.Context, g *errgroup.Group) error {
	streams, err := m.Bus.Streams(ctx, string(m.Root)+".out.>")
	if err != nil {
		return err
	}
	stuck := make(map[string]string)
	for _, s := range streams {
		name := s.Metadata[subject.MetaDestination]
		if name == "" || m.running[name] != nil || m.Root.OutStream(name).Name != s.Name || !m.fleet.unused(name) {
			continue
		}
		w, known := m.gone[name]
		w.Retention.Exporter = s.Metadata[subject.MetaExporter]
		switch configv1.Removal(s.Metadata[subject.MetaOnRemove]) {
		case configv1.Discard:
			w.discard = true
		case configv1.Drain:
			if !known {
				waits, err := m.unread(ctx, s, w)
				if err != nil {
					return err
				}
				if w.discard = waits == 0; !w.discard {
					stuck[name] = fmt.Sprintf("stream %s: %d messages wait for destination %s, which nobody declares any more: declare it again, or remove the stream", s.Name, waits, name)
					continue
				}
			}
		default:
			continue
		}
		r := m.start(ctx, g, name, w, nil)
		m.leaves(name, r, &leave{discard: w.discard, until: time.Now().Add(w.Retention.DrainTimeout)})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stuck = stuck
	return nil
}

// unread counts the messages of a stream that its destination has not taken.
func (m *Manager) unread(ctx context.Context, s bus.StreamState, w Wanted) (uint64, error) {
	at, err := m.Bus.Position(ctx, s.Name, durable)
	if errors.Is(err, bus.ErrNotFound) || accumulates(w) {
		return s.Messages, nil
	}
	return at.Pending + uint64(max(0, at.Unacked)), err //nolint:gosec // not negative
}
