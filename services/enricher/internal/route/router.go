// SPDX-License-Identifier: Apache-2.0

// Package route turns paths into routes: the few names under which the many paths of a service are counted.
//
// Declared patterns come first. What they do not match is treated as declared, by default so that no service ever has many
// routes: segments that look like values become "*" at once, and names become "*" where there are too many of them. The
// last makes a route depend on what was seen before, so it is remembered per service, and it is bounded: a route that was
// not declared has at most 10 segments, a place at most 20 names, a service at most 2,000 places.
package route

import (
	"strings"
	"sync"

	configv1 "github.com/busbar/busbar/contract/config/v1"
)

// Side tells requests that a service answers from those that it makes: the two have nothing in common.
type Side string

// The sides.
const (
	Server Side = "server"
	Client Side = "client"
)

const (
	maxServices = 4096 // remembered at a time
	maxCached   = 4096 // paths whose routes are kept at hand, per service and side
	maxKeep     = 256  // bytes of a path that is kept at hand
)

// Routes names the paths of every service. It is safe for concurrent use.
type Routes struct {
	set Set

	mu      sync.Mutex
	book    *Book
	service map[serviceSide]*Service
}

type serviceSide struct {
	service string
	side    Side
}

// New returns Routes that follow book and share what they learn through set, which may be nil.
func New(book *Book, set Set) *Routes {
	return &Routes{set: set, book: book, service: map[serviceSide]*Service{}}
}

// Use makes all services follow another book. What was learned about them stays.
func (r *Routes) Use(book *Book) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.book = book
	for _, s := range r.service {
		s.use(book.For(s.name))
	}
}

// Service returns the routes of a service. Services are identified by their full name (namespace and name, if wanted);
// rules go by name. With very many services, what was learned about the others is forgotten.
func (r *Routes) Service(id, name string, side Side) *Service {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := serviceSide{id, side}
	s := r.service[key]
	if s == nil {
		if len(r.service) == maxServices {
			clear(r.service)
		}
		s = &Service{name: strings.Clone(name), shape: shape{key: "route/" + string(side) + "/" + id + ":", set: r.set}}
		s.use(r.book.For(name))
		r.service[serviceSide{strings.Clone(id), side}] = s
	}
	return s
}

// Service names the paths of one side of one service.
type Service struct {
	name string

	mu    sync.Mutex
	rules *Rules
	shape shape
	// cached holds routes by path, without and with proof.
	cached [2]map[string]Route
	asOf   int // shape.collapse when cached was begun
}

// Route is what is known about a path.
type Route struct {
	Name    string // "" when there is none
	Ignored bool   // the exchange leaves no span and no metric
}

// Route names a path. Proven says that the path is one that the service has: it answered with success.
func (s *Service) Route(path string, proven bool) Route {
	if path == "" || path[0] != '/' {
		return Route{} // the target of OPTIONS * or CONNECT
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	cached := &s.cached[0]
	if proven {
		cached = &s.cached[1]
	}
	route, ok := (*cached)[path]
	if ok {
		return route
	}
	route = s.decide(path, proven)
	if s.asOf != s.shape.collapse || len(*cached) >= maxCached {
		s.cached, s.asOf = [2]map[string]Route{}, s.shape.collapse
	}
	if *cached == nil {
		*cached = map[string]Route{}
	}
	if len(path) <= maxKeep {
		(*cached)[strings.Clone(path)] = route
	}
	return route
}

func (s *Service) decide(path string, proven bool) Route {
	if _, ok := first(s.rules.ignore, path); ok {
		return Route{Ignored: true}
	}
	if pattern, ok := first(s.rules.patterns, path); ok {
		return Route{Name: pattern}
	}
	switch s.rules.unmatched {
	case configv1.RouteRules_UNMATCHED_UNSET:
		return Route{}
	case configv1.RouteRules_UNMATCHED_PATH:
		return Route{Name: path}
	case configv1.RouteRules_UNMATCHED_WILDCARD:
		return Route{Name: "/**"}
	case configv1.RouteRules_UNMATCHED_HEURISTIC:
		return Route{Name: heuristic(path)}
	case configv1.RouteRules_UNMATCHED_UNSPECIFIED, configv1.RouteRules_UNMATCHED_LOW_CARDINALITY:
	}
	return Route{Name: s.shape.route(path, proven)}
}

func (s *Service) use(rules *Rules) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules, s.cached = rules, [2]map[string]Route{}
}
