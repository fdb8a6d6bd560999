// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Which trace an exchange belongs to, settled when its request head is complete.
//
// Server: its parent is the client half of the same exchange if that was seen on this node; else what `traceparent` says.
// If the two name different traces, the header was made by somebody above the socket and wins.
// Client: what `traceparent` says, unless it merely repeats what the server exchange of this thread was given, in which
// case that server exchange is the parent; without a header the server exchange open on this thread.
// Attribution by thread happens only where a thread serves one request at a time (PROC_THREADS) and exactly one is open:
// separate rather than wrong.
#pragma once

#include "drop.h"
#include "ids.h"
#include "maps.h"

static __always_inline struct wire_key context_key(const struct exchange_record *r)
{
	struct wire_key key = {r->opener_isn, r->acceptor_isn, r->request_seq};

	if (!(r->flags & EXCHANGE_KEYED)) { // ids must be unlike all others, that is all
		key.opener_isn = bpf_get_prandom_u32();
		key.acceptor_isn = bpf_get_prandom_u32();
		key.request_seq = r->request_start;
	}
	return key;
}

static __always_inline void context_root(struct exchange_record *r, const struct wire_key *key)
{
	r->trace_id[0] = ids_derive(key, TAG_TRACE_HI);
	r->trace_id[1] = ids_derive(key, TAG_TRACE_LO);
	r->trace_flags = 1;
	r->context = CONTEXT_ROOT;
}

static __always_inline bool context_same_trace(const struct exchange_record *r, const __u64 *trace_id)
{
	return r->trace_id[0] == trace_id[0] && r->trace_id[1] == trace_id[1];
}

// context_enter notes a server exchange on the thread that took its request; `given` is the span id in its traceparent.
// Keys are copied to the stack first: before kernel 6.2 a global function may not look up by what its argument points to.
static __always_inline void context_enter(struct conn *c, __u64 given)
{
	struct exchange_record *r = &c->rec;
	struct thread fresh = {}, *t;
	__u32 tid = r->tid;

	c->owner = tid;
	t = bpf_map_lookup_elem(&threads, &tid);
	if (t) {
		t->open++;
		t->mixed = 1;
		return;
	}
	fresh.trace_id[0] = r->trace_id[0];
	fresh.trace_id[1] = r->trace_id[1];
	fresh.span_id = r->span_id;
	fresh.given_span_id = given;
	fresh.trace_flags = r->trace_flags;
	fresh.open = 1;
	if (bpf_map_update_elem(&threads, &tid, &fresh, BPF_ANY)) {
		c->owner = 0;
		drop(DROP_THREAD_STATE);
	}
}

// context_leave undoes context_enter when the exchange ends, on whichever thread.
static __always_inline void context_leave(struct conn *c)
{
	__u32 tid = c->owner;
	struct thread *t;

	if (!tid)
		return;
	t = bpf_map_lookup_elem(&threads, &tid);
	if (t && t->open > 1)
		t->open--;
	else if (t)
		bpf_map_delete_elem(&threads, &tid);
	c->owner = 0;
}

static __always_inline void context_server(struct conn *c, const struct wire_key *key)
{
	struct exchange_record *r = &c->rec;
	bool header = r->context == CONTEXT_HEADER;
	__u64 given = r->parent_span_id;
	const struct half *half = bpf_map_lookup_elem(&halves, key);

	r->span_id = ids_derive(key, TAG_SERVER);
	if (half && (!header || context_same_trace(r, half->trace_id))) {
		r->trace_id[0] = half->trace_id[0];
		r->trace_id[1] = half->trace_id[1];
		r->parent_span_id = half->span_id;
		r->trace_flags = half->trace_flags;
		r->context = CONTEXT_HALF;
	} else if (!header) {
		context_root(r, key);
	}
	if (c->proc_flags & PROC_THREADS)
		context_enter(c, given);
}

static __always_inline void context_client(struct conn *c, const struct wire_key *key)
{
	struct exchange_record *r = &c->rec;
	const struct thread *t = NULL;
	struct half half = {};
	__u32 tid = r->tid;

	r->span_id = ids_derive(key, TAG_CLIENT);
	if (c->proc_flags & PROC_THREADS)
		t = bpf_map_lookup_elem(&threads, &tid);
	if (t && t->mixed)
		t = NULL;
	if (r->context == CONTEXT_HEADER) {
		if (t && t->given_span_id == r->parent_span_id && context_same_trace(r, t->trace_id))
			r->parent_span_id = t->span_id;
	} else if (t) {
		r->trace_id[0] = t->trace_id[0];
		r->trace_id[1] = t->trace_id[1];
		r->parent_span_id = t->span_id;
		r->trace_flags = t->trace_flags;
		r->context = CONTEXT_THREAD;
	} else {
		context_root(r, key);
	}
	if (!(r->flags & EXCHANGE_KEYED))
		return;
	half.trace_id[0] = r->trace_id[0];
	half.trace_id[1] = r->trace_id[1];
	half.span_id = r->span_id;
	half.trace_flags = r->trace_flags;
	if (bpf_map_update_elem(&halves, key, &half, BPF_ANY))
		drop(DROP_HALF_STATE);
}

// A function of its own so that the verifier looks at it once.
__noinline int context_settle(struct conn *c)
{
	struct wire_key key;

	if (!c)
		return 0;
	key = context_key(&c->rec);
	if (c->rec.role == ROLE_SERVER)
		context_server(c, &key);
	else
		context_client(c, &key);
	return 0;
}

// context_end forgets what context_settle stored.
static __always_inline void context_end(struct conn *c)
{
	struct wire_key key;

	if (c->rec.role == ROLE_SERVER) {
		context_leave(c);
	} else if (c->rec.flags & EXCHANGE_KEYED) {
		key = context_key(&c->rec);
		bpf_map_delete_elem(&halves, &key);
	}
}
