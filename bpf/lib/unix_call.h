// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Sends and receives on unix sockets between their beginning and their end, where both show. What is sent is looked at at
// the beginning; how much of it the socket has taken shows at the end.
#pragma once

#include "payload.h"
#include "unix.h"

// unix_offered looks at what a call is about to send. It tells whether the end of the call matters.
static __always_inline bool unix_offered(const struct call *call)
{
	struct conn *c = unix_find((struct sock *)call->sk);

	if (!c || c->opaque)
		return false;
	if (call->dir == DIR_TX && call->source != SOURCE_NONE)
		payload(c, call, c->moved[DIR_TX], call->size);
	return true;
}

// unix_moved counts what a call has moved, and looks at what it has received.
static __always_inline void unix_moved(const struct call *call, __u32 moved)
{
	struct sock *sk = (struct sock *)call->sk;
	struct conn *c = unix_known(sk, unix_peer(sk));
	__u32 dir = call->dir & 1, seq;

	if (!c || c->opaque || call->peek)
		return;
	seq = c->moved[dir];
	c->moved[dir] += moved;
	if (dir == DIR_RX || call->source == SOURCE_NONE)
		payload(c, call, seq, moved);
	unix_over(c, sk);
}
