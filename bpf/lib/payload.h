// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Sends and receives between their beginning and their end. What is sent is looked at at the beginning, before the peer can
// answer it; what is received, when it is in the buffers of the process. Bytes that a send offered and the socket did not
// take are offered again at the same sequence number, and skipped then.
#pragma once

#include "tls.h"

// Of a send that is longer, the rest is looked at when the socket has taken it: the time of the last byte is then that
// of its leaving.
#define SEND_FIRST (64 << 10)

#ifdef LEGACY
// payload_parts is payload with what it needs of a call as numbers: where the bytes are, kind and number of segments as source_user
// takes them, how many bytes to skip and, above, the sequence number, and how many there are and, above, their direction.
__noinline int payload_parts(conn_param(c), __u64 base, __u32 what, __u64 from, __u64 size)
{
	conn_get(c);
	struct source src = {};
	__u32 dir = size >> 32, len = size;

	if (!c || !len)
		return 0;
	either(dir);
	src.kind = what & SOURCE_USER_IOVEC;
	src.base = base;
	src.skip = (__u32)from;
	src.segments = what >> SOURCE_SEGMENTS;
	tls_or_data(c, &src, dir, from >> 32, len, bpf_get_current_pid_tgid());
	return 0;
}

static __always_inline int payload(struct conn *c, const struct call *call, __u32 seq, __u32 len)
{
	return payload_parts(conn_ref(c), call->base, call->segments << SOURCE_SEGMENTS | (call->source & SOURCE_USER_IOVEC),
			     (__u64)seq << 32 | call->skip, (__u64)(call->dir & 1) << 32 | len);
}
#else
// payload hands bytes of a call to the core, the first of them at `seq`. A function of its own so that the verifier looks
// at it once.
__noinline int payload(struct conn *c, const struct call *call, __u32 seq, __u32 len)
{
	struct source src = {};
	__u32 dir;

	if (!c || !call || !len)
		return 0;
	dir = call->dir & 1;
	barrier_var(dir);
	src.kind = call->source & SOURCE_USER_IOVEC; // all but a packet
	src.base = call->base;
	src.skip = call->skip;
	src.segments = call->segments;
	tls_or_data(c, &src, dir, seq, len, bpf_get_current_pid_tgid());
	return 0;
}
#endif

// A request head that is longer than SEND_FIRST is looked at so far nevertheless: who made the request must be known before the peer
// can answer it.
#define SEND_HEAD (128 << 10)

// payload_first hands the beginning of a send to the core.
static __always_inline void payload_first(struct conn *c, const struct call *call)
{
	payload(c, call, call->seq, call->size < SEND_FIRST ? call->size : SEND_FIRST);
	if (call->size > SEND_FIRST && c->open != OPEN_NONE && c->request_dir == DIR_TX && c->stream[REQUEST].state == STREAM_HEAD)
		payload(c, call, call->seq, call->size < SEND_HEAD ? call->size : SEND_HEAD);
}

// payload_keep keeps what is needed at the end of a call.
static __always_inline void payload_keep(__u32 tid, const struct call *call)
{
	struct call *kept = bpf_map_lookup_elem(&calls, &tid);

	if (kept)
		*kept = *call;
	else if (bpf_map_update_elem(&calls, &tid, call, BPF_ANY))
		drop(DROP_CALL_STATE);
}

// payload_call returns the place of the call that a thread begins, cleared, for programs that have no room for it on the
// stack: before kernel 6.13 they have 512 bytes with all they call.
static __always_inline struct call *payload_call(__u32 tid)
{
	struct call *call = bpf_map_lookup_elem(&calls, &tid);
	__u32 zero = 0;
	const void *blank;

	if (call) {
		__builtin_memset(call, 0, sizeof(*call));
		return call;
	}
	blank = bpf_map_lookup_elem(&blank_conn, &zero);
	if (!blank)
		return NULL;
	if (bpf_map_update_elem(&calls, &tid, blank, BPF_ANY)) {
		drop(DROP_CALL_STATE);
		return NULL;
	}
	return bpf_map_lookup_elem(&calls, &tid);
}
