// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// Role says which end of the connection the observed socket is.
type Role uint8

// The roles of an exchange.
const (
	Server Role = 1 // the request was received on this socket
	Client Role = 2 // the request was sent on this socket
)

// Context says where the trace id of an exchange comes from.
type Context uint8

// The origins of a trace id.
const (
	ContextRoot   Context = 0 // nobody handed one over: derived from the wire key
	ContextHeader Context = 1 // traceparent in the request head
	ContextHalf   Context = 2 // the client half of the same exchange, seen on this node
	ContextThread Context = 3 // the server exchange open on the calling thread
	ContextTask   Context = 4 // the one open on the calling goroutine, or on the one that started it
	ContextTick   Context = 5 // the one that the calling event loop is at work on
)

// Protocol says what an exchange is made of.
type Protocol uint8

// The protocols of an exchange.
const (
	HTTP    Protocol = 0
	FastCGI Protocol = 1 // the heads are the parameters that matter, as package fcgihead reads them, and the beginning of STDOUT
	TLS     Protocol = 2 // a connection whose plaintext cannot be seen; the heads are what it began with in each direction
)

// Library is the TLS library through which the plaintext of an exchange was seen.
type Library uint8

// The TLS libraries whose plaintext can be seen.
const (
	NoLibrary Library = 0
	OpenSSL   Library = 1
	GnuTLS    Library = 2
	GoTLS     Library = 3 // crypto/tls
)

// Flags qualify an exchange.
type Flags uint16

// The flags of an exchange.
const (
	Reset           Flags = 1 << iota // the connection was aborted while the exchange was open
	NoResponse                        // not one byte of a response
	RequestCut                        // the request head is longer than what was captured
	ResponseCut                       // the response is longer than what was captured of it
	RequestPartial                    // ended before the request was complete
	ResponsePartial                   // ended before the response was complete
	UntilClose                        // the response had no length: the connection's end is its end
	Unframed                          // framing was lost: the last times are those of the last bytes seen
	Pipelined                         // a further request was sent before this response was complete
	Upgraded                          // 101, or CONNECT: the connection speaks something else now
	Keyed                             // the wire key is valid
)

// Exchange is one HTTP request with its response, as the kernel wrote it (struct exchange_record of bpf/record.h).
// Times are CLOCK_BOOTTIME nanoseconds, 0 when the event was not seen.
type Exchange struct {
	kind             uint16
	Flags            Flags
	Role             Role
	family           uint8
	Context          Context
	TraceFlags       uint8
	RequestStart     uint64
	RequestEnd       uint64
	ResponseStart    uint64
	ResponseEnd      uint64
	RequestBytes     uint64 // head and body as on the wire
	ResponseBytes    uint64
	RequestHead      uint32 // length of the whole head, 0 when it never ended
	ResponseHead     uint32
	requestCaptured  uint16
	responseCaptured uint16
	Status           uint16 // 0 without a response
	LocalPort        uint16
	RemotePort       uint16
	Protocol         Protocol
	TLS              Library
	NetNS            uint32 // inode of the socket's network namespace
	localAddr        [16]byte
	remoteAddr       [16]byte
	TGID             uint32 // process and thread that read or wrote the request's first byte
	TID              uint32
	Cgroup           uint64 // cgroup v2 id of that process
	OpenerISN        uint32 // the wire key, valid under flag Keyed
	AcceptorISN      uint32
	RequestSeq       uint32
	Wait             uint32 // microseconds that the request lay in the socket before the server began to read it
	TraceID          [16]byte
	SpanID           [8]byte
	ParentSpanID     [8]byte // zero: a root
	Error            uint16  // under flag Reset: errno of the socket, 0 when this end aborted
	_                uint16
	_                uint32
}

// Address families. They are not those of package syscall so that the pure part of this package builds everywhere.
const (
	familyUnix  = 1
	familyInet6 = 10
)

// Unix tells whether the socket is a unix socket, which has a path instead of addresses and ports.
func (e *Exchange) Unix() bool { return e.family == familyUnix }

// AppendPath appends the last 32 bytes of the path of the listening unix socket; an abstract name begins with '@'.
func (e *Exchange) AppendPath(b []byte) []byte {
	start := len(b)
	b = append(append(b, e.localAddr[:]...), e.remoteAddr[:]...)
	if end := bytes.IndexByte(b[start:], 0); end >= 0 {
		b = b[:start+end]
	}
	return b
}

// SetPath makes the socket a unix socket; it is how a test of a consumer makes an Exchange without a kernel.
func (e *Exchange) SetPath(path string) {
	var both [32]byte
	copy(both[:], path[max(0, len(path)-len(both)):])
	e.family, e.localAddr, e.remoteAddr = familyUnix, [16]byte(both[:16]), [16]byte(both[16:])
}

// Local returns the address and port of the observed socket.
func (e *Exchange) Local() netip.AddrPort { return addrPort(e.family, &e.localAddr, e.LocalPort) }

// Remote returns the address and port of the peer.
func (e *Exchange) Remote() netip.AddrPort { return addrPort(e.family, &e.remoteAddr, e.RemotePort) }

// SetAddrs sets both addresses; it is how a test of a consumer makes an Exchange without a kernel.
func (e *Exchange) SetAddrs(local, remote netip.AddrPort) {
	e.family, e.LocalPort, e.RemotePort = familyInet6, local.Port(), remote.Port()
	if local.Addr().Is4() {
		e.family = 2
		a, b := local.Addr().As4(), remote.Addr().As4()
		copy(e.localAddr[:], a[:])
		copy(e.remoteAddr[:], b[:])
		return
	}
	e.localAddr, e.remoteAddr = local.Addr().As16(), remote.Addr().As16()
}

func addrPort(family uint8, addr *[16]byte, port uint16) netip.AddrPort {
	if family == familyInet6 {
		return netip.AddrPortFrom(netip.AddrFrom16(*addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(addr[:4])), port)
}

// ProcessEvent is a change in the life of a process.
type ProcessEvent uint8

// The events of a process.
const (
	Exec ProcessEvent = 1
	Fork ProcessEvent = 2 // a new process, not a thread
	Exit ProcessEvent = 3 // its last thread is gone
	// NeedsTLS: it listens, connects or begins TLS, and Verdict.TLS was not said: this is the time to look for its TLS libraries.
	NeedsTLS ProcessEvent = 4
)

// Process is a change in the life of a process (struct process_record of bpf/record.h).
type Process struct {
	kind     uint16
	Event    ProcessEvent
	_        uint8
	TGID     uint32
	Parent   uint32
	_        uint32
	Time     uint64 // CLOCK_BOOTTIME, ns
	Started  uint64 // start of the process: with TGID it names the process for ever
	Cgroup   uint64
	comm     [16]byte
	fileSize uint16
	argsSize uint16
	envSize  uint16
	_        uint16
}

// Comm returns the short name of the process, at most 15 bytes.
func (p *Process) Comm() string {
	for i, c := range p.comm {
		if c == 0 {
			return string(p.comm[:i])
		}
	}
	return string(p.comm[:])
}

// Sink takes what Read finds. Everything it is handed, slices included, is valid only during the call. Calls come
// from one goroutine, one after the other.
type Sink interface {
	// Exchange takes a finished exchange with the captured beginnings of its heads; of an HTTP response that is nothing.
	Exchange(e *Exchange, request, response []byte)
	// Process takes a change of a process. After Exec, file is the executable as the caller named it, args and env
	// are NUL-separated and may be cut at 512 and 2048 bytes; otherwise all three are empty.
	Process(p *Process, file, args, env []byte)
	// Idle is called whenever the ring is empty, at least every 250 ms: the moment to flush.
	Idle()
}

// Verdict is what user space decided about a process (struct proc of bpf/record.h).
type Verdict struct {
	Observe bool // else every hook returns at once
	Threads bool // one thread serves one request at a time: its client calls inherit the context
	TLS     bool // its TLS libraries are known: NeedsTLS is not reported
	// Goroutines serve requests: the client calls of one, and of those it started, inherit the context.
	Goroutines Goroutines
}

// The kinds of records (enum record_kind of bpf/record.h).
const (
	recordExchange = 1
	recordProcess  = 2
)

// proc is the value of map procs (struct proc of bpf/record.h).
type proc struct {
	verdict    uint8
	flags      uint8
	goid       uint16
	parentGoid uint16
	mP         uint8
	goidCache  uint8
	goidGen    uint64
}

// The flags of a process (enum proc_flags of bpf/record.h).
const (
	procThreads = 1 << 0
	procGo      = 1 << 1
	procTLS     = 1 << 3
)

func (p proc) bytes() []byte {
	b := []byte{p.verdict, p.flags}
	b = binary.NativeEndian.AppendUint16(b, p.goid)
	b = binary.NativeEndian.AppendUint16(b, p.parentGoid)
	b = append(b, p.mP, p.goidCache)
	return binary.NativeEndian.AppendUint64(b, p.goidGen)
}
