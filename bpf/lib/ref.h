// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// How a global function is handed a connection: by its address, or before kernel 5.13, whose verifier takes no functions that are
// handed memory, by its key in `conns_by_addr`. Objects are built both ways where connections are found by address.
#pragma once

#include "maps.h"

#ifdef LEGACY
// The parameter, what follows it in the function, and the argument.
#define conn_param(c) __u64 c##_key
#define conn_get(c)   struct conn *c = conn_at(c##_key)
#define conn_ref(c)   ((c)->number)

// What is known of numbers is told again to the verifier where it matters: before 5.11 it forgets the bounds of what lies on the
// stack in between, though not which number it is if only one is possible. bounded is for one that is at most `max`, either for
// one that is 0 or 1.
#define bounded(x, max) asm volatile("if %0 <= %1 goto +1\n%0 = 0" : "+r"(x) : "i"(max))
#define either(x)       asm volatile("if %0 == 0 goto +1\n%0 = 1" : "+r"(x))

static __always_inline struct conn *conn_at(__u64 key)
{
	return bpf_map_lookup_elem(&conns_by_addr, &key);
}

// conn_named notes the key of a new connection.
static __always_inline void conn_named(struct conn *c, __u64 key)
{
	c->number = key;
}
#else
#define conn_param(c) struct conn *c
#define conn_get(c)
#define conn_ref(c) c
#define conn_named(c, key)
#define bounded(x, max)
#define either(x)
#endif
