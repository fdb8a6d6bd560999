// SPDX-License-Identifier: Apache-2.0

package route

const (
	// maxExact is how many routes of a shape are shown as they are.
	maxExact = 500
	// maxExactLength is their length in bytes.
	maxExactLength = 256
)

// exact holds the routes of a shape that RouteRules, or the framework of a program, want as they are: whole paths, for one. With more than
// maxExact of them none is shown any more, so that which ones are does not depend on which came first.
type exact struct {
	routes map[string]string // by themselves
	full   bool
}

// exactly returns a route as it is; ok is false if it may not be shown.
func (s *shape) exactly(route []byte) (shown string, ok bool) {
	if shown, ok = s.exact.routes[string(route)]; ok {
		return shown, true
	}
	if s.exact.full || len(route) > maxExactLength || s.total.Load() >= maxTotal {
		return "", false
	}
	s.changed = true
	shown = string(route)
	return shown, s.addExact(shown)
}

// addExact adds a route and tells whether it is there now.
func (s *shape) addExact(route string) bool {
	if _, ok := s.exact.routes[route]; ok || s.exact.full || len(route) > maxExactLength {
		return ok
	}
	if len(s.exact.routes) == maxExact {
		s.fillExact()
		return false
	}
	if s.exact.routes == nil {
		s.exact.routes = map[string]string{}
	}
	s.exact.routes[route] = route
	s.total.Add(1)
	return true
}

func (s *shape) fillExact() {
	s.total.Add(-int64(len(s.exact.routes)))
	s.exact = exact{full: true}
}
