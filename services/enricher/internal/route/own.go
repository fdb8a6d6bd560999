// SPDX-License-Identifier: Apache-2.0

package route

// Own is what a workload says about its own paths. It comes before RouteRules. Nil says nothing.
type Own struct{ patterns, ignore matcher }

// NewOwn returns what patterns of routes, and of paths that leave neither span nor metric, say.
func NewOwn(patterns, ignore []Pattern) *Own {
	return &Own{newMatcher(patterns), newMatcher(ignore)}
}

// Route names a path of a request that the workload answered; ok is false if nothing is said about it.
func (o *Own) Route(path string) (r Route, ok bool) {
	if o == nil || path == "" || path[0] != '/' {
		return Route{}, false
	}
	if _, ok = o.ignore.first(path); ok {
		return Route{NoSpan: true, NoMetric: true}, true
	}
	r.Name, ok = o.patterns.first(path)
	return r, ok
}
