// SPDX-License-Identifier: Apache-2.0

// Package decode turns records of the kernel into events of the bus.
//
// A Batch is filled exchange by exchange, each encoded as it comes, and takes no memory once it has been full. Marshal before Reset,
// and keep nothing of it.
package decode

import (
	"golang.org/x/sys/unix"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/probe/internal/kern"
)

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

// abort tells why a connection was reset, if it was, by the errno of its socket.
func abort(f kern.Flags, errno uint16) eventv1.Abort {
	if f&kern.Reset == 0 {
		return eventv1.Abort_ABORT_UNSPECIFIED
	}
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
