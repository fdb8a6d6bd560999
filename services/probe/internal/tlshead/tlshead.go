// SPDX-License-Identifier: Apache-2.0

// Package tlshead reads what a TLS connection begins with: the name that the client asks for and the version that the server
// chose. Both are captured beginnings of what was sent, hostile, and end anywhere.
package tlshead

import "encoding/binary"

const (
	contentHandshake  = 22
	clientHello       = 1
	serverHello       = 2
	serverName        = 0  // extension; its only kind of name has the same number
	supportedVersions = 43 // extension
	maxName           = 255
)

// Parse reads the records that client and server sent first. The name is empty and the version 0 if they are not there, and it
// reports false if the client did not begin with a ClientHello. The name points into client.
func Parse(client, server []byte) (name []byte, version uint16, ok bool) {
	hello := handshake(client, clientHello)
	if hello == nil {
		return nil, 0, false
	}
	hello.skip(2 + 32) // version, random
	hello.skip(int(hello.uint8()))
	hello.skip(int(hello.uint16())) // cipher suites
	hello.skip(int(hello.uint8()))  // compressions
	hello.skip(2)                   // length of all extensions
	for !hello.short {
		kind, body := hello.uint16(), hello.take(int(hello.uint16()))
		if kind == serverName && body != nil {
			name = hostName(body)
		}
	}
	return name, chosen(server), true
}

// hostName reads the extension server_name (RFC 6066, section 3).
func hostName(extension []byte) []byte {
	r := reader{rest: extension}
	r.skip(2) // length of the list
	kind, name := r.uint8(), r.take(int(r.uint16()))
	if r.short || kind != serverName || len(name) > maxName {
		return nil
	}
	return name
}

// chosen reads the version out of a ServerHello: that of TLS 1.2, or of the extension that overrules it.
func chosen(server []byte) uint16 {
	hello := handshake(server, serverHello)
	if hello == nil {
		return 0
	}
	version := hello.uint16()
	hello.skip(32) // random
	hello.skip(int(hello.uint8()))
	hello.skip(2 + 1) // cipher suite, compression
	if hello.short {
		return 0
	}
	hello.skip(2) // length of all extensions
	for !hello.short {
		kind, body := hello.uint16(), hello.take(int(hello.uint16()))
		if kind == supportedVersions && len(body) == 2 {
			return binary.BigEndian.Uint16(body)
		}
	}
	return version
}

// handshake returns a reader of the handshake message of this kind that a record begins with, or nil if it does not. A message in
// several records is read to the end of the first.
func handshake(record []byte, kind uint8) *reader {
	r := &reader{rest: record}
	if r.uint8() != contentHandshake || r.uint8() != 3 {
		return nil
	}
	r.skip(1)
	r.limit(int(r.uint16()))
	if r.uint8() != kind {
		return nil
	}
	r.limit(int(r.uint8())<<16 | int(r.uint16()))
	if r.short {
		return nil
	}
	return r
}

// reader takes numbers from a beginning of a message. What is behind its end reads as zeros, and is remembered.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.rest, r.short = nil, true
		return nil
	}
	taken := r.rest[:n:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) skip(n int) { r.take(n) }

func (r *reader) limit(n int) { r.rest = r.rest[:min(n, len(r.rest))] }

func (r *reader) uint8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}
