// SPDX-License-Identifier: Apache-2.0

// Package httphead reads what the probe needs from the captured beginning of an HTTP/1.x message.
//
// A capture is hostile and often cut: it holds at most the capture window of the kernel, and ends anywhere. Parsing takes no
// memory, never fails halfway, and returns slices of the capture. What must not leave the node is gone before anybody else sees
// it: queries, fragments and user information are in no result, not even when the cut hides the byte that would tell.
package httphead

import (
	"bytes"
	"strings"
)

// Request is what a request head says. Slices point into the capture.
type Request struct {
	Method []byte
	// Path of the target, without query and fragment. The authority for CONNECT, "*" for the asterisk form; empty for a target of
	// no known form.
	Path []byte
	// Host is the authority of an absolute target, else the Host field; without user information.
	Host      []byte
	UserAgent []byte
	Minor     uint8 // HTTP/1.Minor; 1 when the version is not in the capture
	// PathTruncated says that the capture ends inside the path.
	PathTruncated bool
}

// maxMethod is longer than every registered method (UPDATEREDIRECTREF has 17 letters).
const maxMethod = 24

// ParseRequest reads the head of a request. It reports false for bytes that begin with no method and space.
func ParseRequest(head []byte) (Request, bool) {
	end := bytes.IndexByte(head[:min(len(head), maxMethod+1)], ' ')
	if end < 1 || !IsMethod(head[:end]) {
		return Request{}, false
	}
	r := Request{Method: head[:end], Minor: 1}

	line, fields, whole := cutLine(head[end+1:])
	target, version, ended := bytes.Cut(line, []byte{' '})
	ended = ended || whole
	if len(version) == len("HTTP/1.0") && bytes.Equal(version, []byte("HTTP/1.0")) {
		r.Minor = 0
	}
	r.Target(target, ended)
	r.fields(fields)
	return r, true
}

// Target takes a request target apart (RFC 9112, section 3.2) and sets what it says, given the method. ended is false when the
// capture may lack its rest.
func (r *Request) Target(t []byte, ended bool) {
	switch {
	case bytes.Equal(r.Method, []byte("CONNECT")):
		authority, _, cut := cutAny(t, "/?#")
		if r.PathTruncated = !ended && !cut; !r.PathTruncated {
			r.Path = stripUser(authority)
		}
	case len(t) > 0 && t[0] == '/':
		path, _, cut := cutAny(t, "?#")
		r.Path, r.PathTruncated = path, !ended && !cut
	case len(t) == 1 && t[0] == '*':
		r.Path = t
	default:
		r.absolute(t, ended)
	}
}

// absolute reads a target of the form scheme://authority/path. While the end of the authority is not in sight all of it may be
// user information, so none of it is taken.
func (r *Request) absolute(t []byte, ended bool) {
	scheme, rest, ok := bytes.Cut(t, []byte("://"))
	if !ok || !isScheme(scheme) {
		r.PathTruncated = !ended
		return
	}
	authority, path, cut := cutAny(rest, "/?#")
	if !cut && !ended {
		r.PathTruncated = true
		return
	}
	r.Host = CleanHost(authority)
	if len(path) == 0 || path[0] != '/' {
		r.Path = t[len(scheme)+1:][:1] // "/", which is what no path means; one is at hand
		return
	}
	path, _, cut = cutAny(path, "?#")
	r.Path, r.PathTruncated = path, !ended && !cut
}

// fields reads the lines below the request line. A field whose end is not captured does not count: half a host is another host.
func (r *Request) fields(b []byte) {
	for len(b) > 0 && (r.Host == nil || r.UserAgent == nil) {
		line, rest, whole := cutLine(b)
		if !whole || len(line) == 0 {
			return
		}
		switch line[0] | 0x20 {
		case 'h':
			if v, ok := field(line, "host"); ok && r.Host == nil {
				r.Host = CleanHost(v)
			}
		case 'u':
			if v, ok := field(line, "user-agent"); ok && r.UserAgent == nil {
				r.UserAgent = v
			}
		}
		b = rest
	}
}

// cutLine returns the first line without its ending; whole is false when no line feed is in sight.
func cutLine(b []byte) (line, rest []byte, whole bool) {
	line = b
	i := bytes.IndexByte(b, '\n')
	if whole = i >= 0; whole {
		line, rest = b[:i], b[i+1:]
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, rest, whole
}

// cutAny splits b before the first byte of the set stops; found is false when there is none. A search per stop is several
// times faster than one loop over the bytes, because each search is vectorised.
func cutAny(b []byte, stops string) (before, after []byte, found bool) {
	before = b
	for i := range len(stops) {
		if at := bytes.IndexByte(before, stops[i]); at >= 0 {
			before = before[:at]
		}
	}
	return before, b[len(before):], len(before) < len(b)
}

// field returns the value of the line when it is the field of that lower-case name.
func field(line []byte, name string) ([]byte, bool) {
	if len(line) <= len(name) || line[len(name)] != ':' {
		return nil, false
	}
	for i := range len(name) {
		c := line[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != name[i] {
			return nil, false
		}
	}
	return bytes.TrimSpace(line[len(name)+1:]), true
}

// stripUser removes user information from an authority.
func stripUser(authority []byte) []byte {
	return authority[bytes.LastIndexByte(authority, '@')+1:]
}

// CleanHost returns a host with its port, or an empty slice for bytes that are none: a field is free text, and what a client
// put there by mistake may be a URL with a query.
func CleanHost(v []byte) []byte {
	v = stripUser(v)
	for _, c := range v {
		if 'a' <= c && c <= 'z' || '-' <= c && c <= ':' && c != '/' { // as nearly all are
			continue
		}
		if c <= '/' && (c <= ' ' || c == '#' || c == '/') || c == '?' || c == '\\' || c == 0x7f {
			return v[:0]
		}
	}
	return v
}

// IsMethod tells whether all bytes are such as methods are made of: those of a token (RFC 9110, section 5.6.2).
func IsMethod(b []byte) bool {
	for _, c := range b {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return true
}

func isScheme(b []byte) bool {
	for _, c := range b {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '+' && c != '-' && c != '.' {
			return false
		}
	}
	return len(b) > 0
}
