// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What is known of a connection from its socket alone, read once when its first bytes are seen; it may be old by then.
#pragma once

#include "ref.h"

#define V4_MAPPED_PREFIX 0xffff0000u // third word of ::ffff:a.b.c.d, as it lies in memory

// conn_key finds the initial sequence numbers of both ends. `snd_una - bytes_acked` and `rcv_nxt - bytes_received` stay
// what they were when the connection was made: one behind the number of the SYN, except for our own if we opened, for
// our SYN is then among the bytes acknowledged. Which it is shows without having been there: `snd_nxt` less the payload
// ever sent is always one behind our SYN. It cannot be told after our FIN or after a retransmission the kernel counted
// otherwise; then there is no key.
static __always_inline void conn_key(struct conn *c, struct tcp_sock *tp)
{
	__u32 sent = BPF_CORE_READ(tp, bytes_sent) - BPF_CORE_READ(tp, bytes_retrans);
	__u32 local = BPF_CORE_READ(tp, snd_una) - (__u32)BPF_CORE_READ(tp, bytes_acked);
	__u32 remote = BPF_CORE_READ(tp, rcv_nxt) - (__u32)BPF_CORE_READ(tp, bytes_received) - 1;
	__u32 syn = BPF_CORE_READ(tp, snd_nxt) - sent - local;
	struct exchange_record *r = &c->rec;

	if (syn == 1) { // we opened
		r->opener_isn = local;
		r->acceptor_isn = remote;
		c->side = ROLE_CLIENT;
	} else if (syn == 0) {
		r->opener_isn = remote;
		r->acceptor_isn = local - 1;
		c->side = ROLE_SERVER;
	} else {
		return;
	}
	r->flags = EXCHANGE_KEYED;
}

static __always_inline void conn_addresses(struct exchange_record *r, struct sock *sk)
{
	r->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	r->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	r->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	r->family = AF_INET;
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6) {
		BPF_CORE_READ_INTO(&r->local_addr, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&r->remote_addr, sk, __sk_common.skc_v6_daddr);
		if (*(__u64 *)r->remote_addr || *(__u32 *)(r->remote_addr + 8) != V4_MAPPED_PREFIX) {
			r->family = AF_INET6;
			return;
		}
		__builtin_memset(r->local_addr, 0, 16);
		__builtin_memset(r->remote_addr, 0, 16);
	}
	*(__u32 *)r->local_addr = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
	*(__u32 *)r->remote_addr = BPF_CORE_READ(sk, __sk_common.skc_daddr);
}

// A function of its own so that what it takes of the stack is free again for what follows.
__noinline int conn_init(conn_param(c), __u64 sk)
{
	conn_get(c);
	if (!c)
		return 0;
	c->rec.kind = RECORD_EXCHANGE;
	c->sk = sk;
	conn_addresses(&c->rec, (struct sock *)sk);
	conn_key(c, (struct tcp_sock *)sk);
	return 0;
}
