// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Connections by address of their socket, where programs may keep nothing in sockets.
#pragma once

#include "conn.h"
#include "drop.h"
#include "maps.h"

// conn_known returns the state of a connection, NULL where nothing has passed yet.
static __always_inline struct conn *conn_known(struct sock *sk)
{
	__u64 key = (__u64)sk;

	return bpf_map_lookup_elem(&conns_by_addr, &key);
}

static __always_inline struct conn *conn_find(struct sock *sk)
{
	struct conn *c = conn_known(sk);
	__u64 key = (__u64)sk;
	__u32 zero = 0;
	__u8 state;
	void *blank;

	if (c && c->rec.kind)
		return c;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	blank = bpf_map_lookup_elem(&blank_conn, &zero);
	if (!blank || (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT && state != TCP_FIN_WAIT1 && state != TCP_FIN_WAIT2))
		return NULL;
	if (!c && !entry_make(&conns_by_addr, &key, blank, BPF_NOEXIST)) {
		drop(DROP_CONNECTION_STATE);
		return NULL;
	}
	c = conn_known(sk);
	if (c) {
		conn_named(c, key);
		conn_init(conn_ref(c), key);
	}
	return c;
}

// conn_dial notes who opens a connection, 0 if that is not known.
static __always_inline void conn_dial(struct sock *sk, __u64 owner)
{
	__u64 key = (__u64)sk;
	__u32 zero = 0;
	struct conn *c;
	void *blank;

	if (!owner)
		return;
	blank = bpf_map_lookup_elem(&blank_conn, &zero);
	if (!blank || bpf_map_update_elem(&conns_by_addr, &key, blank, BPF_ANY)) {
		drop(DROP_OWNER_STATE);
		return;
	}
	c = conn_known(sk);
	if (c)
		c->dialed = owner;
}
