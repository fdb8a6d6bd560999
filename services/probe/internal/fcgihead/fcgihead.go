// SPDX-License-Identifier: Apache-2.0

// Package fcgihead reads what the probe needs from what the kernel captured of a FastCGI request and of its response.
//
// Of the request that is the parameters that matter, each as a byte that says which (enum fcgi_parameter of bpf/lib/fcgi.h), a byte
// of length, and so many bytes of value; of the response it is the beginning of STDOUT. Both are hostile and end anywhere. What must
// not leave the node is removed as package httphead does it.
package fcgihead

import (
	"bytes"
	"slices"

	"github.com/busbar/busbar/services/probe/internal/httphead"
)

// The captured parameters, by number.
const (
	requestMethod  = 1
	requestURI     = 2
	scriptName     = 3
	pathInfo       = 4
	httpHost       = 5
	httpUserAgent  = 6
	serverProtocol = 7

	cut = 0x80 // added to the number when there is more of the value
)

// maxMethod is the longest method that package httphead knows.
const maxMethod = 24

// Parse reads a request and the status of its response: 200 unless STDOUT says otherwise, and 0 without a response. It reports
// false if there is no method. Slices point into the capture, save a path that had to be put together.
func Parse(params, stdout []byte) (r httphead.Request, status uint16, ok bool) {
	values, isCut := split(params)
	r = httphead.Request{Method: values[requestMethod], Minor: 1}
	if len(r.Method) == 0 || len(r.Method) > maxMethod || !httphead.IsMethod(r.Method) {
		return httphead.Request{}, 0, false
	}
	if uri := values[requestURI]; len(uri) > 0 {
		r.Target(uri, !isCut[requestURI])
	} else {
		path := values[scriptName]
		if len(values[pathInfo]) > 0 && !isCut[scriptName] {
			path = append(slices.Clip(path), values[pathInfo]...)
		}
		r.Target(path, !isCut[scriptName] && !isCut[pathInfo])
	}
	if host := values[httpHost]; len(host) > 0 && !isCut[httpHost] && r.Host == nil {
		r.Host = httphead.CleanHost(host)
	}
	if !isCut[httpUserAgent] {
		r.UserAgent = values[httpUserAgent]
	}
	if bytes.Equal(values[serverProtocol], []byte("HTTP/1.0")) {
		r.Minor = 0
	}
	return r, responseStatus(stdout), true
}

// split returns the values by number. One whose end is not captured counts as cut.
func split(params []byte) (values [serverProtocol + 1][]byte, isCut [serverProtocol + 1]bool) {
	for len(params) >= 2 {
		id, n := params[0]&^cut, int(params[1])
		value := params[2:]
		short := n > len(value)
		if short {
			n = len(value)
		}
		if int(id) < len(values) {
			values[id], isCut[id] = value[:n:n], short || params[0]&cut != 0
		}
		params = value[n:]
	}
	return values, isCut
}

// responseStatus reads the head of a CGI response (RFC 3875, section 6.3).
func responseStatus(stdout []byte) uint16 {
	if len(stdout) == 0 {
		return 0
	}
	status := uint16(200)
	for len(stdout) > 0 {
		line, rest, _ := bytes.Cut(stdout, []byte{'\n'})
		line = bytes.TrimRight(line, "\r")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte{':'})
		if value = bytes.TrimLeft(value, " \t"); bytes.EqualFold(name, []byte("Status")) {
			if code := digits(value); code != 0 {
				return code
			}
		} else if bytes.EqualFold(name, []byte("Location")) && len(value) > 0 {
			status = 302 // without a status, a redirection
		}
		stdout = rest
	}
	return status
}

// digits reads three digits that stand alone; 0 if they do not.
func digits(b []byte) uint16 {
	if len(b) < 3 || len(b) > 3 && b[3] != ' ' {
		return 0
	}
	n := uint16(0)
	for _, c := range b[:3] {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + uint16(c-'0')
	}
	if n < 100 {
		return 0
	}
	return n
}
