// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Tier fentry: functions of the TCP socket, entered through a trampoline. They are reached by every way of moving bytes.
//
// The bytes of sendfile and splice are not seen, only their number.
//
// The kernel runs no program on a CPU where it is at work already. Where tasks can be preempted within one, others that come by before
// that one goes on would be missed: for them each program is there a second time.

#include "lib/conns.h"
#include "lib/msg.h"

char _license[] SEC("license") = "Dual BSD/GPL";

SEC("fentry/tcp_sendmsg_locked")
int BPF_PROG(on_send, struct sock *sk, struct msghdr *msg, __u64 size)
{
	msg_send(sk, msg, size, false);
	return 0;
}

SEC("fexit/tcp_sendmsg_locked")
int BPF_PROG(on_sent, struct sock *sk)
{
	msg_sent(sk, false);
	return 0;
}

SEC("fentry/do_tcp_sendpages")
int BPF_PROG(on_pages, struct sock *sk, void *page, int offset, __u64 size)
{
	msg_pages(sk, size);
	return 0;
}

static __always_inline int receive(__u64 *ctx)
{
	__u32 flags = ctx[3];

	if (receive_flags_at == 4) // there may be no such argument
		flags = ctx[4];
	msg_receive((struct sock *)ctx[0], (struct msghdr *)ctx[1], ctx[2], flags);
	return 0;
}

SEC("fentry/tcp_recvmsg")
int on_receive(__u64 *ctx)
{
	return receive(ctx);
}

SEC("fentry/tcp_cleanup_rbuf")
int BPF_PROG(on_copied, struct sock *sk, int copied)
{
	msg_copied(sk, copied, false);
	return 0;
}

SEC("fentry/unix_stream_sendmsg")
int BPF_PROG(on_unix_send, struct socket *socket, struct msghdr *msg, __u64 size)
{
	msg_unix_begin(socket, msg, size, DIR_TX, BPF_CORE_READ(msg, msg_flags));
	return 0;
}

SEC("fexit/unix_stream_sendmsg")
int BPF_PROG(on_unix_sent, struct socket *socket, struct msghdr *msg, __u64 size, int moved)
{
	msg_unix_end(DIR_TX, moved);
	return 0;
}

SEC("fentry/unix_stream_recvmsg")
int BPF_PROG(on_unix_receive, struct socket *socket, struct msghdr *msg, __u64 size, int flags)
{
	msg_unix_begin(socket, msg, size, DIR_RX, flags);
	return 0;
}

SEC("fexit/unix_stream_recvmsg")
int BPF_PROG(on_unix_received, struct socket *socket, struct msghdr *msg, __u64 size, int flags, int moved)
{
	msg_unix_end(DIR_RX, moved);
	return 0;
}

SEC("fentry/tcp_sendmsg_locked")
int BPF_PROG(on_send_again, struct sock *sk, struct msghdr *msg, __u64 size)
{
	msg_send(sk, msg, size, true);
	return 0;
}

SEC("fexit/tcp_sendmsg_locked")
int BPF_PROG(on_sent_again, struct sock *sk)
{
	msg_sent(sk, true);
	return 0;
}

SEC("fentry/tcp_recvmsg")
int on_receive_again(__u64 *ctx)
{
	return receive(ctx);
}

SEC("fentry/tcp_cleanup_rbuf")
int BPF_PROG(on_copied_again, struct sock *sk, int copied)
{
	msg_copied(sk, copied, true);
	return 0;
}

SEC("fentry/unix_stream_sendmsg")
int BPF_PROG(on_unix_send_again, struct socket *socket, struct msghdr *msg, __u64 size)
{
	msg_unix_begin(socket, msg, size, DIR_TX, BPF_CORE_READ(msg, msg_flags));
	return 0;
}

SEC("fexit/unix_stream_sendmsg")
int BPF_PROG(on_unix_sent_again, struct socket *socket, struct msghdr *msg, __u64 size, int moved)
{
	msg_unix_end(DIR_TX, moved);
	return 0;
}

SEC("fentry/unix_stream_recvmsg")
int BPF_PROG(on_unix_receive_again, struct socket *socket, struct msghdr *msg, __u64 size, int flags)
{
	msg_unix_begin(socket, msg, size, DIR_RX, flags);
	return 0;
}

SEC("fexit/unix_stream_recvmsg")
int BPF_PROG(on_unix_received_again, struct socket *socket, struct msghdr *msg, __u64 size, int flags, int moved)
{
	msg_unix_end(DIR_RX, moved);
	return 0;
}
