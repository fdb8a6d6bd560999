// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Tier syscall: entry and return of the system calls that move bytes. For kernels without the socket tracepoints; it
// needs nothing younger than raw tracepoints and BTF. Every system call of the machine passes here, so the first thing
// is a table that sends most of them away.
//
// The kernel runs no program on a CPU where it is at work already. Where tracepoints let tasks be preempted (after 6.18), others that
// come by before that one goes on would be missed: for them each program is there a second time.
//
// It misses io_uring, whose reads and writes are no system calls, and does not see the bytes of sendfile and splice,
// only their number.

#include "lib/call.h"

char _license[] SEC("license") = "Dual BSD/GPL";

static __always_inline int enter(struct bpf_raw_tracepoint_args *ctx, bool again)
{
	const void *regs = (const void *)ctx->args[0];
	__u64 nr = ctx->args[1], id;
	struct call call = {};
	struct conn *c;
	__u8 kind;

	if (nr >= sizeof(call_kinds))
		return 0;
	kind = call_kinds[nr];
	if (kind == CALL_NONE)
		return 0;
	id = bpf_get_current_pid_tgid();
	if (!process_observed(process_find(id >> 32)))
		return 0;
	if (call_compat((struct task_struct *)bpf_get_current_task()) || !call_describe(&call, kind, regs))
		return 0;
	if (call.local) {
		if (!call_unix_enter(&call))
			return 0;
	} else if (call.dir == DIR_TX && call.source != SOURCE_NONE) {
		c = conn_find((struct sock *)call.sk);
		if (!c || c->opaque == OPAQUE_OTHER)
			return 0;
		if (again && call.size && c->passed[DIR_TX] == call.seq + (__u32)call.size)
			return 0; // the first one has seen it
		c->passed[DIR_TX] = call.seq + (__u32)call.size;
		if (!call_offered(c, &call))
			return 0;
	}
	payload_keep(id, &call);
	return 0;
}

SEC("raw_tp/sys_enter")
int on_enter(struct bpf_raw_tracepoint_args *ctx)
{
	return enter(ctx, false);
}

SEC("raw_tp/sys_enter")
int on_enter_again(struct bpf_raw_tracepoint_args *ctx)
{
	return enter(ctx, true);
}

static __always_inline int leave(struct bpf_raw_tracepoint_args *ctx)
{
	__s64 moved = ctx->args[1];
	__u32 tid = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&calls, &tid);
	struct conn *c;

	if (!call)
		return 0;
	if (moved > 0 && call->local) {
		call_unix_return(call, moved);
	} else if (moved > 0) {
		c = conn_find((struct sock *)call->sk);
		if (c && c->opaque != OPAQUE_OTHER)
			call_moved(c, call, moved);
	}
	bpf_map_delete_elem(&calls, &tid);
	return 0;
}

SEC("raw_tp/sys_exit")
int on_return(struct bpf_raw_tracepoint_args *ctx)
{
	return leave(ctx);
}

SEC("raw_tp/sys_exit")
int on_return_again(struct bpf_raw_tracepoint_args *ctx)
{
	return leave(ctx);
}
