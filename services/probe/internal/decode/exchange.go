// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"github.com/busbar/busbar/services/probe/internal/kern"
)

// The fields of Exchange, of the messages inside it, and of ExchangeBatch (event.proto).
const (
	batchOrigin    = tag(1<<3 | wireBytes)
	batchProcess   = tag(2<<3 | wireBytes)
	batchAddress   = tag(3<<3 | wireBytes)
	batchExchange  = tag(4<<3 | wireBytes)
	exProcess      = tag(1<<3 | wireVarint)
	exRole         = tag(2<<3 | wireVarint)
	exOutcome      = tag(3<<3 | wireVarint)
	exStart        = tag(4<<3 | wireFixed64)
	exRequestEnd   = tag(5<<3 | wireVarint)
	exResponse     = tag(6<<3 | wireVarint)
	exEnd          = tag(7<<3 | wireVarint)
	exRequestSize  = tag(8<<3 | wireVarint)
	exResponseSize = tag(9<<3 | wireVarint)
	exRequestHead  = tag(10<<3 | wireVarint)
	exResponseHead = tag(11<<3 | wireVarint)
	exLocalAddress = tag(12<<3 | wireVarint)
	exLocalPort    = tag(13<<3 | wireVarint)
	exPeerAddress  = tag(14<<3 | wireVarint)
	exPeerPort     = tag(15<<3 | wireVarint)
	exTraceID      = tag(16<<3 | wireBytes)
	exSpanID       = tag(17<<3 | wireBytes)
	exParentSpanID = tag(18<<3 | wireBytes)
	exTraceFlags   = tag(19<<3 | wireVarint)
	exWireKey      = tag(20<<3 | wireBytes)
	exThread       = tag(21<<3 | wireVarint)
	exWait         = tag(22<<3 | wireVarint)
	exAbort        = tag(23<<3 | wireVarint)
	exUnixPath     = tag(24<<3 | wireBytes)
	exTLSLibrary   = tag(25<<3 | wireVarint)
	exHTTP         = tag(32<<3 | wireBytes)
	exEncrypted    = tag(33<<3 | wireBytes)

	keyOpener   = tag(1<<3 | wireFixed32)
	keyAcceptor = tag(2<<3 | wireFixed32)
	keyRequest  = tag(3<<3 | wireFixed32)

	httpMethod        = tag(1<<3 | wireBytes)
	httpPath          = tag(2<<3 | wireBytes)
	httpHost          = tag(3<<3 | wireBytes)
	httpStatus        = tag(4<<3 | wireVarint)
	httpMinorVersion  = tag(5<<3 | wireVarint)
	httpUserAgent     = tag(6<<3 | wireBytes)
	httpPathTruncated = tag(7<<3 | wireVarint)
	httpFastCGI       = tag(8<<3 | wireVarint)

	encryptedServerName = tag(1<<3 | wireBytes)
	encryptedVersion    = tag(2<<3 | wireVarint)
)

// places are where in the tables of a batch an exchange finds what it shares with others, or the path of its unix socket.
type places struct {
	process, local, peer uint32
	path                 []byte
}

// appendExchange appends the fields of an exchange in the order of their numbers.
func appendExchange(b []byte, e *kern.Exchange, h *Heads, at places, clock Clock) []byte {
	outcome := outcome(e.Flags)
	requestEnd, response := since(e.RequestStart, e.RequestEnd), since(e.RequestStart, e.ResponseStart)
	b = appendVarint(b, exProcess, uint64(at.process))
	b = appendVarint(b, exRole, uint64(role(e.Role)))
	b = appendVarint(b, exOutcome, uint64(outcome))
	b = appendFixed64(b, exStart, clock.Unix(e.RequestStart))
	b = appendVarint(b, exRequestEnd, requestEnd)
	b = appendVarint(b, exResponse, response)
	b = appendVarint(b, exEnd, max(requestEnd, response, since(e.RequestStart, e.ResponseEnd)))
	b = appendVarint(b, exRequestSize, e.RequestBytes)
	b = appendVarint(b, exResponseSize, e.ResponseBytes)
	b = appendVarint(b, exRequestHead, uint64(e.RequestHead))
	b = appendVarint(b, exResponseHead, uint64(e.ResponseHead))
	b = appendVarint(b, exLocalAddress, uint64(at.local))
	b = appendVarint(b, exLocalPort, uint64(e.LocalPort))
	b = appendVarint(b, exPeerAddress, uint64(at.peer))
	b = appendVarint(b, exPeerPort, uint64(e.RemotePort))
	b = appendContext(b, e)
	b = appendVarint(b, exThread, uint64(e.TID))
	b = appendVarint(b, exWait, uint64(e.Wait)*1000)
	b = appendVarint(b, exAbort, uint64(abort(e.Flags, e.Error)))
	b = appendText(b, exUnixPath, valid(at.path))
	b = appendVarint(b, exTLSLibrary, uint64(library(e.TLS)))
	if e.Protocol == kern.TLS {
		return appendEncrypted(b, h)
	}
	return appendHTTP(b, h, e.Protocol == kern.FastCGI)
}

// appendContext appends the place of an exchange in its trace, and its wire key.
func appendContext(b []byte, e *kern.Exchange) []byte {
	b = appendBytes(b, exTraceID, e.TraceID[:])
	b = appendBytes(b, exSpanID, e.SpanID[:])
	if e.ParentSpanID != [8]byte{} {
		b = appendBytes(b, exParentSpanID, e.ParentSpanID[:])
	}
	b = appendVarint(b, exTraceFlags, uint64(e.TraceFlags))
	if e.Flags&kern.Keyed == 0 {
		return b
	}
	b = appendHead(b, exWireKey, 0)
	start := len(b)
	b = appendFixed32(b, keyOpener, e.OpenerISN)
	b = appendFixed32(b, keyAcceptor, e.AcceptorISN)
	b = appendFixed32(b, keyRequest, e.RequestSeq)
	b[start-1] = byte(len(b) - start) // 15 at most
	return b
}

// appendHTTP appends what the heads of an HTTP exchange say.
func appendHTTP(b []byte, h *Heads, fastCGI bool) []byte {
	method, path, host, agent := h.Method, valid(h.Path), valid(h.Host), valid(h.UserAgent)
	size := textSize(method) + textSize(path) + textSize(host) + varintSize(uint64(h.Status)) + varintSize(uint64(h.Minor)) +
		textSize(agent) + varintSize(one(h.PathTruncated)) + varintSize(one(fastCGI))
	b = appendHead(b, exHTTP, size)
	b = appendText(b, httpMethod, method)
	b = appendText(b, httpPath, path)
	b = appendText(b, httpHost, host)
	b = appendVarint(b, httpStatus, uint64(h.Status))
	b = appendVarint(b, httpMinorVersion, uint64(h.Minor))
	b = appendText(b, httpUserAgent, agent)
	b = appendVarint(b, httpPathTruncated, one(h.PathTruncated))
	return appendVarint(b, httpFastCGI, one(fastCGI))
}

// appendEncrypted appends what is known of a connection whose plaintext is not.
func appendEncrypted(b []byte, h *Heads) []byte {
	name := valid(h.ServerName)
	b = appendHead(b, exEncrypted, textSize(name)+varintSize(uint64(h.Version)))
	b = appendText(b, encryptedServerName, name)
	return appendVarint(b, encryptedVersion, uint64(h.Version))
}

func one(yes bool) uint64 {
	if yes {
		return 1
	}
	return 0
}
