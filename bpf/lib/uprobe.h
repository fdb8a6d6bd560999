// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Programs at functions of processes. From kernel 6.13 on programs of this kind have a stack per processor, on which they are
// kept from running twice everywhere but here, although a task can be preempted in an uprobe: two programs would write over each other's
// variables (bpf_enable_priv_stack in kernel/bpf/verifier.c). One that calls others by tail has the stack of its task.
#pragma once

#include "kernel.h"

// Always empty.
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} nowhere SEC(".maps");

const volatile __u8 goes_nowhere = 0;

#define UPROBE_AT(section, name)                                                                                                           \
	static __always_inline void uprobe_##name(void *ctx);                                                                              \
	SEC(section)                                                                                                                       \
	int name(void *ctx)                                                                                                                \
	{                                                                                                                                  \
		if (goes_nowhere)                                                                                                          \
			bpf_tail_call(ctx, &nowhere, 0);                                                                                   \
		uprobe_##name(ctx);                                                                                                        \
		return 0;                                                                                                                  \
	}                                                                                                                                  \
	static __always_inline void uprobe_##name(void *ctx)

#define UPROBE(name)    UPROBE_AT("uprobe", name)
#define URETPROBE(name) UPROBE_AT("uretprobe", name)
