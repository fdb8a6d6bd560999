// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"

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
}

// Manager runs the destinations that are wanted, each beside the others. Fill in the exported fields before Run.
type Manager struct {
	Bus       *bus.Bus
	Root      subject.Root
	Instance  string // unique among the exporters of one bus
	UserAgent string
	Log       *slog.Logger
	Metrics   *Metrics

	mu      sync.Mutex
	running map[string]*running // guarded by mu; changed by Run only
}

// running is a destination with what is needed to change it.
type running struct {
	wanted   Wanted
	resolved exporter // as it was when it was started; nil when it could not be resolved
	state    *state
	stop     context.CancelFunc
	done     chan struct{} // closed when it has stopped
}

// Run runs what was last wanted until ctx ends and everything has stopped. A destination whose settings, or what their
// references yield, have changed is started anew, after the old one has ended; the others are not touched. It returns an
// error only about a required destination.
func (m *Manager) Run(ctx context.Context, wanted <-chan map[string]Wanted) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for {
			select {
			case want := <-wanted:
				m.remove(want)
				for _, name := range slices.Sorted(maps.Keys(want)) {
					m.want(ctx, g, name, want[name])
				}
			case <-ctx.Done():
				return nil
			}
		}
	})
	return g.Wait()
}

// remove stops what is not wanted any more.
func (m *Manager) remove(want map[string]Wanted) {
	gone := make(map[string]*running)
	for name, r := range m.running {
		if _, ok := want[name]; !ok {
			gone[name] = r
			r.stop()
		}
	}
	for name, r := range gone {
		<-r.done
		m.Log.Info("destination removed, its stream stays", "destination", name)
		m.Metrics.forget(name)
		m.set(name, nil)
	}
}

// want starts a destination, unless it runs as it is wanted.
func (m *Manager) want(ctx context.Context, g *errgroup.Group, name string, w Wanted) {
	old := m.running[name]
	resolved, _ := w.Settings.resolve() // an error comes up again when it is opened
	if old != nil && reflect.DeepEqual(old.wanted, w) && reflect.DeepEqual(old.resolved, resolved) {
		return
	}
	log := m.Log.With("destination", name)
	r := &running{wanted: w, resolved: resolved, done: make(chan struct{})}
	ctx, r.stop = context.WithCancel(ctx)
	var previous <-chan struct{}
	if old == nil {
		r.state = newState(name, log, m.Metrics)
	} else {
		log.Info("destination changed, it starts anew")
		old.stop()
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
		return d.run(ctx, w.Required)
	})
	m.set(name, r)
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
	return out
}

// Phases returns how each destination does, by name.
func (m *Manager) Phases() map[string]Phase {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string]Phase, len(m.running))
	for name, r := range m.running {
		out[name] = r.state.get()
	}
	return out
}
