// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What is read from unix sockets, where only the reading shows: a packet is charged to the socket it was sent on, so the
// hook sees both ends. What is read is looked at twice, as received by the reader and as sent by its peer, whose times are
// then those of the reader. Which thread sent it is unknown.
#pragma once

#include "data.h"
#include "syscall.h"
#include "unix.h"

extern int bpf_dynptr_from_skb(struct __sk_buff *skb, __u64 flags, struct bpf_dynptr *ptr) __ksym;

// unix_peeks tells whether the system call leaves in the socket what it reads.
static __always_inline bool unix_peeks(const void *regs)
{
	__u64 nr = call_number(regs);

	if (nr >= sizeof(call_kinds))
		return false;
	switch (call_kinds[nr]) {
	case CALL_RECVFROM:
	case CALL_RECVMMSG:
		return call_arg(regs, 3) & MSG_PEEK;
	case CALL_RECVMSG:
		return call_arg(regs, 2) & MSG_PEEK;
	}
	return false;
}

// unix_reader returns the socket that is read from, when the one that sent is closed and no longer tells: that of the
// system call.
static __always_inline struct sock *unix_reader(const void *regs, struct sock *from)
{
	__u64 nr = call_number(regs);
	struct sock *to;

	if (nr >= sizeof(call_kinds) || call_kinds[nr] == CALL_NONE)
		return NULL;
	to = syscall_socket((__u32)call_arg(regs, 0));
	return unix_stream(to) && unix_peer(to) == from ? to : NULL;
}

// unix_sender returns the state of the sending socket. If nothing is known yet of one that connected, its process is the one
// that did so.
static __always_inline struct conn *unix_sender(struct sock *from, struct sock *to)
{
	struct conn *c = unix_known(from, to);
	__u64 id;

	if (c)
		return process_observed(process_find(c->task >> 32)) ? c : NULL;
	if (!unix_address(to) || !unix_opened(from, to) || !unix_inode(from))
		return NULL;
	id = (__u32)BPF_CORE_READ(to, sk_peer_pid, numbers[0].nr);
	if (!id || !process_observed(process_find(id)))
		return NULL;
	c = unix_new(from);
	if (!c)
		return NULL;
	c->task = id << 32 | id;
	return c;
}

static __always_inline struct conn *unix_receiver(struct sock *to, struct conn *c, __u64 task)
{
	if (!process_observed(process_find(task >> 32)))
		return NULL;
	return c ? c : unix_new(to);
}

// unix_received takes `len` bytes of a packet that are about to be copied to the reader.
static __always_inline void unix_received(struct sk_buff *skb, __u32 len, __u64 task)
{
	const void *regs = (const void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	struct sock *from = BPF_CORE_READ(skb, sk), *to = unix_peer(from);
	struct conn *sender, *receiver, *c;
	struct source src = {.kind = SOURCE_SKB};
	struct bpf_dynptr payload;
	__u32 consumed;

	if (!to)
		to = unix_reader(regs, from);
	if (!to)
		return;
	receiver = unix_known(to, from);
	if (receiver && receiver->opaque)
		return;
	receiver = unix_receiver(to, receiver, task);
	sender = unix_sender(from, to);
	if ((!receiver && (!sender || sender->opaque)) || unix_peeks(regs))
		return;
	if (bpf_probe_read_kernel(&consumed, sizeof(consumed), skb->cb + bpf_core_field_offset(struct unix_skb_parms, consumed)))
		return;
	src.skip = consumed;
	if (bpf_dynptr_from_skb((struct __sk_buff *)skb, 0, &payload))
		return;
	src.skb = &payload;
	for (__u32 dir = DIR_TX + 1; dir-- > DIR_RX;) { // the sender first: the receiver's half asks for it
		c = dir == DIR_TX ? sender : receiver;
		if (!c || c->opaque)
			continue;
		c->far = dir == DIR_TX;
		c->moved[dir] += len;
		data(c, &src, dir, c->moved[dir] - len, len, c->far ? c->task : task);
		unix_over(c, c->far ? from : to);
	}
}
