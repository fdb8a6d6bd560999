// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The end of connections whose state lies in their sockets, and dies with them.
//
// A softirq may find the program at work on its CPU, and then the kernel does not run it: each is there twice, and what one
// has done the other finds done.

#include "lib/conns.h"
#include "lib/tls.h"

char _license[] SEC("license") = "Dual BSD/GPL";

static __always_inline int state(struct sock *sk, int before, int after)
{
	struct conn *c;

	if (!close_begins(after))
		return 0;
	c = conn_known(sk);
	if (!c)
		return 0;
	close_state(c, sk, before, after);
	tls_state(c, sk, before, after);
	return 0;
}

// Often in softirq.
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_state, struct sock *sk, int before, int after)
{
	if (after == TCP_SYN_SENT || after == TCP_LISTEN)
		process_network();
	if (after == TCP_SYN_SENT)
		conn_dial(sk, owner_dial());
	return state(sk, before, after);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_state_again, struct sock *sk, int before, int after)
{
	return state(sk, before, after);
}

static __always_inline int destroy(struct sock *sk)
{
	struct conn *c = conn_known(sk);

	goroutine_forget((__u64)sk);
	if (!c)
		return 0;
	exchange_close(c, 0);
	if (c->opaque == OPAQUE_TLS)
		tls_destroy(conn_ref(c));
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(on_destroy, struct sock *sk)
{
	return destroy(sk);
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(on_destroy_again, struct sock *sk)
{
	return destroy(sk);
}
