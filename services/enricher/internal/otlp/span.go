// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"encoding/binary"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/enricher/internal/route"
)

// Fields of Span and Status.
const (
	spanTraceID    = tag(1<<3 | wireBytes)
	spanSpanID     = tag(2<<3 | wireBytes)
	spanParentID   = tag(4<<3 | wireBytes)
	spanName       = tag(5<<3 | wireBytes)
	spanKind       = tag(6<<3 | wireVarint)
	spanStart      = tag(7<<3 | wireFixed64)
	spanEnd        = tag(8<<3 | wireFixed64)
	spanAttributes = tag(9<<3 | wireBytes)
	spanStatus     = tag(15<<3 | wireBytes)
	statusCode     = tag(3<<3 | wireVarint)

	spanFlags = 16<<3 | 5 // fixed32; the only tag of two bytes

	kindServer  = 2
	kindClient  = 3
	statusError = 2

	flagSampled   = 0x001
	flagsOfParent = 0x100 // the next bit tells whether the parent is remote
	flagRemote    = 0x200
)

// appendSpan appends the Span of an exchange.
func (e *Encoder) appendSpan(b []byte, x *exchange, origin *eventv1.Origin, index int) []byte {
	trace, span, parent := x.ids(origin, index)
	b = appendField(b, spanTraceID, trace)
	b = appendField(b, spanSpanID, span)
	if parent != nil {
		b = appendField(b, spanParentID, parent)
	}
	b = x.appendName(b)
	b = appendVarint(b, spanKind, x.kind())
	b = appendFixed64(b, spanStart, x.start)
	b = appendFixed64(b, spanEnd, x.end)
	b = e.appendAttributes(b, x)
	if x.failed() {
		b = appendHead(b, spanStatus, 2)
		b = appendVarint(b, statusCode, statusError)
	}
	b = binary.AppendUvarint(b, spanFlags)
	return binary.LittleEndian.AppendUint32(b, x.flags(parent != nil))
}

// appendName appends "METHOD route", or the method alone.
func (x *exchange) appendName(b []byte) []byte {
	verb := x.method
	if verb == otherMethod {
		verb = "HTTP"
	}
	if x.route == "" {
		return appendField(b, spanName, verb)
	}
	b = appendHead(b, spanName, len(verb)+1+len(x.route))
	return append(append(append(b, verb...), ' '), x.route...)
}

func (x *exchange) kind() uint64 {
	if x.side == route.Client {
		return kindClient
	}
	return kindServer
}

// flags are the W3C flags, and whether the parent is of another process: that of a server is, that of a client is not.
func (x *exchange) flags(hasParent bool) uint32 {
	const w3c = 0xff
	flags := x.raw.GetTraceFlags() & w3c
	if !valid(x.raw.GetTraceId(), 16) {
		flags |= flagSampled
	}
	if hasParent {
		flags |= flagsOfParent
		if x.side == route.Server {
			flags |= flagRemote
		}
	}
	return flags
}

func (e *Encoder) appendAttributes(b []byte, x *exchange) []byte {
	const t = spanAttributes
	b = appendText(b, t, "http.request.method", x.method)
	if x.other != "" {
		b = appendText(b, t, "http.request.method_original", x.other)
	}
	if x.status != 0 {
		b = appendInt(b, t, "http.response.status_code", uint64(x.status))
	}
	if x.route != "" {
		b = appendText(b, t, "http.route", x.route)
	}
	if x.failed() {
		b = appendText(b, t, "error.type", x.fault())
	}
	b = appendText(b, t, "url.scheme", "http")
	b = appendText(b, t, "server.address", x.serverName())
	b = appendInt(b, t, "server.port", uint64(x.serverPort()))
	if x.side == route.Client {
		if e.url = x.appendURL(e.url[:0]); len(e.url) > 0 {
			b = appendText(b, t, "url.full", e.url)
		}
	} else {
		b = appendText(b, t, "client.address", x.peer)
		if x.path != "" {
			b = appendText(b, t, "url.path", x.path)
		}
	}
	b = appendText(b, t, "network.peer.address", x.peer)
	b = appendInt(b, t, "network.peer.port", uint64(x.raw.GetPeerPort()))
	switch x.raw.GetHttp().GetMinorVersion() {
	case 0:
		b = appendText(b, t, "network.protocol.version", "1.0")
	case 1:
		b = appendText(b, t, "network.protocol.version", "1.1")
	}
	if x.hasRequest {
		b = appendInt(b, t, "http.request.body.size", x.requestBody)
	}
	if x.hasResponse {
		b = appendInt(b, t, "http.response.body.size", x.responseBody)
	}
	if x.agent != "" {
		b = appendText(b, t, "user_agent.original", x.agent)
	}
	return b
}
