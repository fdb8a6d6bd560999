// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Tier kprobe: the functions of tier fentry, for kernels and machines without trampolines. What nothing that is called on the way
// tells of sends and receives on unix sockets, tracepoints at their ends do.

#include "lib/conns_by_addr.h"
#include "lib/msg.h"
#include "lib/regs.h"

char _license[] SEC("license") = "Dual BSD/GPL";

static __always_inline struct sock *kprobe_sock(void *ctx)
{
	return (struct sock *)regs_arg(ctx, 0);
}

SEC("kprobe/tcp_sendmsg_locked")
int on_send(void *ctx)
{
	msg_send(kprobe_sock(ctx), (struct msghdr *)regs_arg(ctx, 1), regs_arg(ctx, 2), false);
	return 0;
}

// What a send calls when it has put something into the socket, at its end and whenever it is about to wait.
SEC("kprobe/tcp_push")
int on_sent(void *ctx)
{
	msg_sent(kprobe_sock(ctx), false);
	return 0;
}

SEC("kprobe/do_tcp_sendpages")
int on_pages(void *ctx)
{
	msg_pages(kprobe_sock(ctx), regs_arg(ctx, 3));
	return 0;
}

SEC("kprobe/tcp_recvmsg")
int on_receive(void *ctx)
{
	__u32 flags = receive_flags_at == 3 ? regs_arg(ctx, 3) : regs_arg(ctx, 4);

	msg_receive(kprobe_sock(ctx), (struct msghdr *)regs_arg(ctx, 1), regs_arg(ctx, 2), flags);
	return 0;
}

SEC("kprobe/tcp_cleanup_rbuf")
int on_copied(void *ctx)
{
	msg_copied(kprobe_sock(ctx), regs_arg(ctx, 1), false);
	return 0;
}

SEC("kprobe/unix_stream_sendmsg")
int on_unix_send(void *ctx)
{
	struct msghdr *msg = (struct msghdr *)regs_arg(ctx, 1);

	msg_unix_begin((struct socket *)regs_arg(ctx, 0), msg, regs_arg(ctx, 2), DIR_TX, BPF_CORE_READ(msg, msg_flags));
	return 0;
}

SEC("kprobe/unix_stream_recvmsg")
int on_unix_receive(void *ctx)
{
	msg_unix_begin((struct socket *)regs_arg(ctx, 0), (struct msghdr *)regs_arg(ctx, 1), regs_arg(ctx, 2), DIR_RX, regs_arg(ctx, 3));
	return 0;
}

// For sockets of every kind, as are the next ones.
SEC("raw_tp/sock_send_length")
int on_unix_sent(struct bpf_raw_tracepoint_args *ctx)
{
	msg_unix_end(DIR_TX, (int)ctx->args[1]);
	return 0;
}

SEC("raw_tp/sock_recv_length")
int on_unix_received(struct bpf_raw_tracepoint_args *ctx)
{
	msg_unix_end(DIR_RX, (int)ctx->args[1]);
	return 0;
}
