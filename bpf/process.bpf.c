// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The life of processes, for every tier. The scheduler's tracepoints are exact and immediate where reading /proc is
// neither. They run in the context of the task that forks, execs or exits; exec is reported after the new image is in
// place and before its first instruction, so nothing the process does is missed.

#include "lib/process.h"

char _license[] SEC("license") = "Dual BSD/GPL";

SEC("raw_tp/sched_process_exec")
int on_exec(struct bpf_raw_tracepoint_args *ctx)
{
	process_exec((struct task_struct *)ctx->args[0], (struct linux_binprm *)ctx->args[2]);
	return 0;
}

SEC("raw_tp/sched_process_fork")
int on_fork(struct bpf_raw_tracepoint_args *ctx)
{
	process_fork((struct task_struct *)ctx->args[0], (struct task_struct *)ctx->args[1]);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int on_exit(struct bpf_raw_tracepoint_args *ctx)
{
	process_exit((struct task_struct *)ctx->args[0]);
	return 0;
}
