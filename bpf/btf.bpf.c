// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Tier btf: the socket's own tracepoints. They are reached by every way of moving bytes (system calls of any shape,
// io_uring, sendfile), run with the socket locked, and cost a third of what system-call tracepoints do. Recent kernels
// only: the payload of a packet is read through a dynptr.
//
// They miss what a process splices out of a socket; the gap is noticed at the next receive.
//
// The kernel runs no program on a CPU where it is at work already. Where tracepoints let tasks be preempted (after 6.18),
// others that come by before that one goes on would be missed: for them each program is there a second time. What the first
// one has seen it leaves alone. Unix sockets have no positions to tell by.

#include "kernel.h"

extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym;

#define socket_read(type, sk, member) (((type *)bpf_rdonly_cast((void *)(sk), bpf_core_type_id_kernel(type)))->member)

#include "lib/conns.h"
#include "lib/tls.h"
#include "lib/unix_receive.h"

char _license[] SEC("license") = "Dual BSD/GPL";

// tcp makes the members of a socket ones that are read without calling a helper.
static __always_inline const struct tcp_sock *tcp(const struct sock *sk)
{
	return bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_sock));
}

// conn_tcp is for sockets the verifier trusts, whose members are read directly.
static __always_inline bool conn_tcp(const struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	return sk->sk_protocol == IPPROTO_TCP && (family == AF_INET || family == AF_INET6);
}

// In the loop of tcp_sendmsg, before each part of the message is copied: the whole rest of the message is in the
// iterator, and at most `size_goal` of it are taken before the next call. Looking no further makes the time of the last
// byte right for a large send. Process context, socket locked.
static __always_inline int send(struct sock *sk, struct msghdr *msg, int size_goal, bool again)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct source src = {};
	struct conn *c;
	__u64 len;
	__u32 seq;

	if (!process_observed(process_find(id >> 32)))
		return 0;
	c = conn_find(sk);
	if (!c || c->opaque == OPAQUE_OTHER)
		return 0;
	len = msg->msg_iter.count;
	if (size_goal > 0 && len > size_goal)
		len = size_goal;
	seq = tcp(sk)->write_seq;
	if (again && c->passed[DIR_TX] == seq + (__u32)len)
		return 0;
	src.skip = msg->msg_iter.iov_offset;
	if (msg->msg_iter.iter_type == bpf_core_enum_value(enum iter_type, ITER_UBUF)) {
		src.kind = SOURCE_USER;
		src.base = conn_number(c, msg->msg_iter.ubuf);
	} else if (msg->msg_iter.iter_type == bpf_core_enum_value(enum iter_type, ITER_IOVEC)) {
		src.kind = SOURCE_IOVEC;
		src.base = conn_number(c, msg->msg_iter.__iov);
		src.segments = msg->msg_iter.nr_segs;
	}
	tls_or_data(c, &src, DIR_TX, seq, len, id);
	c->passed[DIR_TX] = seq + (__u32)len;
	return 0;
}

SEC("tp_btf/tcp_sendmsg_locked")
int BPF_PROG(on_send, struct sock *sk, struct msghdr *msg, struct sk_buff *skb, int size_goal)
{
	return send(sk, msg, size_goal, false);
}

SEC("tp_btf/tcp_sendmsg_locked")
int BPF_PROG(on_send_again, struct sock *sk, struct msghdr *msg, struct sk_buff *skb, int size_goal)
{
	return send(sk, msg, size_goal, true);
}

// Before a packet, or a part of one, is copied to the reader, for sockets of every kind. Where in the packet is not an
// argument: at `copied_seq`, or at the packet's beginning when a peek looks further than what was read. Process
// context, socket locked.
static __always_inline int receive(struct sk_buff *skb, int len, bool again)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct source src = {.kind = SOURCE_SKB};
	struct bpf_dynptr payload;
	const struct {
		__u32 seq, end_seq;
	} *first = (const void *)skb->cb; // TCP_SKB_CB(skb)
	__u32 seq, first_seq;
	struct sock *sk;
	struct conn *c;

	sk = skb->sk;
	if (!sk)
		return 0;
	if (sk->__sk_common.skc_family == AF_UNIX) {
		if (sk->sk_type == SOCK_STREAM && !again)
			unix_received(skb, len, id);
		return 0;
	}
	if (len <= 0 || !conn_tcp(sk) || !process_observed(process_find(id >> 32)))
		return 0;
	c = conn_find(sk);
	if (!c || c->opaque == OPAQUE_OTHER)
		return 0;
	// What is read from the error queue (completions of MSG_ZEROCOPY, time stamps) passes here too, with something else in cb.
	first_seq = first->seq;
	if (first->end_seq - first_seq - skb->len > 1)
		return 0;
	seq = tcp(sk)->copied_seq;
	if ((__s32)(first_seq - seq) > 0)
		seq = first_seq;
	if (again && c->passed[DIR_RX] == seq + len)
		return 0;
	src.skip = seq - first_seq;
	if (bpf_dynptr_from_skb((struct __sk_buff *)skb, 0, &payload))
		return 0;
	src.skb = &payload;
	tls_or_data(c, &src, DIR_RX, seq, len, id);
	c->passed[DIR_RX] = seq + len;
	return 0;
}

SEC("tp_btf/skb_copy_datagram_iovec")
int BPF_PROG(on_receive, struct sk_buff *skb, int len)
{
	return receive(skb, len, false);
}

SEC("tp_btf/skb_copy_datagram_iovec")
int BPF_PROG(on_receive_again, struct sk_buff *skb, int len)
{
	return receive(skb, len, true);
}
