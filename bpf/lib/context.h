// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Which trace an exchange belongs to, settled when its request head is complete.
//
// Server: its parent is the client half of the same exchange if that was seen on this node; else what `traceparent` says.
// If the two name different traces, the header was made by somebody above the socket and wins.
// Client: what `traceparent` says, unless it merely repeats what the server exchange at work here was given, in which
// case that server exchange is the parent; without a header the server exchange at work here, if that is exactly one
// (owner.h): separate rather than wrong.
#pragma once

#include "drop.h"
#include "goroutine.h"
#include "ids.h"
#include "maps.h"
#include "owner.h"
#include "ref.h"

// context_shared tells whether both ends of the connection compute the same key.
static __always_inline bool context_shared(const struct exchange_record *r)
{
	return r->flags & EXCHANGE_KEYED || (r->family == AF_UNIX && r->opener_isn);
}

static __always_inline struct wire_key context_key(const struct exchange_record *r)
{
	struct wire_key key = {r->opener_isn, r->acceptor_isn, r->request_seq};

	if (!context_shared(r)) { // ids must be unlike all others, that is all
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

// context_alone is for an exchange that is not to be joined to others.
static __always_inline void context_alone(struct exchange_record *r)
{
	struct wire_key key = context_key(r);

	r->span_id = ids_derive(&key, r->role == ROLE_SERVER ? TAG_SERVER : TAG_CLIENT);
	if (r->context != CONTEXT_HEADER)
		context_root(r, &key);
}

static __always_inline bool context_same_trace(const struct exchange_record *r, const __u64 *trace_id)
{
	return r->trace_id[0] == trace_id[0] && r->trace_id[1] == trace_id[1];
}

// context_hint returns the number of halves in `halves` whose keys fall into the same place.
static __always_inline __u32 *context_hint(const struct wire_key *key)
{
	__u32 zero = 0;
	struct half_hints *hints = bpf_map_lookup_elem(&half_hints, &zero);

	return hints ? &hints->halves[(key->opener_isn ^ key->acceptor_isn ^ key->request_seq) & (HINTS - 1)] : NULL;
}

// context_find_half returns the client half of an exchange. Most often its client is on another node, and it is cheaper to
// be told so by a hint than by the map.
static __always_inline const struct half *context_find_half(const struct wire_key *key)
{
	const __u32 *hint = context_hint(key);

	return hint && *hint ? bpf_map_lookup_elem(&halves, key) : NULL;
}

static __always_inline void context_server(struct exchange_record *r, const struct wire_key *key)
{
	bool header = r->context == CONTEXT_HEADER;
	const struct half *half = context_find_half(key);

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
}

// context_adopt tells whether a client exchange takes the context of `o`.
static __always_inline bool context_adopt(struct owner *o, const struct exchange_record *r)
{
	if (r->context == CONTEXT_HEADER && (o->given_span_id != r->parent_span_id || !context_same_trace(r, o->trace_id)))
		return false;
	if (o->adopted >= ADOPT_MAX || (__s64)(r->request_start - o->since) > ADOPT_NS) {
		drop(DROP_ADOPTION);
		return false;
	}
	o->adopted++;
	return true;
}

// context_half leaves the context of a client exchange for its server half.
static __always_inline void context_half(const struct exchange_record *r, const struct wire_key *key)
{
	struct half half = {};
	__u32 *hint;

	if (!context_shared(r))
		return;
	half.trace_id[0] = r->trace_id[0];
	half.trace_id[1] = r->trace_id[1];
	half.span_id = r->span_id;
	half.trace_flags = r->trace_flags;
	if (bpf_map_update_elem(&halves, key, &half, BPF_ANY)) {
		drop(DROP_HALF_STATE);
		return;
	}
	hint = context_hint(key);
	if (hint)
		__sync_fetch_and_add(hint, 1);
}

static __always_inline void context_drop_half(const struct wire_key *key)
{
	__u32 *hint;

	if (bpf_map_delete_elem(&halves, key))
		return;
	hint = context_hint(key);
	if (hint)
		__sync_fetch_and_add(hint, -1);
}

static __always_inline __u8 context_how(__u32 proc_flags)
{
	return proc_flags & PROC_GO ? CONTEXT_TASK : proc_flags & PROC_LOOP ? CONTEXT_TICK : CONTEXT_THREAD;
}

static __always_inline void context_client(struct exchange_record *r, const struct wire_key *key, const struct owner *o, __u8 how)
{
	r->span_id = ids_derive(key, TAG_CLIENT);
	if (o) {
		r->trace_id[0] = o->trace_id[0];
		r->trace_id[1] = o->trace_id[1];
		r->parent_span_id = o->span_id;
		if (r->context != CONTEXT_HEADER) {
			r->trace_flags = o->trace_flags;
			r->context = how;
		}
	} else if (r->context != CONTEXT_HEADER) {
		context_root(r, key);
	}
	context_half(r, key);
}

// context_settle settles the context of an exchange whose request head was completed by `task`; `known` is the key of who
// is at work if the thread does not tell. It returns the key of the server exchange at work: of this one if it is a
// server's, else of the one it is made for; 0 if there is none. context_end wants it back. A function of its own so that
// the verifier looks at it once. Keys are copied to the stack first: before kernel 6.2 a global function may not look
// up by what its argument points to.
__noinline __u64 context_settle(conn_param(c), __u64 task, __u32 proc_flags, __u64 known)
{
	conn_get(c);
	struct exchange_record *r = &c->rec;
	struct wire_key key;
	struct owner *o;
	__u64 owner, given;

	if (!c)
		return 0;
	key = context_key(r);
	if (r->role == ROLE_SERVER) {
		given = r->parent_span_id;
		context_server(r, &key);
		owner = owner_server(r, task, proc_flags, known);
		if (!owner || !owner_enter(owner, r, given))
			return owner;
		drop(DROP_OWNER_STATE);
		return 0;
	}
	o = owner_client(r, task, proc_flags, known);
	if (o && !context_adopt(o, r))
		o = NULL;
	context_client(r, &key, o, context_how(proc_flags));
	return o ? o->span_id | OWNER_EXCHANGE : 0;
}

// context_rekey gives a client exchange whose wire key has become known the ids that belong to it. A function of its own
// for the same reason.
__noinline int context_rekey(conn_param(c))
{
	conn_get(c);
	struct exchange_record *r = &c->rec;
	struct wire_key key;

	if (!c)
		return 0;
	key = context_key(r);
	r->span_id = ids_derive(&key, TAG_CLIENT);
	if (r->context == CONTEXT_ROOT)
		context_root(r, &key);
	context_half(r, &key);
	return 0;
}

// context_end forgets what context_settle stored.
static __always_inline void context_end(const struct exchange_record *r, __u64 owner)
{
	struct wire_key key;

	if (r->role == ROLE_SERVER) {
		if (owner)
			owner_leave(owner, r);
	} else if (context_shared(r)) {
		key = context_key(r);
		context_drop_half(&key);
	}
}
