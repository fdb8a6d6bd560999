// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Connections whose state lies in their sockets.
#pragma once

#include "conn.h"
#include "drop.h"
#include "maps.h"

// conn_known returns the state of a connection, NULL where nothing has passed yet.
static __always_inline struct conn *conn_known(struct sock *sk)
{
	return bpf_sk_storage_get(&conns, sk, NULL, 0);
}

// conn_number makes an address a number, for functions that take no pointer of its kind.
static __always_inline __u64 conn_number(struct conn *c, const void *address)
{
	*(const void *volatile *)&c->number = address;
	return *(volatile __u64 *)&c->number;
}

static __always_inline struct conn *conn_find(struct sock *sk)
{
	struct conn *c = bpf_sk_storage_get(&conns, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!c)
		drop(DROP_CONNECTION_STATE);
	else if (!c->rec.kind)
		conn_init(conn_ref(c), conn_number(c, sk));
	return c;
}

// conn_dial notes who opens a connection, 0 if that is not known.
static __always_inline void conn_dial(struct sock *sk, __u64 owner)
{
	struct conn *c = owner ? bpf_sk_storage_get(&conns, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE) : NULL;

	if (c)
		c->dialed = owner;
	else if (owner)
		drop(DROP_OWNER_STATE);
}
