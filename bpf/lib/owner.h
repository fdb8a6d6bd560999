// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Who is at work: the key under which a server exchange leaves its context, and client exchanges look for it. It is made
// out of what the hook runs on when the request head is complete, so that a thread that only accepted or peeked does
// not count.
//
// A thread that serves one request at a time is an owner. It may start others to do part of the work: their first
// client call is made for what it was serving then. Only the first: such a thread may turn out to be one of a pool,
// which by then works for somebody else.
#pragma once

#include "drop.h"
#include "maps.h"

// owner_current returns the key of what `task` (as bpf_get_current_pid_tgid says it) is at work as, 0 if that cannot be
// told. Go moves its work between threads.
static __always_inline __u64 owner_current(__u8 proc_flags, __u64 task)
{
	if (proc_flags & PROC_THREADS)
		return (__u32)task;
	return 0;
}

// owner_find returns the one server exchange that is open under a key.
static __always_inline struct owner *owner_find(__u64 key)
{
	struct owner *o = key ? bpf_map_lookup_elem(&owners, &key) : NULL;

	return o && !o->mixed ? o : NULL;
}

// owner_heir returns the server exchange that started this thread, once and if it is still open.
static __always_inline struct owner *owner_heir(__u64 task)
{
	__u32 tid = task;
	const struct heir *h = bpf_map_lookup_elem(&heirs, &tid);
	struct heir heir;
	struct owner *o;

	if (!h)
		return NULL;
	heir = *h;
	bpf_map_delete_elem(&heirs, &tid);
	o = owner_find(heir.owner);
	return o && o->span_id == heir.span_id ? o : NULL;
}

// owner_enter opens a server exchange under a key; `given` is the span id in its traceparent.
static __always_inline int owner_enter(__u64 key, const struct exchange_record *r, __u64 given)
{
	struct owner *o = bpf_map_lookup_elem(&owners, &key), fresh = {};

	if (o) {
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
	return bpf_map_update_elem(&owners, &key, &fresh, BPF_ANY);
}

// owner_leave undoes owner_enter when the exchange ends, wherever that is.
static __always_inline void owner_leave(__u64 key)
{
	struct owner *o = bpf_map_lookup_elem(&owners, &key);

	if (o && o->open > 1)
		__sync_fetch_and_add(&o->open, -1);
	else if (o)
		bpf_map_delete_elem(&owners, &key);
}

// owner_started is called for each thread that another one starts.
static __always_inline void owner_started(__u32 parent, __u32 child)
{
	const struct owner *o = owner_find(parent);
	const struct heir *h;
	struct heir heir = {};

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
static __always_inline void owner_forget(__u32 tid)
{
	__u64 key = tid;

	bpf_map_delete_elem(&owners, &key);
	bpf_map_delete_elem(&heirs, &tid);
}
