// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The way to user space. Waking the reader costs more than all the rest of a record, so it is woken only when so much
// was written that the writer's position crosses a multiple of `wake_bytes`; below that it comes by itself many times a
// second. The position is the writer's own: what waits would be told by the reader's, in another CPU's cache.
#pragma once

#include "maps.h"

static __always_inline long ring_send(void *record, __u64 size)
{
	__u64 at = bpf_ringbuf_query(&ring, BPF_RB_PROD_POS);
	__u64 flags = (at ^ (at + size)) < wake_bytes ? BPF_RB_NO_WAKEUP : BPF_RB_FORCE_WAKEUP;

	return bpf_ringbuf_output(&ring, record, size, flags);
}
