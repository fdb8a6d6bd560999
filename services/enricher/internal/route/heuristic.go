// SPDX-License-Identifier: Apache-2.0

package route

// appendHeuristic appends the route of a path by the looks of each segment alone. Empty segments do not count, and a parameter
// (";jsessionid=...") is no part of a segment.
func appendHeuristic(b []byte, path string) []byte {
	start := len(b)
	for depth := 0; path != ""; {
		segment := upTo(path[1:], "/")
		path = path[1+len(segment):]
		if segment = upTo(segment, ";"); segment == "" {
			continue
		}
		b = append(b, '/')
		if depth == maxSegments || !isName(segment) {
			b = append(b, wildcard...)
		} else {
			b = append(b, segment...)
		}
		if depth++; depth > maxSegments {
			break
		}
	}
	if len(b) == start {
		return append(b, '/')
	}
	return b
}
