// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Registers of amd64 and arm64, as the C calling convention uses them.
#pragma once

#include "kernel.h"

// regs_arg returns argument n (from 0) of the function that is being entered.
static __always_inline __u64 regs_arg(const void *regs, int n)
{
	if (bpf_core_field_exists(struct pt_regs___amd64, di)) {
		const struct pt_regs___amd64 *r = regs;

		switch (n) {
		case 0:
			return BPF_CORE_READ(r, di);
		case 1:
			return BPF_CORE_READ(r, si);
		case 2:
			return BPF_CORE_READ(r, dx);
		case 3:
			return BPF_CORE_READ(r, cx);
		default:
			return BPF_CORE_READ(r, r8);
		}
	}
	if (bpf_core_field_exists(struct pt_regs___arm64, regs))
		return BPF_CORE_READ((const struct pt_regs___arm64 *)regs, regs[n]);
	return 0;
}

// regs_result returns what a function returned.
static __always_inline __u64 regs_result(const void *regs)
{
	if (bpf_core_field_exists(struct pt_regs___amd64, ax))
		return BPF_CORE_READ((const struct pt_regs___amd64 *)regs, ax);
	return regs_arg(regs, 0);
}

// regs_stack returns the stack pointer.
static __always_inline __u64 regs_stack(const void *regs)
{
	if (bpf_core_field_exists(struct pt_regs___amd64, sp))
		return BPF_CORE_READ((const struct pt_regs___amd64 *)regs, sp);
	if (bpf_core_field_exists(struct pt_regs___arm64, sp))
		return BPF_CORE_READ((const struct pt_regs___arm64 *)regs, sp);
	return 0;
}
