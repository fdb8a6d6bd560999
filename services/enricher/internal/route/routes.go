// SPDX-License-Identifier: Apache-2.0

// Package route turns paths into routes: the few names under which the many paths of a service are counted.
//
// Declared patterns come first, then the route that the framework of a program chose, if it was seen. What neither names is treated as
// declared, by default so that no service ever has many routes: segments that look like values become "*" at once, and names become
// "*" where there are too many of them. The last makes a route depend on what was seen before: shapes of paths are learned, bounded,
// and shared by replicas (see Changed and Join). No lookup ever waits for that.
package route

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	routev1 "github.com/busbar/busbar/contract/route/v1"
)

// Side tells requests that a service answers from those that it makes: the two have nothing in common.
type Side string

// The sides.
const (
	Server Side = "server"
	Client Side = "client"
)

// maxServices is how many sides of services are remembered at a time.
const maxServices = 4096

// Routes names the paths of every service. It is safe for concurrent use.
type Routes struct {
	places atomic.Int64  // of all shapes
	coarse atomic.Uint64 // see Coarse

	mu       sync.Mutex
	book     *Book
	services map[identity]*Service
	asked    uint64 // calls of Service

	changed struct { // locked last
		sync.Mutex
		services map[*Service]struct{}
		signal   chan struct{}
	}
}

type identity struct {
	namespace, name string
	side            Side
}

// New returns Routes that follow book and have learned nothing.
func New(book *Book) *Routes {
	r := &Routes{book: book, services: map[identity]*Service{}}
	r.changed.services, r.changed.signal = map[*Service]struct{}{}, make(chan struct{}, 1)
	return r
}

// Use makes all services follow another book. What was learned about them stays.
func (r *Routes) Use(book *Book) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.book = book
	for id, s := range r.services {
		s.use(book.For(id.namespace, id.name, id.side))
	}
}

// Service returns the routes of one side of a service. With very many services, those not asked for longest are forgotten here.
func (r *Routes) Service(namespace, name string, side Side) *Service {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.service(identity{namespace, name, side})
	r.asked++
	s.asked = r.asked
	return s
}

func (r *Routes) service(id identity) *Service {
	s := r.services[id]
	if s == nil {
		if len(r.services) == maxServices {
			r.forget()
		}
		id.namespace, id.name = strings.Clone(id.namespace), strings.Clone(id.name)
		s = &Service{routes: r, id: id, rules: r.book.For(id.namespace, id.name, id.side), shape: shape{total: &r.places}}
		r.services[id] = s
	}
	return s
}

// forget makes room for other services.
func (r *Routes) forget() {
	all := make([]*Service, 0, len(r.services))
	for _, s := range r.services {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Service) int { return cmp.Compare(a.asked, b.asked) })
	for _, s := range all[:len(all)/4] {
		s.leave()
		delete(r.services, s.id)
	}
}

// Places is how many places in paths are remembered.
func (r *Routes) Places() int64 { return r.places.Load() }

// Coarse is how many lookups returned a route less precise than asked for, because the service has too many.
func (r *Routes) Coarse() uint64 { return r.coarse.Load() }

// Changed is signalled when services may have changed. Nothing is sent twice before it is received.
func (r *Routes) Changed() <-chan struct{} { return r.changed.signal }

// Unsaved returns how many services have changed and were not taken since.
func (r *Routes) Unsaved() int {
	r.changed.Lock()
	defer r.changed.Unlock()
	return len(r.changed.services)
}

// TakeChanged returns the services about which something was learned since the last call, and those of SetChanged. Taking is told how many
// before they count as taken.
func (r *Routes) TakeChanged(taking func(n int)) []*Service {
	r.changed.Lock()
	defer r.changed.Unlock()
	taking(len(r.changed.services))
	out := make([]*Service, 0, len(r.changed.services))
	for s := range r.changed.services {
		out = append(out, s)
	}
	clear(r.changed.services)
	return out
}

// SetChanged has services returned by the next TakeChanged.
func (r *Routes) SetChanged(services ...*Service) {
	r.changed.Lock()
	defer r.changed.Unlock()
	for _, s := range services {
		r.changed.services[s] = struct{}{}
	}
	select {
	case r.changed.signal <- struct{}{}:
	default:
	}
}

// Join adds what others have learned about a service, stored at some time. If more is known here, the service has changed.
func (r *Routes) Join(from *routev1.Shape, stored time.Time) {
	id := identity{from.GetNamespace(), from.GetService(), Server}
	if from.GetSide() == routev1.Side_SIDE_CLIENT {
		id.side = Client
	}
	r.mu.Lock()
	s := r.service(id)
	r.mu.Unlock()
	if s.Join(from, stored) {
		r.SetChanged(s)
	}
}

// Stale returns the services that were asked for since the last call and whose shape was last stored before some time.
func (r *Routes) Stale(before time.Time) (stale []*Service) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.services {
		if s.asked > s.askedThen && s.wasStoredBefore(before) {
			stale = append(stale, s)
		}
		s.askedThen = s.asked
	}
	return stale
}

// All returns every service.
func (r *Routes) All() []*Service {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*Service, 0, len(r.services))
	for _, s := range r.services {
		all = append(all, s)
	}
	return all
}

// Service names the paths of one side of one service.
type Service struct {
	routes           *Routes
	id               identity
	asked, askedThen uint64 // when it was last asked for, and what that was at the last call of Stale; guarded by Routes

	mu      sync.Mutex
	rules   *Rules
	shape   shape
	stored  time.Time // when its shape was last stored
	scratch []byte
}

// Namespace is the namespace of the service.
func (s *Service) Namespace() string { return s.id.namespace }

// Name is the name of the service.
func (s *Service) Name() string { return s.id.name }

// Side is the side of the service.
func (s *Service) Side() Side { return s.id.side }

// Route is what is known about a path.
type Route struct {
	Name     string // "" when there is none
	NoSpan   bool   // RouteRules want no span of the exchange
	NoMetric bool   // nor that it counts in metrics
}

// Route names a path. Chosen is the route that the framework of the program chose, if that was seen. Proven says that the path is one that
// the service has: it answered with success.
func (s *Service) Route(path, chosen string, proven bool) Route {
	if path == "" || path[0] != '/' {
		return Route{} // the target of OPTIONS * or CONNECT
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var r Route
	_, r.NoSpan = s.rules.noSpan.first(path)
	_, r.NoMetric = s.rules.noMetric.first(path)
	if r.NoSpan && r.NoMetric {
		return r
	}
	r.Name = s.name(path, chosen, proven)
	if s.shape.changed {
		s.shape.changed = false
		s.routes.SetChanged(s)
	}
	return r
}

func (s *Service) name(path, chosen string, proven bool) string {
	if pattern, ok := s.rules.patterns.first(path); ok {
		return pattern
	}
	s.scratch = s.scratch[:0]
	switch {
	case chosen != "":
		s.scratch = append(s.scratch, chosen...)
	case s.rules.unmatched == configv1.RouteRules_UNMATCHED_UNSET:
		return ""
	case s.rules.unmatched == configv1.RouteRules_UNMATCHED_WILDCARD:
		return "/**"
	case s.rules.unmatched == configv1.RouteRules_UNMATCHED_PATH:
		s.scratch = append(s.scratch, path...)
	case s.rules.unmatched == configv1.RouteRules_UNMATCHED_HEURISTIC:
		s.scratch = appendHeuristic(s.scratch, path)
	default:
		return s.shape.route(path, proven)
	}
	if name, ok := s.shape.exactly(s.scratch); ok {
		return name
	}
	s.routes.coarse.Add(1)
	return s.shape.route(path, proven)
}

// Pack returns what was learned about the service, to be stored for others.
func (s *Service) Pack() *routev1.Shape {
	s.mu.Lock()
	defer s.mu.Unlock()
	packed := s.shape.pack()
	packed.Namespace, packed.Service, packed.Side = s.id.namespace, s.id.name, routev1.Side_SIDE_SERVER
	if s.id.side == Client {
		packed.Side = routev1.Side_SIDE_CLIENT
	}
	return packed
}

// Stored notes that what Pack returned was stored.
func (s *Service) Stored(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored = at
}

func (s *Service) wasStoredBefore(t time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.stored.IsZero() && s.stored.Before(t)
}

// Join adds what others have learned about the service, stored at some time, and tells whether more is known here.
func (s *Service) Join(from *routev1.Shape, stored time.Time) (more bool) {
	theirs := shape{total: new(atomic.Int64)}
	theirs.unpack(from)
	before := theirs.pack()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored = stored
	if s.routes.places.Load() > 2*maxTotal {
		return false // nothing may be written that is without it
	}
	s.shape.join(&theirs)
	s.shape.changed = false
	return !same(s.shape.pack(), before)
}

func (s *Service) use(rules *Rules) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = rules
}

// leave takes the service out of the count of places.
func (s *Service) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shape.total.Add(-int64(s.shape.places + len(s.shape.exact.routes)))
	s.shape.total = new(atomic.Int64)
}
