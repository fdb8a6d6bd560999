// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Who is at work: the key under which a server exchange leaves its context, and client exchanges look for it. It is made
// out of what the hook runs on when the request head is complete, so that a thread that only accepted or peeked does
// not count.
//
// A thread that serves one request at a time is an owner (PROC_THREADS). It may start others to do part of the work:
// they work for what it was serving then, unless they are of a pool that works for everybody. Which of the two a process
// does has to be seen first: a thread that ends before the request does is no pool's (PROC_TASKS), and one that outlives
// it may be (PROC_POOL).
//
// An event loop serves many requests in turns (PROC_LOOP), so there each server exchange is an owner of its own, and the
// loop works for one of them during a tick: from a read until the callback that the read was for returns. What is read
// in a tick says whose it is: a request, or the response to a client exchange made for one. A connection that a tick
// opens is used only in a later one, when it is there; its first request belongs to the tick that opened it.
#pragma once

#include "drop.h"
#include "maps.h"

#define OWNER_EXCHANGE (1ull << 63) // the key is made of a span id

// owner_server returns the key for a server exchange whose request head was completed by `task` (as
// bpf_get_current_pid_tgid says it), 0 if its client exchanges cannot be told. `known` is that of its goroutine.
static __always_inline __u64 owner_server(const struct exchange_record *r, __u64 task, __u32 proc_flags, __u64 known)
{
	if (proc_flags & PROC_LOOP)
		return r->span_id | OWNER_EXCHANGE;
	return proc_flags & PROC_THREADS ? (__u32)task : known;
}

// owner_serving returns what is open under a key, be it one server exchange or several.
static __always_inline struct owner *owner_serving(__u64 key)
{
	struct owner *o = bpf_map_lookup_elem(&owners, &key);

	return o && o->open ? o : NULL;
}

// owner_find returns the one server exchange that is open under a key.
static __always_inline struct owner *owner_find(__u64 key)
{
	struct owner *o = key ? owner_serving(key) : NULL;

	return o && !o->mixed ? o : NULL;
}

// owner_starter returns the server exchange for which a thread was started, NULL if that is over.
static __always_inline struct owner *owner_starter(const struct heir *h)
{
	__u64 key = h->owner, span_id = h->span_id;
	struct owner *o = owner_find(key);

	return o && o->span_id == span_id ? o : NULL;
}

static __always_inline void owner_learn(__u32 tgid, enum proc_flags seen)
{
	struct proc *p = bpf_map_lookup_elem(&procs, &tgid);

	if (p && !(p->flags & seen))
		p->flags |= seen;
}

// owner_heir returns the server exchange for which this thread was started.
static __always_inline struct owner *owner_heir(__u64 task, __u32 proc_flags)
{
	__u32 tid = task;
	const struct heir *h = bpf_map_lookup_elem(&heirs, &tid);
	struct owner *o;

	if (!h)
		return NULL;
	o = owner_starter(h);
	if (!o) {
		bpf_map_delete_elem(&heirs, &tid);
		owner_learn(task >> 32, PROC_POOL);
	}
	return (proc_flags & (PROC_TASKS | PROC_POOL)) == PROC_TASKS ? o : NULL;
}

// owner_tick returns the key of the server exchange that the loop is at work on. Of what a response sets off, only the first
// request is sure to belong to who waited for it, if others are being served: they may have waited for the same, or, when
// it goes out on the same connection, for that to be free. `port` is the local one of the connection, 0 for a new one.
static __always_inline __u64 owner_tick(__u32 tid, __u16 port)
{
	struct tick *t = bpf_map_lookup_elem(&ticks, &tid);
	bool first;

	if (!t || !t->owner)
		return 0;
	first = !t->spent;
	t->spent = 1;
	if (t->response && t->open > 1 && (!first || t->port == port))
		return 0;
	return t->owner;
}

// owner_client returns the server exchange for which `task` makes a client exchange, NULL if that cannot be told. `known` is
// the key of the one whose goroutine makes it, or of the one that opened the connection if this is the first exchange there.
static __always_inline struct owner *owner_client(const struct exchange_record *r, __u64 task, __u32 proc_flags, __u64 known)
{
	__u64 tid = (__u32)task;
	struct owner *o;

	if (proc_flags & PROC_LOOP && !known)
		known = owner_tick(tid, r->local_port);
	if (!(proc_flags & PROC_THREADS))
		return owner_find(known);
	o = owner_serving(tid);
	if (!o)
		return owner_heir(task, proc_flags);
	return o->mixed ? NULL : o;
}

// owner_opened counts the server exchanges that are open on a loop.
static __always_inline void owner_opened(__u32 tid, int more)
{
	struct tick *t = bpf_map_lookup_elem(&ticks, &tid), fresh = {.open = 1};

	if (t && (more > 0 || t->open))
		__sync_fetch_and_add(&t->open, more);
	else if (!t && more > 0 && bpf_map_update_elem(&ticks, &tid, &fresh, BPF_NOEXIST))
		drop(DROP_OWNER_STATE);
}

// owner_enter opens a server exchange under a key; `given` is the span id in its traceparent.
static __always_inline long owner_enter(__u64 key, const struct exchange_record *r, __u64 given)
{
	struct owner *o = bpf_map_lookup_elem(&owners, &key), fresh = {};

	if (o && o->open) {
		__sync_fetch_and_add(&o->open, 1);
		o->mixed = 1;
		return 0;
	}
	fresh.trace_id[0] = r->trace_id[0];
	fresh.trace_id[1] = r->trace_id[1];
	fresh.span_id = r->span_id;
	fresh.given_span_id = given;
	fresh.since = r->request_start;
	fresh.trace_flags = r->trace_flags;
	fresh.open = 1;
	if (o) {
		*o = fresh;
		return 0;
	}
	if (key & OWNER_EXCHANGE)
		owner_opened(r->tid, 1);
	return bpf_map_update_elem(&owners, &key, &fresh, BPF_ANY);
}

// owner_thread tells whether a key is a thread. Its place is kept for its next exchange: to make and delete one costs more
// than all the rest that is done about contexts.
static __always_inline bool owner_thread(__u64 key)
{
	return !(key >> 32);
}

// owner_leave undoes owner_enter when the exchange ends, wherever that is.
static __always_inline void owner_leave(__u64 key, const struct exchange_record *r)
{
	struct owner *o = bpf_map_lookup_elem(&owners, &key);

	if (key & OWNER_EXCHANGE)
		owner_opened(r->tid, -1);
	if (!o || !o->open)
		return;
	if (o->open > 1 || owner_thread(key))
		__sync_fetch_and_add(&o->open, -1);
	else
		bpf_map_delete_elem(&owners, &key);
}

// owner_read is called when a loop has read, for `owner`, what belongs to an exchange.
static __always_inline void owner_read(__u64 owner, __u32 tid, const struct exchange_record *r)
{
	struct tick *t = bpf_map_lookup_elem(&ticks, &tid);

	if (!t)
		return; // it has served nothing yet
	t->owner = owner;
	t->port = r->local_port;
	t->response = r->role == ROLE_CLIENT;
	t->spent = 0;
}

// owner_dial returns for whom a loop opens a connection.
static __always_inline __u64 owner_dial(void)
{
	return owner_tick(bpf_get_current_pid_tgid(), 0);
}

// owner_tick_end is called when the callback of a read returns.
static __always_inline void owner_tick_end(__u32 tid)
{
	struct tick *t = bpf_map_lookup_elem(&ticks, &tid);

	if (t)
		t->owner = 0;
}

// owner_started is called for each thread that another one starts.
static __always_inline void owner_started(__u32 parent, __u32 child)
{
	__u64 key = parent;
	const struct owner *o = owner_serving(key);
	const struct heir *h;
	struct heir heir = {};

	if (o && o->mixed)
		return;
	if (o) {
		heir.owner = parent;
		heir.span_id = o->span_id;
	} else {
		h = bpf_map_lookup_elem(&heirs, &parent);
		if (!h)
			return;
		heir = *h;
	}
	if (bpf_map_update_elem(&heirs, &child, &heir, BPF_ANY))
		drop(DROP_OWNER_STATE);
}

// owner_forget is called when a thread has ended, or is no longer what it was.
static __always_inline void owner_forget(__u32 tgid, __u32 tid)
{
	const struct heir *h = bpf_map_lookup_elem(&heirs, &tid);
	__u64 key = tid;

	if (h && owner_starter(h))
		owner_learn(tgid, PROC_TASKS);
	bpf_map_delete_elem(&owners, &key);
	bpf_map_delete_elem(&heirs, &tid);
	bpf_map_delete_elem(&ticks, &tid);
}
