// SPDX-License-Identifier: Apache-2.0

package route

import "strings"

// maxSegments is the depth of a route that was not declared; what is deeper becomes one "*".
const maxSegments = 10

// assemble makes a route of a path: name gives each segment its name, told also the route so far, and whether the route
// goes on after it. Empty segments do not count, and a parameter (";jsessionid=...") is no part of a segment.
func assemble(path string, name func(place, segment string) (name string, more bool)) string {
	var out strings.Builder
	out.Grow(len(path))
	n := 0
	for segment := range strings.SplitSeq(path, "/") {
		segment, _, _ = strings.Cut(segment, ";")
		if segment == "" {
			continue
		}
		if n == maxSegments {
			out.WriteString("/" + wildcard)
			break
		}
		named, more := name(out.String(), segment)
		out.WriteByte('/')
		out.WriteString(named)
		n++
		if !more {
			break
		}
	}
	if n == 0 {
		return "/"
	}
	return out.String()
}

// heuristic is the route by the looks of each segment alone.
func heuristic(path string) string {
	return assemble(path, func(_, segment string) (string, bool) {
		if isName(segment) {
			return segment, true
		}
		return wildcard, true
	})
}
