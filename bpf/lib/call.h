// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// System calls that move bytes over TCP, between their entry and their return.
#pragma once

#include "conns_by_addr.h"
#include "payload.h"
#include "syscall.h"
#include "unix_call.h"

// Messages looked at in one sendmmsg or recvmmsg.
#define CALL_MESSAGES_MAX 8
// Bounded by the kernel: UIO_MAXIOV.
#define CALL_SEGMENTS_MAX 1024

// Where things are in struct msghdr and struct mmsghdr as a 64-bit process passes them. They are read one by one: whole,
// they would take a quarter of the stack that a program and all it calls have together before kernel 6.13.
#define MSGHDR_BUFFERS   16 // struct buffers
#define MMSGHDR_RECEIVED 56 // __u32
#define MMSGHDR_SIZE     64

// The list of buffers of a message: struct msghdr has the two side by side.
struct buffers {
	__u64 list;
	__u64 segments;
};

// call_socket returns the socket of a TCP or unix connection behind a file descriptor of the current process, or 0. A function of its own
// so that the verifier looks at it once.
__noinline __u64 call_socket(__u64 fd)
{
	struct sock *sk = syscall_socket(fd);
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	if (family == AF_UNIX)
		return unix_stream(sk) ? (__u64)sk : 0;
	if ((family != AF_INET && family != AF_INET6) || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	return (__u64)sk;
}

// call_length adds up a list of buffers.
__noinline __u64 call_length(__u64 list, __u64 segments)
{
	__u64 sum = 0, size;

	for (__u32 i = 0; i < CALL_SEGMENTS_MAX && i < segments; i++) {
		if (bpf_probe_read_user(&size, sizeof(size), (void *)(list + i * sizeof(struct iovec) + sizeof(__u64))))
			break;
		sum += size;
	}
	return sum;
}

// call_received adds up what a recvmmsg received, or a sendmmsg sent.
static __always_inline __u32 call_received(const struct call *call, __u32 count)
{
	__u32 sum = 0, size;

	for (__u32 i = 0; i < CALL_MESSAGES_MAX && i < count; i++)
		if (!bpf_probe_read_user(&size, sizeof(size), (void *)(call->base + i * MMSGHDR_SIZE + MMSGHDR_RECEIVED)))
			sum += size;
	return sum;
}

// call_messages hands on every message of a sendmmsg or recvmmsg.
static __always_inline void call_messages(struct conn *c, struct call *call, __u32 count, __u32 seq)
{
	__u64 message = call->base;
	struct buffers b;
	__u32 len;

	for (__u32 i = 0; i < CALL_MESSAGES_MAX && i < count; i++, message += MMSGHDR_SIZE) {
		if (bpf_probe_read_user(&b, sizeof(b), (void *)(message + MSGHDR_BUFFERS)))
			return;
		call->base = b.list;
		call->segments = b.segments;
		if (call->dir == DIR_TX)
			len = call_length(b.list, b.segments);
		else if (bpf_probe_read_user(&len, sizeof(len), (void *)(message + MMSGHDR_RECEIVED)))
			return;
		payload(c, call, seq, len);
		seq += len;
	}
}

// call_offered hands on what a call is about to send. It tells whether the call is to be met again at its return.
static __always_inline bool call_offered(struct conn *c, struct call *call)
{
	if (call->messages) {
		call_messages(c, call, call->messages, call->seq);
		return false;
	}
	payload_first(c, call);
	return call->size > SEND_FIRST;
}

// call_moved hands on what a call has received, or has sent as far as it was not looked at.
static __always_inline void call_moved(struct conn *c, struct call *call, __u32 moved)
{
	if (call->messages)
		call_messages(c, call, moved, call->seq);
	else
		payload(c, call, call->seq, moved);
}

// call_unix_enter looks at what a call is about to send on a unix socket. It tells whether the return of the call matters:
// only then it shows how many bytes it has moved.
static __always_inline bool call_unix_enter(struct call *call)
{
	struct conn *c;

	if (!call->messages || call->dir == DIR_RX)
		return unix_offered(call);
	c = unix_find((struct sock *)call->sk);
	if (!c || c->opaque)
		return false;
	call_messages(c, call, call->messages, c->moved[DIR_TX]);
	return true;
}

// call_unix_return counts what a call has moved, and looks at what it has received.
static __always_inline void call_unix_return(struct call *call, __u32 moved)
{
	struct sock *sk = (struct sock *)call->sk;
	__u32 dir = call->dir & 1, seq;
	struct conn *c;

	if (!call->messages) {
		unix_moved(call, moved);
		return;
	}
	c = unix_known(sk, unix_peer(sk));
	if (!c || c->opaque || call->peek)
		return;
	seq = c->moved[dir];
	c->moved[dir] += call_received(call, moved);
	if (dir == DIR_RX)
		call_messages(c, call, moved, seq);
	unix_over(c, sk);
}

// call_describe reads the arguments of a call on a TCP or unix socket; false if it is not on one or is of no interest.
static __always_inline bool call_describe(struct call *call, __u8 kind, const void *regs)
{
	struct buffers buffers;
	__u64 flags = 0;
	struct tcp_sock *tp;

	call->dir = kind == CALL_READ || kind == CALL_READV || kind == CALL_RECVFROM || kind == CALL_RECVMSG || kind == CALL_RECVMMSG
			    ? DIR_RX
			    : DIR_TX;
	call->sk = call_socket((__u32)call_arg(regs, kind == CALL_SPLICE ? 2 : 0));
	if (!call->sk && kind == CALL_SPLICE) {
		call->sk = call_socket((__u32)call_arg(regs, 0));
		call->dir = DIR_RX;
	}
	if (!call->sk)
		return false;
	call->source = SOURCE_USER_IOVEC;
	call->base = call_arg(regs, 1);
	switch (kind) {
	case CALL_RECVFROM:
		flags = call_arg(regs, 3);
	case CALL_READ:
	case CALL_WRITE:
	case CALL_SENDTO:
		call->source = SOURCE_USER;
		call->size = call_arg(regs, 2);
		break;
	case CALL_READV:
	case CALL_WRITEV:
		call->segments = call_arg(regs, 2);
		break;
	case CALL_RECVMSG:
	case CALL_SENDMSG:
		if (bpf_probe_read_user(&buffers, sizeof(buffers), (void *)(call->base + MSGHDR_BUFFERS)))
			return false;
		call->base = buffers.list;
		call->segments = buffers.segments;
		flags = call_arg(regs, 2);
		break;
	case CALL_RECVMMSG:
	case CALL_SENDMMSG:
		call->messages = call_arg(regs, 2);
		flags = call_arg(regs, 3);
		break;
	case CALL_SENDFILE:
	case CALL_SPLICE:
		call->source = SOURCE_NONE;
		break;
	}
	if (flags & (MSG_OOB | MSG_ERRQUEUE))
		return false;
	call->local = unix_stream((struct sock *)call->sk);
	tp = (struct tcp_sock *)call->sk; // a cast inside the macro would have `call` itself relocated
	if (call->dir == DIR_TX) {
		call->seq = BPF_CORE_READ(tp, write_seq);
		if (call->segments)
			call->size = call_length(call->base, call->segments);
		return true;
	}
	call->seq = BPF_CORE_READ(tp, copied_seq);
	call->peek = !!(flags & MSG_PEEK);
	if (flags & MSG_TRUNC && !call->local)
		call->source = SOURCE_NONE; // thrown away, not copied
	return true;
}
