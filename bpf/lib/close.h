// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The end of a connection.
#pragma once

#include "exchange.h"

// close_aborted tells whether a connection went straight to CLOSE: our end threw data away, or the peer reset it.
static __always_inline bool close_aborted(struct sock *sk, int before)
{
	return before == TCP_ESTABLISHED || before == TCP_CLOSE_WAIT || BPF_CORE_READ(sk, sk_err);
}

// close_unread tells whether the process may still read a response that arrived with the end of the connection.
static __always_inline bool close_unread(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	// The peer's FIN is counted in rcv_nxt and never read.
	return BPF_CORE_READ(tp, rcv_nxt) - BPF_CORE_READ(tp, copied_seq) > 1;
}

// close_begins tells whether a state is one in which an exchange may end. A server that closes has said all it will.
// Otherwise what is open ends when the connection does, and if by then the process has not read everything, when it lets
// go of the socket.
static __always_inline bool close_begins(int after)
{
	return after == TCP_CLOSE || after == TCP_FIN_WAIT1 || after == TCP_LAST_ACK;
}

// A process that ends TLS says so to its peer, who may be gone by then and answer with a reset, or say the same, which the
// process never reads: neither takes anything away from an exchange.
static __always_inline void close_state(struct conn *c, struct sock *sk, int before, int after)
{
	bool aborted = after == TCP_CLOSE && !c->closing && close_aborted(sk, before);

	if (after != TCP_CLOSE && c->rec.role != ROLE_SERVER)
		return;
	if (after == TCP_CLOSE && !aborted && close_unread(sk))
		return;
	exchange_close(c, aborted ? EXCHANGE_RESET | BPF_CORE_READ(sk, sk_err) << EXCHANGE_ERROR : 0);
}
