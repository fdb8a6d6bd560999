// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"unicode/utf8"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/enricher/internal/route"
)

// Fields of Span and Status.
const (
	spanTraceID    = tag(1<<3 | wireBytes)
	spanSpanID     = tag(2<<3 | wireBytes)
	spanTraceState = tag(3<<3 | wireBytes)
	spanParentID   = tag(4<<3 | wireBytes)
	spanName       = tag(5<<3 | wireBytes)
	spanKind       = tag(6<<3 | wireVarint)
	spanStart      = tag(7<<3 | wireFixed64)
	spanEnd        = tag(8<<3 | wireFixed64)
	spanAttributes = tag(9<<3 | wireBytes)
	spanStatus     = tag(15<<3 | wireBytes)
	statusMessage  = tag(2<<3 | wireBytes)
	statusCode     = tag(3<<3 | wireVarint)

	spanFlags = 16<<3 | 5 // fixed32; the only tag of two bytes

	kindInner   = 1
	kindServer  = 2
	kindClient  = 3
	statusError = 2

	flagSampled   = 0x001
	flagsOfParent = 0x100 // the next bit tells whether the parent is remote
	flagRemote    = 0x200
)

// leastQueue is the wait from which on the time in the queue has a span of its own, nanoseconds.
const leastQueue = 1e6

// spanIDs say where a span is in its trace, and of how many it stands for others. parent is nil for a root.
type spanIDs struct {
	trace, span, parent []byte
	state               string // tracestate
}

// addSpans adds the span of an exchange to a block. If the request waited, two spans below it tell apart how long, and how long
// it was worked on. The work then has the id that the probe gave to the exchange, for what the process sent meanwhile belongs to it.
// It returns the ids of the span of the exchange.
func (e *Encoder) addSpans(b *block, x *exchange, origin *eventv1.Origin, index int) (ids spanIDs) {
	if limit := b.process.group.settings.MaxLength; max(len(x.path), len(x.host), len(x.agent)) > limit {
		short := *x
		short.path, short.host, short.agent = clip(x.path, limit), clip(x.host, limit), clip(x.agent, limit)
		e.result.Cut++
		x = &short
	}
	ids.trace, ids.span, ids.parent = x.ids(origin, index)
	ids.state = x.state
	if x.begin-x.start < leastQueue {
		b.add(func(to []byte) []byte { return e.appendSpan(to, x, ids) })
		return ids
	}
	whole, queue := derived(ids, "request"), derived(ids, "in queue")
	outer := spanIDs{ids.trace, whole[:], ids.parent, ids.state}
	b.add(func(to []byte) []byte { return e.appendSpan(to, x, outer) })
	flags := x.flags(false) | flagsOfParent
	waited, worked := spanIDs{ids.trace, queue[:], whole[:], ids.state}, spanIDs{ids.trace, ids.span, whole[:], ids.state}
	b.add(func(to []byte) []byte { return appendInner(to, "in queue", x.start, x.begin, waited, flags) })
	b.add(func(to []byte) []byte { return appendInner(to, "processing", x.begin, x.end, worked, flags) })
	return outer
}

// derived returns a span id that belongs to another one, the same whenever it is asked for.
func derived(of spanIDs, purpose string) [8]byte {
	var name [48]byte
	sum := sha256.Sum256(append(append(append(name[:0], of.trace...), of.span...), purpose...))
	return [8]byte(sum[:8])
}

// appendInner appends the Span of a part of an exchange.
func appendInner(b []byte, name string, start, end uint64, ids spanIDs, flags uint32) []byte {
	b = appendIDs(b, ids)
	b = appendField(b, spanName, name)
	b = appendVarint(b, spanKind, kindInner)
	b = appendFixed64(b, spanStart, start)
	b = appendFixed64(b, spanEnd, end)
	return appendFlags(b, flags)
}

// appendSpan appends the Span of an exchange.
func (e *Encoder) appendSpan(b []byte, x *exchange, ids spanIDs) []byte {
	b = appendIDs(b, ids)
	verb, object := x.spanName()
	b = appendName(appendHead(b, spanName, nameSize(verb, object)), verb, object)
	b = appendVarint(b, spanKind, x.kind())
	b = appendFixed64(b, spanStart, x.start)
	b = appendFixed64(b, spanEnd, x.end)
	if x.secret != nil {
		b = x.appendEncrypted(b)
	} else {
		b = e.appendHTTP(b, x)
	}
	b = x.appendNetwork(b)
	if x.failed() {
		kind, message := x.fault()
		b = appendText(b, spanAttributes, "error.type", kind)
		size := 2
		if message != "" {
			size += fieldSize(len(message))
		}
		b = appendHead(b, spanStatus, size)
		if message != "" {
			b = appendField(b, statusMessage, message)
		}
		b = appendVarint(b, statusCode, statusError)
	}
	return appendFlags(b, x.flags(ids.parent != nil))
}

func appendIDs(b []byte, ids spanIDs) []byte {
	b = appendField(b, spanTraceID, ids.trace)
	b = appendField(b, spanSpanID, ids.span)
	if ids.state != "" {
		b = appendField(b, spanTraceState, ids.state)
	}
	if ids.parent != nil {
		b = appendField(b, spanParentID, ids.parent)
	}
	return b
}

func appendFlags(b []byte, flags uint32) []byte {
	return binary.LittleEndian.AppendUint32(binary.AppendUvarint(b, spanFlags), flags)
}

// spanName returns the two parts of the name of the span: "METHOD route", or the method alone; "TLS server" for a connection that
// cannot be looked into.
func (x *exchange) spanName() (verb, object string) {
	if x.secret != nil {
		return "TLS", text(x.secret.GetServerName())
	}
	return httpName(x.method, x.route)
}

func httpName(method, route string) (verb, object string) {
	if method == otherMethod {
		return "HTTP", route
	}
	return method, route
}

// nameSize is how many bytes appendName appends.
func nameSize(verb, object string) int {
	if object == "" {
		return len(verb)
	}
	return len(verb) + 1 + len(object)
}

func appendName(b []byte, verb, object string) []byte {
	if b = append(b, verb...); object != "" {
		b = append(append(b, ' '), object...)
	}
	return b
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

// appendHTTP appends the attributes that HTTP has and other protocols have not.
func (e *Encoder) appendHTTP(b []byte, x *exchange) []byte {
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
	b = appendText(b, t, "url.scheme", x.scheme())
	if x.side == route.Client {
		if e.url = x.appendURL(e.url[:0]); len(e.url) > 0 {
			b = appendText(b, t, "url.full", e.url)
		}
	} else if x.path != "" {
		b = appendText(b, t, "url.path", x.path)
	}
	if x.raw.GetHttp().GetFastcgi() {
		b = appendText(b, t, "network.protocol.name", "fastcgi")
	} else if minor := x.raw.GetHttp().GetMinorVersion(); minor <= 1 {
		b = appendText(b, t, "network.protocol.version", [...]string{"1.0", "1.1"}[minor])
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

// appendEncrypted appends what is known of a connection that cannot be looked into. The conventions have no name for the bytes
// of a connection.
func (x *exchange) appendEncrypted(b []byte) []byte {
	const t = spanAttributes
	b = appendText(b, t, "network.protocol.name", "tls")
	switch x.secret.GetVersion() {
	case 0x0301:
		b = appendText(b, t, "network.protocol.version", "1.0")
	case 0x0302:
		b = appendText(b, t, "network.protocol.version", "1.1")
	case 0x0303:
		b = appendText(b, t, "network.protocol.version", "1.2")
	case 0x0304:
		b = appendText(b, t, "network.protocol.version", "1.3")
	}
	sent, received := x.raw.GetRequestBytes(), x.raw.GetResponseBytes()
	if x.side == route.Server {
		sent, received = received, sent
	}
	b = appendInt(b, t, "busbar.transmit.size", min(sent, math.MaxInt64))
	return appendInt(b, t, "busbar.receive.size", min(received, math.MaxInt64))
}

// appendNetwork appends who talked to whom.
func (x *exchange) appendNetwork(b []byte) []byte {
	const t = spanAttributes
	b = appendText(b, t, "server.address", x.server)
	if x.socket != "" {
		b = appendText(b, t, "network.transport", "unix")
		if x.side == route.Client {
			b = appendText(b, t, "network.peer.address", x.socket)
		}
		return b
	}
	b = appendInt(b, t, "server.port", uint64(x.serverPort()))
	if x.side == route.Server {
		b = appendText(b, t, "client.address", x.client)
	}
	b = appendText(b, t, "network.peer.address", x.peer)
	b = appendInt(b, t, "network.peer.port", uint64(x.raw.GetPeerPort()))
	return x.appendPeer(b)
}

// appendPeer appends the service at the other end: of a server, who is not known has none.
func (x *exchange) appendPeer(b []byte) []byte {
	const t = spanAttributes
	if !x.far.Known && x.side == route.Server {
		return b
	}
	b = appendText(b, t, "service.peer.name", x.far.Name)
	if x.far.Namespace != "" {
		b = appendText(b, t, "service.peer.namespace", x.far.Namespace)
	}
	return b
}

// clip cuts a text to a number of bytes, between two characters.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
