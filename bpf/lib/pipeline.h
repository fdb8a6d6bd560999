// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Requests sent before the response to the one before is complete. Exchanges are numbered as their requests come; the
// request stream is in the last one (`tail`), the response stream in the first (`front`), and `rec` holds whichever of the
// two is being looked at. While there is more than one, each has its place in map `pipeline`, so that taking turns cannot
// fail; with only one there is no entry.
#pragma once

#include "drop.h"
#include "maps.h"
#include "ref.h"

static __always_inline struct exchange *pipeline_place(const struct conn *c, __u32 ordinal)
{
	struct pipeline_key key = {c->sk, ordinal};

	return bpf_map_lookup_elem(&pipeline, &key);
}

static __always_inline long pipeline_reserve(const struct conn *c, __u32 ordinal)
{
	struct pipeline_key key = {c->sk, ordinal};
	__u32 zero = 0;
	const void *blank = bpf_map_lookup_elem(&blank_conn, &zero);

	return blank ? bpf_map_update_elem(&pipeline, &key, blank, BPF_ANY) : -1;
}

static __always_inline void pipeline_free(const struct conn *c, __u32 ordinal)
{
	struct pipeline_key key = {c->sk, ordinal};

	bpf_map_delete_elem(&pipeline, &key);
}

static __always_inline void pipeline_save(const struct conn *c)
{
	struct exchange *place = pipeline_place(c, c->current);

	if (place)
		bpf_probe_read_kernel(place, sizeof(*place), c);
}

static __always_inline void pipeline_load(struct conn *c, __u32 ordinal)
{
	const struct exchange *place = pipeline_place(c, ordinal);

	if (place)
		bpf_probe_read_kernel(c, sizeof(*place), place);
	c->current = ordinal;
	if (c->front == c->tail)
		pipeline_free(c, ordinal);
}

// pipeline_show makes the exchange of this number the one in `rec`.
static __always_inline void pipeline_show(struct conn *c, __u32 ordinal)
{
	if (c->current == ordinal)
		return;
	pipeline_save(c);
	pipeline_load(c, ordinal);
}

// A function of its own so that the verifier looks at it once.
__noinline int pipeline_swap(conn_param(c), __u32 ordinal)
{
	conn_get(c);
	if (c)
		pipeline_show(c, ordinal);
	return 0;
}

// pipeline_turn puts the exchange that a stream is in into `rec`.
static __always_inline void pipeline_turn(struct conn *c, bool request)
{
	if (c->front != c->tail)
		pipeline_swap(conn_ref(c), request ? c->tail : c->front);
}

// pipeline_push makes room for one more behind the tail and puts the tail there; `rec` is left as a copy of the old one.
// Not 0: there is no room.
__noinline int pipeline_push(conn_param(c))
{
	conn_get(c);
	bool first;

	if (!c || !c->sk || c->tail - c->front >= PIPELINE_MAX - 1)
		return -1;
	first = c->front == c->tail;
	if (first && pipeline_reserve(c, c->tail))
		return -1;
	if (pipeline_reserve(c, c->tail + 1)) {
		if (first)
			pipeline_free(c, c->tail);
		return -1;
	}
	pipeline_save(c);
	c->current = ++c->tail;
	return 0;
}

// pipeline_pop undoes pipeline_push.
__noinline int pipeline_pop(conn_param(c))
{
	conn_get(c);
	if (!c)
		return 0;
	pipeline_free(c, c->tail);
	pipeline_load(c, --c->tail);
	return 0;
}

// pipeline_next lets go of the front, which is over, and turns to the one behind it.
static __always_inline void pipeline_next(struct conn *c)
{
	pipeline_free(c, c->front);
	pipeline_load(c, ++c->front);
}
