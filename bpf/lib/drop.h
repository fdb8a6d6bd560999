// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What is lost is counted.
#pragma once

#include "maps.h"

static __always_inline void drop(enum drop_reason reason)
{
	__u32 key = reason;
	__u64 *count = bpf_map_lookup_elem(&drops, &key);

	if (count)
		(*count)++;
}
