// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Tier syscall: entry and return of the system calls that move bytes. For kernels without the socket tracepoints; it
// needs nothing younger than raw tracepoints and BTF. Every system call of the machine passes here, so the first thing
// is a table that sends most of them away.
//
// It misses io_uring, whose reads and writes are no system calls, and does not see the bytes of sendfile and splice,
// only their number. The time of the last byte of a large send is that of its beginning.

#include "lib/call.h"

char _license[] SEC("license") = "Dual BSD/GPL";

SEC("raw_tp/sys_enter")
int on_enter(struct bpf_raw_tracepoint_args *ctx)
{
	const void *regs = (const void *)ctx->args[0];
	__u64 nr = ctx->args[1], id;
	struct call call = {};
	struct conn *c;
	__u32 tid;
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
	} else if (call.dir == DIR_TX && !call.blind) {
		c = call_conn(call.sk);
		if (c && c->opaque != OPAQUE_OTHER)
			call_offered(c, &call);
		return 0;
	}
	tid = id;
	if (bpf_map_update_elem(&calls, &tid, &call, BPF_ANY))
		drop(DROP_CALL_STATE);
	return 0;
}

SEC("raw_tp/sys_exit")
int on_return(struct bpf_raw_tracepoint_args *ctx)
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
		c = call_conn(call->sk);
		if (c && c->opaque != OPAQUE_OTHER)
			call_moved(c, call, moved);
	}
	bpf_map_delete_elem(&calls, &tid);
	return 0;
}

// As in tier btf; here it also deletes the state.
SEC("raw_tp/inet_sock_set_state")
int on_state(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 sk = ctx->args[0];
	int before = ctx->args[1], after = ctx->args[2];
	struct conn *c;

	if (after == TCP_SYN_SENT || after == TCP_LISTEN)
		process_network();
	if (after != TCP_CLOSE && after != TCP_FIN_WAIT1 && after != TCP_LAST_ACK)
		return 0;
	c = bpf_map_lookup_elem(&conns_by_addr, &sk);
	if (!c)
		return 0;
	close_state(c, (struct sock *)sk, before, after);
	tls_state(c, (struct sock *)sk, before, after);
	if (after == TCP_CLOSE && c->open == OPEN_NONE && c->opaque != OPAQUE_TLS)
		bpf_map_delete_elem(&conns_by_addr, &sk);
	return 0;
}

SEC("raw_tp/tcp_destroy_sock")
int on_destroy(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 sk = ctx->args[0];
	struct conn *c = bpf_map_lookup_elem(&conns_by_addr, &sk);

	goroutine_forget(sk);
	if (!c)
		return 0;
	exchange_close(c, 0);
	if (c->opaque == OPAQUE_TLS)
		tls_destroy(c);
	bpf_map_delete_elem(&conns_by_addr, &sk);
	return 0;
}
