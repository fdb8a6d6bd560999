// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Tier fentry: functions of the TCP socket, entered through a trampoline. They are reached by every way of moving bytes.
//
// The bytes of sendfile and splice are not seen, only their number.

#include "lib/conns.h"
#include "lib/msg.h"

char _license[] SEC("license") = "Dual BSD/GPL";

SEC("fentry/tcp_sendmsg_locked")
int BPF_PROG(on_send, struct sock *sk, struct msghdr *msg, __u64 size)
{
	msg_send(sk, msg, size);
	return 0;
}

SEC("fexit/tcp_sendmsg_locked")
int BPF_PROG(on_sent, struct sock *sk)
{
	msg_sent(sk);
	return 0;
}

SEC("fentry/do_tcp_sendpages")
int BPF_PROG(on_pages, struct sock *sk, void *page, int offset, __u64 size)
{
	msg_pages(sk, size);
	return 0;
}

SEC("fentry/tcp_recvmsg")
int BPF_PROG(on_receive, struct sock *sk, struct msghdr *msg, __u64 size)
{
	__u32 flags = ctx[3];

	if (receive_flags_at == 4) // there may be no such argument
		flags = ctx[4];
	msg_receive(sk, msg, size, flags);
	return 0;
}

SEC("fentry/tcp_cleanup_rbuf")
int BPF_PROG(on_copied, struct sock *sk, int copied)
{
	msg_copied(sk, copied);
	return 0;
}
