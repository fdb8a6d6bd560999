// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What is lost is counted, and new entries of maps are made twice before that.
#pragma once

#include "maps.h"

static __always_inline void drop(enum drop_reason reason)
{
	__u32 key = reason;
	__u64 *count = bpf_map_lookup_elem(&drops, &key);

	if (count)
		(*count)++;
}

#define EEXIST 17
#define ENOMEM 12

// entry_make tells whether a map has an entry under a key, after trying to make it. Large entries come from a reserve of a few
// for each processor, which the kernel fills again in an interrupt: at the second try it has.
static __always_inline bool entry_make(void *map, const void *key, const void *value, __u64 flags)
{
	long err = bpf_map_update_elem(map, key, value, flags);

	if (err == -ENOMEM)
		err = bpf_map_update_elem(map, key, value, flags);
	return !err || err == -EEXIST;
}
