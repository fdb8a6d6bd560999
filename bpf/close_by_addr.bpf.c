// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The end of connections whose state is found by the address of their socket: it must be deleted before the address is
// another socket's.

#include "lib/conns_by_addr.h"
#include "lib/tls.h"

char _license[] SEC("license") = "Dual BSD/GPL";

SEC("raw_tp/inet_sock_set_state")
int on_state(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 sk = ctx->args[0];
	int before = ctx->args[1], after = ctx->args[2];
	struct conn *c;

	if (after == TCP_SYN_SENT || after == TCP_LISTEN)
		process_network();
	if (after == TCP_SYN_SENT)
		conn_dial((struct sock *)sk, owner_dial());
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

SEC("raw_tp/tcp_destroy_sock")
int on_destroy(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 sk = ctx->args[0];
	struct conn *c = conn_known((struct sock *)sk);

	goroutine_forget(sk);
	if (!c)
		return 0;
	exchange_close(c, 0);
	if (c->opaque == OPAQUE_TLS)
		tls_destroy(c);
	bpf_map_delete_elem(&conns_by_addr, &sk);
	return 0;
}
