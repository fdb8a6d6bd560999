// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What is known of a unix-domain stream socket. It has no sequence numbers: what passes is counted, each direction from the
// first bytes seen. Its state is found by its address, which says nothing of its end, so the inode of the socket tells
// whether the state is still its own, and user space has the state of closed sockets removed (sweep.bpf.c).
#pragma once

#include "ids.h"
#include "maps.h"
#include "ref.h"

// Made up by user space at each start: ids made of addresses of kernel memory must be unlike those of other machines.
const volatile __u64 unix_salt = 0;

static __always_inline bool unix_stream(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_family) == AF_UNIX && BPF_CORE_READ(sk, sk_type) == SOCK_STREAM;
}

// unix_inode returns 0 before a connection is accepted, and after the socket is closed.
static __always_inline __u64 unix_inode(struct sock *sk)
{
	return BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino);
}

static __always_inline struct sock *unix_peer(struct sock *sk)
{
	struct unix_sock *u = (struct unix_sock *)sk;

	return BPF_CORE_READ(u, peer);
}

// unix_address returns the name a socket is bound to, or NULL. One that was accepted has that of the listening socket.
static __always_inline struct unix_address *unix_address(struct sock *sk)
{
	struct unix_sock *u = (struct unix_sock *)sk;

	return BPF_CORE_READ(u, addr);
}

// unix_opened tells which of two sockets connected to the other one; of a pair, the one that lies lower.
static __always_inline bool unix_opened(struct sock *sk, struct sock *peer)
{
	bool bound = unix_address(sk), peer_bound = unix_address(peer);

	return bound == peer_bound ? sk < peer : peer_bound;
}

// unix_path writes the last bytes of the path into the place of both addresses; the first byte of an abstract name is '@'.
static __always_inline void unix_path(struct exchange_record *r, const struct unix_address *addr)
{
	const char *path = (const char *)addr + bpf_core_field_offset(struct unix_address, name) + sizeof(__u16);
	__u32 n = BPF_CORE_READ(addr, len) - sizeof(__u16), skip = 0;
	char first = 0;

	bpf_probe_read_kernel(&first, 1, path);
	if (first)
		n--; // NUL
	if (!addr || n > UNIX_PATH_MAX)
		return;
	if (n > UNIX_PATH_SIZE)
		skip = n - UNIX_PATH_SIZE;
	n -= skip;
	barrier_var(n);
	if (n > UNIX_PATH_SIZE)
		return;
	bpf_probe_read_kernel(r->local_addr, n, path + skip);
	if (!first && !skip)
		r->local_addr[0] = '@';
}

// unix_key makes what both ends can compute on their own, in the place of the initial sequence numbers: the address and the
// inode of the socket that connected, and the address of the other one. It is no wire key.
static __always_inline void unix_key(struct exchange_record *r, struct sock *sk, struct sock *peer)
{
	struct sock *opener = sk, *acceptor = peer;
	__u64 inode, x;

	if (!unix_opened(sk, peer)) {
		opener = peer;
		acceptor = sk;
	}
	inode = unix_inode(opener);
	if (!inode)
		return;
	x = ids_mix(ids_mix(ids_mix(unix_salt ^ inode) ^ (__u64)opener) ^ (__u64)acceptor);
	r->opener_isn = x >> 32 ? x >> 32 : 1;
	r->acceptor_isn = x;
}

// unix_init fills in the state of a new connection. A function of its own so that what it takes of the stack is free again
// for what follows.
__noinline int unix_init(conn_param(c), __u64 socket)
{
	conn_get(c);
	struct sock *sk = (struct sock *)socket, *peer = unix_peer(sk);
	struct unix_address *addr = unix_address(sk);

	if (!c)
		return 0;
	c->rec.kind = RECORD_EXCHANGE;
	c->rec.family = AF_UNIX;
	c->rec.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	c->sk = socket;
	c->inode = unix_inode(sk);
	c->mate = (__u64)peer;
	if (bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		c->rec.cgroup = BPF_CORE_READ(sk, sk_cgrp_data.cgroup, kn, id);
	unix_path(&c->rec, addr ? addr : unix_address(peer));
	if (peer)
		unix_key(&c->rec, sk, peer);
	return 0;
}

// unix_known returns the state of a socket whose other end is `mate`, if there is one and it is not that of another socket
// that had the same address before.
static __always_inline struct conn *unix_known(struct sock *sk, struct sock *mate)
{
	__u64 key = (__u64)sk, inode;
	struct conn *c = bpf_map_lookup_elem(&conns_by_addr, &key);

	if (!c)
		return NULL;
	inode = unix_inode(sk);
	return (inode ? c->inode == inode : c->mate == (__u64)mate) ? c : NULL;
}

// unix_new makes the state of a socket, in place of that of another one.
static __always_inline struct conn *unix_new(struct sock *sk)
{
	__u64 key = (__u64)sk, inode = unix_inode(sk);
	struct conn *c = bpf_map_lookup_elem(&conns_by_addr, &key);
	__u32 zero = 0;
	const void *blank = bpf_map_lookup_elem(&blank_conn, &zero);

	if (c && c->inode != inode)
		bpf_map_delete_elem(&conns_by_addr, &key);
	if (blank)
		entry_make(&conns_by_addr, &key, blank, BPF_NOEXIST);
	c = bpf_map_lookup_elem(&conns_by_addr, &key);
	if (!c) {
		drop(DROP_CONNECTION_STATE);
	} else if (!c->rec.kind) {
		conn_named(c, key);
		unix_init(conn_ref(c), key);
	}
	return c;
}

static __always_inline struct conn *unix_find(struct sock *sk)
{
	struct conn *c = unix_known(sk, NULL);

	return c ? c : unix_new(sk);
}

// unix_closed tells whether a socket is gone, or closed and what it sent was read.
static __always_inline bool unix_closed(struct sock *sk, const struct conn *c)
{
	__u64 inode = unix_inode(sk);

	if (inode)
		return inode != c->inode;
	return BPF_CORE_READ(sk, __sk_common.skc_family) != AF_UNIX || BPF_CORE_READ(sk, sk_wmem_alloc.refs.counter) <= 1;
}

// unix_drained tells whether nothing more can be read from a socket.
static __always_inline bool unix_drained(struct sock *sk)
{
	return BPF_CORE_READ(sk, sk_shutdown) & RCV_SHUTDOWN && !BPF_CORE_READ(sk, sk_receive_queue.qlen);
}

// unix_over deletes the state of a connection that its client has said to be over after one exchange.
static __always_inline void unix_over(struct conn *c, struct sock *sk)
{
	__u64 key = (__u64)sk;

	if (c->last && c->open == OPEN_NONE)
		bpf_map_delete_elem(&conns_by_addr, &key);
}
