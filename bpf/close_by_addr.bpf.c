// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The end of connections whose state is found by the address of their socket: it must be deleted before the address is
// another socket's.
//
// A softirq may find the program at work on its CPU, and then the kernel does not run it: each is there twice, and what one
// has done the other finds done.

#include "lib/conns_by_addr.h"
#include "lib/tls.h"

char _license[] SEC("license") = "Dual BSD/GPL";

static __always_inline int state(__u64 sk, int before, int after)
{
	struct conn *c;

	if (!close_begins(after))
		return 0;
	c = conn_known((struct sock *)sk);
	if (!c)
		return 0;
	close_state(c, (struct sock *)sk, before, after);
	tls_state(c, (struct sock *)sk, before, after);
	if (after == TCP_CLOSE && c->open == OPEN_NONE && c->opaque != OPAQUE_TLS)
		bpf_map_delete_elem(&conns_by_addr, &sk);
	return 0;
}

SEC("raw_tp/inet_sock_set_state")
int on_state(struct bpf_raw_tracepoint_args *ctx)
{
	int after = ctx->args[2];

	if (after == TCP_SYN_SENT || after == TCP_LISTEN)
		process_network();
	if (after == TCP_SYN_SENT)
		conn_dial((struct sock *)ctx->args[0], owner_dial());
	return state(ctx->args[0], ctx->args[1], after);
}

SEC("raw_tp/inet_sock_set_state")
int on_state_again(struct bpf_raw_tracepoint_args *ctx)
{
	return state(ctx->args[0], ctx->args[1], ctx->args[2]);
}

static __always_inline int destroy(__u64 sk)
{
	struct conn *c = conn_known((struct sock *)sk);

	goroutine_forget(sk);
	if (!c)
		return 0;
	exchange_close(c, 0);
	if (c->opaque == OPAQUE_TLS)
		tls_destroy(conn_ref(c));
	bpf_map_delete_elem(&conns_by_addr, &sk);
	return 0;
}

SEC("raw_tp/tcp_destroy_sock")
int on_destroy(struct bpf_raw_tracepoint_args *ctx)
{
	return destroy(ctx->args[0]);
}

SEC("raw_tp/tcp_destroy_sock")
int on_destroy_again(struct bpf_raw_tracepoint_args *ctx)
{
	return destroy(ctx->args[0]);
}
