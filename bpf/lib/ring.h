// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The way to user space. Waking the reader costs more than all the rest of a record, so it is woken only when the
// amount waiting crosses a threshold; below that it comes by itself every few milliseconds.
#pragma once

#include "maps.h"

static __always_inline long ring_send(void *record, __u64 size)
{
	__u64 waiting = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
	__u64 flags = BPF_RB_NO_WAKEUP;

	if (waiting < wake_bytes && waiting + size >= wake_bytes)
		flags = BPF_RB_FORCE_WAKEUP;
	return bpf_ringbuf_output(&ring, record, size, flags);
}
