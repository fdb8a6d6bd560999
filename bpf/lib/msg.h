// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The functions of the kernel through which bytes pass in and out of a TCP socket, whichever call brings them there. All
// but the one that begins a receive run with the socket locked. `tcp_cleanup_rbuf` is what every kind of receive calls when
// it has taken something, at its end and whenever it is about to wait. Kprobes are set at beginnings only: returns take
// from a small reserve, which threads that wait in a receive use up.
//
// Whoever includes this has included the connections of its kind.
//
// Each takes `again`: a program that is there a second time (fentry.bpf.c) has nothing to do with what the first one has handed on.
#pragma once

#include "payload.h"
#include "unix_call.h"

// Where the flags are among the arguments of tcp_recvmsg: set by user space.
const volatile __u32 receive_flags_at = 3;

// msg_kind tells of what kind the buffers of a message are, in the numbers of this kernel.
static __always_inline __u32 msg_kind(struct iov_iter *iter)
{
	struct iov_iter___5_13 *old = (void *)iter;

	if (bpf_core_field_exists(iter->iter_type))
		return BPF_CORE_READ(iter, iter_type);
	return BPF_CORE_READ(old, type) & ~1;
}

static __always_inline __u64 msg_list(struct iov_iter *iter)
{
	struct iov_iter___6_3 *old = (void *)iter;

	if (bpf_core_field_exists(iter->__iov))
		return (__u64)BPF_CORE_READ(iter, __iov);
	return (__u64)BPF_CORE_READ(old, iov);
}

// msg_describe notes where the buffers of a message are.
static __always_inline void msg_describe(struct call *call, struct sock *sk, struct msghdr *msg)
{
	struct iov_iter *iter = (void *)msg + bpf_core_field_offset(struct msghdr, msg_iter);
	__u32 kind = msg_kind(iter);
	__u64 at = BPF_CORE_READ(iter, iov_offset);

	call->sk = (__u64)sk;
	if (bpf_core_enum_value_exists(enum iter_type, ITER_UBUF) && kind == bpf_core_enum_value(enum iter_type, ITER_UBUF)) {
		call->source = SOURCE_USER;
		call->base = (__u64)BPF_CORE_READ(iter, ubuf) + at;
	} else if (kind == bpf_core_enum_value(enum iter_type, ITER_IOVEC)) {
		call->source = SOURCE_IOVEC;
		call->base = msg_list(iter);
		call->segments = BPF_CORE_READ(iter, nr_segs);
		call->skip = at;
	}
}

// msg_send: at the beginning of a send.
static __always_inline void msg_send(struct sock *sk, struct msghdr *msg, __u64 size, bool again)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 first = size < SEND_FIRST ? size : SEND_FIRST;
	struct call *call;
	struct conn *c;
	__u32 seq;

	if (!process_observed(process_find(id >> 32)))
		return;
	c = conn_find(sk);
	if (!c || c->opaque == OPAQUE_OTHER)
		return;
	seq = BPF_CORE_READ((struct tcp_sock *)sk, write_seq);
	if (again && c->passed[DIR_TX] == seq + first)
		return;
	call = payload_call(id);
	if (!call)
		return;
	msg_describe(call, sk, msg);
	call->dir = DIR_TX;
	call->size = size;
	call->seq = seq;
	payload_first(c, call);
	c->passed[DIR_TX] = seq + first;
	if (size <= SEND_FIRST)
		call->sk = 0;
}

// msg_sent: in a send, when the socket has taken some or all of it.
static __always_inline void msg_sent(struct sock *sk, bool again)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&calls, &tid);
	struct conn *c;
	__u32 taken;

	if (!call || call->sk != (__u64)sk || call->dir != DIR_TX)
		return;
	c = conn_known(sk);
	taken = BPF_CORE_READ((struct tcp_sock *)sk, write_seq) - call->seq;
	if (c && c->opaque != OPAQUE_OTHER && taken <= call->size && !(again && c->passed[DIR_TX] == call->seq + taken)) {
		payload(c, call, call->seq, taken);
		c->passed[DIR_TX] = call->seq + taken;
	}
	if (taken >= call->size)
		call->sk = 0;
}

// msg_pages: a send of pages, before kernel 6.5 the way of sendfile and splice.
static __always_inline void msg_pages(struct sock *sk, __u64 size)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct call call = {.dir = DIR_TX};
	struct conn *c;

	if (!process_observed(process_find(id >> 32)))
		return;
	c = conn_find(sk);
	if (c && c->opaque != OPAQUE_OTHER)
		payload(c, &call, BPF_CORE_READ((struct tcp_sock *)sk, write_seq), size);
}

// msg_receive: at the beginning of a receive. The socket is not locked yet.
static __always_inline void msg_receive(struct sock *sk, struct msghdr *msg, __u64 size, __u32 flags)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct call call = {};

	if (!process_observed(process_find(id >> 32)) || flags & (MSG_OOB | MSG_ERRQUEUE))
		return;
	msg_describe(&call, sk, msg);
	if (flags & MSG_TRUNC)
		call.source = SOURCE_NONE; // thrown away, not copied
	call.dir = DIR_RX;
	call.peek = !!(flags & MSG_PEEK);
	call.size = size;
	call.seq = BPF_CORE_READ((struct tcp_sock *)sk, copied_seq);
	payload_keep(id, &call);
}

// msg_matches tells whether `copied` bytes were copied by a receive that was kept, and not by a splice or another call
// that came after it.
static __always_inline bool msg_matches(const struct call *call, struct sock *sk, __u32 seq, __u32 copied)
{
	if (call->sk != (__u64)sk || call->dir != DIR_RX || copied > call->size)
		return false;
	if (call->peek)
		return seq == call->seq;
	return seq - copied - call->seq <= 1; // 1: a FIN behind the bytes was taken with them
}

// msg_copied: in a receive, when `copied` bytes of it were taken.
static __always_inline void msg_copied(struct sock *sk, int copied, bool again)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct call unseen = {}, *call;
	__u32 tid = id, seq;
	struct conn *c;

	if (!process_observed(process_find(id >> 32)))
		return;
	call = bpf_map_lookup_elem(&calls, &tid);
	if (copied <= 0) {
		if (copied < 0 && call)
			call->sk = 0; // it has failed
		return;
	}
	seq = BPF_CORE_READ((struct tcp_sock *)sk, copied_seq);
	if (call && msg_matches(call, sk, seq, copied)) {
		c = conn_find(sk);
		seq = call->seq;
	} else {
		c = conn_known(sk); // of a connection that begins with bytes we cannot read there is nothing to know
		seq -= copied;
		call = &unseen;
	}
	if (c && c->opaque != OPAQUE_OTHER && !(again && c->passed[DIR_RX] == seq + copied)) {
		payload(c, call, seq, copied);
		c->passed[DIR_RX] = seq + copied;
	}
}

// msg_unix_begin: at the beginning of a send or a receive on a unix socket. It has no sequence numbers and nothing that each
// receive calls, so the ends of both are needed as well. Done twice it does nothing else, and its end is noticed once.
static __always_inline void msg_unix_begin(struct socket *socket, struct msghdr *msg, __u64 size, __u32 dir, __u32 flags)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct call call = {};

	if (!process_observed(process_find(id >> 32)) || flags & (MSG_OOB | MSG_ERRQUEUE))
		return;
	msg_describe(&call, BPF_CORE_READ(socket, sk), msg);
	call.local = 1;
	call.dir = dir;
	call.peek = dir == DIR_RX && flags & MSG_PEEK;
	call.size = size;
	if (unix_offered(&call))
		payload_keep(id, &call);
}

// msg_unix_end: when it returns.
static __always_inline void msg_unix_end(__u32 dir, __s64 moved)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&calls, &tid);

	if (!call || !call->local || call->dir != dir)
		return;
	if (moved > 0 && call->sk)
		unix_moved(call, moved);
	call->sk = 0;
}
