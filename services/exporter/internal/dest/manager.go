// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
)

// Wanted is a destination that shall run.
type Wanted struct {
	Settings  Settings
	Retention configv1.Retention
	Required  bool // if it cannot be opened at the first try, all of it ends; otherwise it is tried for ever

	discard bool // what waits is taken, counted and thrown away
}

// Manager runs the destinations that are wanted, each beside the others. Fill in the exported fields before Run.
type Manager struct {
	Bus       *bus.Bus
	Root      subject.Root
	Instance  string // unique among the exporters of one bus
	UserAgent string
	Log       *slog.Logger
	Metrics   *Metrics
	Interval  time.Duration // between two heartbeats of any service

	fleet *fleet

	mu      sync.Mutex          // guards what follows, which is changed by Run only
	running map[string]*running // those that leave are among them
	gone    map[string]Wanted   // what those were that have left
	stuck   map[string]string   // what to tell of streams of destinations that nobody declares
}

// running is a destination with what is needed to change it.
type running struct {
	wanted   Wanted
	resolved exporter // as it was when it was started; nil when it could not be resolved
	state    *state
	stop     context.CancelFunc
	done     chan struct{} // closed when it has stopped
	leaving  *leave        // nil while it is wanted
}

// Run runs what was last wanted until ctx ends and everything has stopped. A destination whose settings, or what their
// references yield, have changed is started anew, after the old one has ended; the others are not touched. One that is no
// longer wanted leaves as its resource said. It returns an error only about a required destination.
func (m *Manager) Run(ctx context.Context, wanted <-chan map[string]Wanted) error {
	m.fleet, m.gone = newFleet(m.Root, m.Instance, m.Interval), make(map[string]Wanted)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.fleet.listen(ctx, m.Bus, m.Root) })
	g.Go(func() error {
		var want map[string]Wanted // nil until it is known
		tick := time.NewTicker(m.Interval / 2)
		defer tick.Stop()
		for {
			select {
			case want = <-wanted:
				m.remove(want)
				for _, name := range slices.Sorted(maps.Keys(want)) {
					m.want(ctx, g, name, want[name])
				}
			case <-tick.C:
				if want == nil {
					continue
				}
				m.sweep(ctx, g)
				for name, w := range want {
					if m.running[name] == nil { // its stream had to go first
						m.start(ctx, g, name, w, nil)
					}
				}
			case <-ctx.Done():
				return nil
			}
		}
	})
	return g.Wait()
}

// want starts a destination, unless it runs as it is wanted.
func (m *Manager) want(ctx context.Context, g *errgroup.Group, name string, w Wanted) {
	old := m.running[name]
	if old != nil && old.leaving != nil && old.leaving.sealed {
		return // it starts when the old stream is gone
	}
	resolved, _ := w.Settings.resolve() // an error comes up again when it is opened
	if old != nil && reflect.DeepEqual(old.wanted, w) && reflect.DeepEqual(old.resolved, resolved) {
		m.leaves(name, old, nil)
		return
	}
	if old != nil {
		m.Log.Info("destination changed, it starts anew", "destination", name)
		old.stop()
	}
	m.start(ctx, g, name, w, old)
}

// start starts a destination, after the one whose place it takes has stopped; nil for none.
func (m *Manager) start(ctx context.Context, g *errgroup.Group, name string, w Wanted, old *running) *running {
	log := m.Log.With("destination", name)
	r := &running{wanted: w, done: make(chan struct{})}
	if !w.discard {
		r.resolved, _ = w.Settings.resolve()
	}
	ctx, r.stop = context.WithCancel(ctx)
	var previous <-chan struct{}
	if old == nil {
		r.state = newState(name, log, m.Metrics)
	} else {
		previous, r.state = old.done, old.state
	}
	d := &destination{
		name: name, instance: m.Instance, settings: w.Settings, retention: w.Retention, bus: m.Bus, root: m.Root, userAgent: m.UserAgent, log: log, metrics: m.Metrics, state: r.state,
	}
	g.Go(func() error {
		defer close(r.done)
		defer r.stop()
		if previous != nil {
			<-previous // two of them would fight over the port of a page
		}
		if w.discard {
			return d.discard(ctx, accumulates(w))
		}
		return d.run(ctx, w.Required)
	})
	m.set(name, r)
	return r
}

func (m *Manager) set(name string, r *running) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running == nil {
		m.running = make(map[string]*running)
	}
	if m.running[name] = r; r == nil {
		delete(m.running, name)
	}
}

// Degraded tells an operator what does not work, in the order of names.
func (m *Manager) Degraded() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, name := range slices.Sorted(maps.Keys(m.running)) {
		if d := m.running[name].state.degraded(); d != "" {
			out = append(out, d)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.stuck)) {
		out = append(out, m.stuck[name])
	}
	return out
}

// Names returns the destinations that are wanted, sorted.
func (m *Manager) Names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name, r := range m.running {
		if r.leaving == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Statuses returns how each destination does, in the order of names.
func (m *Manager) Statuses() []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Status, 0, len(m.running))
	for _, name := range slices.Sorted(maps.Keys(m.running)) {
		s := m.running[name].state.status()
		s.Leaving = m.running[name].leaving != nil
		all = append(all, s)
	}
	return all
}
