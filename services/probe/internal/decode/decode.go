// SPDX-License-Identifier: Apache-2.0

// Package decode turns records of the kernel into events of the bus.
//
// A Batch is filled exchange by exchange and takes no memory once it has been full: events, their texts and their ids live in
// storage that the next filling overwrites. Marshal before Reset, and keep nothing of it.
package decode

import (
	"strings"
	"unicode/utf8"
	"unsafe"

	"golang.org/x/sys/unix"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/probe/internal/httphead"
	"github.com/busbar/busbar/services/probe/internal/kern"
)

// event is an exchange with the messages inside it, so that one allocation serves all of them for ever.
type event struct {
	exchange  eventv1.Exchange
	isHTTP    eventv1.Exchange_Http
	http      eventv1.Http
	isCrypted eventv1.Exchange_Encrypted
	encrypted eventv1.Encrypted
	key       eventv1.WireKey
}

// fill writes what the record says, except its protocol and the places in the batch's tables. Every field is assigned, because
// the event held another exchange before.
func (v *event) fill(e *kern.Exchange, clock Clock, text *arena) {
	x := &v.exchange
	x.Role = role(e.Role)
	x.Outcome = outcome(e.Flags)
	x.Abort = eventv1.Abort_ABORT_UNSPECIFIED
	if x.Outcome == eventv1.Outcome_OUTCOME_RESET {
		x.Abort = abort(e.Error)
	}
	x.StartUnixNano = clock.Unix(e.RequestStart)
	x.WaitNano = uint64(e.Wait) * 1000
	x.RequestEndNano = since(e.RequestStart, e.RequestEnd)
	x.ResponseStartNano = since(e.RequestStart, e.ResponseStart)
	x.EndNano = max(x.RequestEndNano, x.ResponseStartNano, since(e.RequestStart, e.ResponseEnd))
	x.RequestBytes, x.ResponseBytes = e.RequestBytes, e.ResponseBytes
	x.RequestHeadBytes, x.ResponseHeadBytes = e.RequestHead, e.ResponseHead
	x.TlsLibrary = library(e.TLS)
	x.TraceId, x.SpanId, x.ParentSpanId = text.bytes(e.TraceID[:]), text.bytes(e.SpanID[:]), nil
	if e.ParentSpanID != [8]byte{} {
		x.ParentSpanId = text.bytes(e.ParentSpanID[:])
	}
	x.TraceFlags = uint32(e.TraceFlags)
	x.WireKey = nil
	if e.Flags&kern.Keyed != 0 {
		v.key.OpenerIsn, v.key.AcceptorIsn, v.key.RequestSeq = e.OpenerISN, e.AcceptorISN, e.RequestSeq
		x.WireKey = &v.key
	}
	x.Thread = e.TID
	x.LocalAddress, x.LocalPort, x.PeerAddress, x.PeerPort, x.UnixPath = 0, uint32(e.LocalPort), 0, uint32(e.RemotePort), ""
}

// fillHTTP writes what the heads of an HTTP exchange say.
func (v *event) fillHTTP(request *httphead.Request, status uint16, fastCGI bool, text *arena) {
	h := &v.http
	h.Method, h.Path = text.string(request.Method), text.string(request.Path)
	h.Host, h.UserAgent = text.string(request.Host), text.string(request.UserAgent)
	h.Status, h.MinorVersion = uint32(status), uint32(request.Minor)
	h.PathTruncated, h.Fastcgi = request.PathTruncated, fastCGI
	v.isHTTP.Http = h
	v.exchange.Protocol = &v.isHTTP
}

// fillEncrypted writes what is known of a connection whose plaintext is not.
func (v *event) fillEncrypted(serverName []byte, version uint16, text *arena) {
	c := &v.encrypted
	c.ServerName, c.Version = text.string(serverName), uint32(version)
	v.isCrypted.Encrypted = c
	v.exchange.Protocol = &v.isCrypted
}

// texts returns the length of all texts.
func (v *event) texts() int {
	n := len(v.exchange.UnixPath)
	if v.exchange.Protocol == &v.isHTTP {
		return n + len(v.http.Method) + len(v.http.Path) + len(v.http.Host) + len(v.http.UserAgent)
	}
	return n + len(v.encrypted.ServerName)
}

func role(r kern.Role) eventv1.Role {
	switch r {
	case kern.Server:
		return eventv1.Role_ROLE_SERVER
	case kern.Client:
		return eventv1.Role_ROLE_CLIENT
	}
	return eventv1.Role_ROLE_UNSPECIFIED
}

// outcome tells how an exchange ended. Of several flags the one counts that leaves the least of the exchange.
func outcome(f kern.Flags) eventv1.Outcome {
	switch {
	case f&kern.Reset != 0:
		return eventv1.Outcome_OUTCOME_RESET
	case f&kern.NoResponse != 0:
		return eventv1.Outcome_OUTCOME_NO_RESPONSE
	case f&kern.ResponsePartial != 0 && f&(kern.Pipelined|kern.Unframed) != 0:
		return eventv1.Outcome_OUTCOME_SUPERSEDED
	case f&kern.ResponsePartial != 0:
		return eventv1.Outcome_OUTCOME_CLOSED
	}
	return eventv1.Outcome_OUTCOME_COMPLETE
}

// abort tells why a connection was reset, by the errno of its socket.
func abort(errno uint16) eventv1.Abort {
	switch unix.Errno(errno) {
	case 0:
		return eventv1.Abort_ABORT_LOCAL
	case unix.ECONNRESET:
		return eventv1.Abort_ABORT_PEER
	case unix.ETIMEDOUT:
		return eventv1.Abort_ABORT_TIMED_OUT
	case unix.EPIPE:
		return eventv1.Abort_ABORT_BROKEN_PIPE
	case unix.EHOSTUNREACH, unix.ENETUNREACH:
		return eventv1.Abort_ABORT_UNREACHABLE
	default:
		return eventv1.Abort_ABORT_OTHER
	}
}

func library(l kern.Library) eventv1.TlsLibrary {
	switch l {
	case kern.NoLibrary:
	case kern.OpenSSL:
		return eventv1.TlsLibrary_TLS_LIBRARY_OPENSSL
	case kern.GnuTLS:
		return eventv1.TlsLibrary_TLS_LIBRARY_GNUTLS
	case kern.GoTLS:
		return eventv1.TlsLibrary_TLS_LIBRARY_GO
	}
	return eventv1.TlsLibrary_TLS_LIBRARY_UNSPECIFIED
}

// since returns the nanoseconds from start to t, which is 0 if it was not seen. What was seen is at least one nanosecond after,
// since zero means unseen.
func since(start, t uint64) uint64 {
	if t == 0 {
		return 0
	}
	if t <= start {
		return 1
	}
	return t - start
}

// arena is where the texts of a batch live. It never grows in place, so what was taken from it stays where it is.
type arena []byte

// bytes returns a copy of b.
func (a *arena) bytes(b []byte) []byte {
	if len(*a)+len(b) > cap(*a) {
		*a = make(arena, 0, max(arenaSize, len(b))) // the old one lives on in what was taken from it
	}
	start := len(*a)
	*a = append(*a, b...)
	return (*a)[start:len(*a):len(*a)]
}

// string returns a copy of b as a string, and valid UTF-8, as protobuf wants it.
func (a *arena) string(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if !utf8.Valid(b) {
		return strings.ToValidUTF8(string(b), "\uFFFD")
	}
	c := a.bytes(b)
	// A string of the arena's bytes spares a copy and garbage for each text of each exchange. It may change only when the arena
	// is reset, and by then the batch has been marshalled and its events are void.
	return unsafe.String(unsafe.SliceData(c), len(c))
}
