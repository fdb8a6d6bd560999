// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The system call that a task is in: which one, its arguments, the socket it is about.
#pragma once

#include "maps.h"
#include "regs.h"

enum call_kind {
	CALL_NONE,
	CALL_READ,
	CALL_WRITE,
	CALL_READV,
	CALL_WRITEV,
	CALL_RECVFROM,
	CALL_SENDTO,
	CALL_RECVMSG,
	CALL_SENDMSG,
	CALL_RECVMMSG,
	CALL_SENDMMSG,
	CALL_SENDFILE,
	CALL_SPLICE,
};

// Kind of call by its number, which differs between architectures: set by user space.
const volatile __u8 call_kinds[512] = {};

// call_arg returns argument n of the call that is being entered.
static __always_inline __u64 call_arg(const void *regs, int n)
{
	if (n == 3 && bpf_core_field_exists(struct pt_regs___amd64, r10)) // the instruction that enters the kernel takes rcx
		return BPF_CORE_READ((const struct pt_regs___amd64 *)regs, r10);
	return regs_arg(regs, n);
}

// call_number returns the number of the call that these registers are of.
static __always_inline __u64 call_number(const void *regs)
{
	if (bpf_core_field_exists(struct pt_regs___amd64, orig_ax))
		return BPF_CORE_READ((const struct pt_regs___amd64 *)regs, orig_ax);
	if (bpf_core_field_exists(struct pt_regs___arm64, syscallno))
		return BPF_CORE_READ((const struct pt_regs___arm64 *)regs, syscallno);
	return -1;
}

// call_compat tells whether a 32-bit program makes the call: its numbers mean something else.
static __always_inline bool call_compat(struct task_struct *task)
{
	if (bpf_core_field_exists(task->thread_info.status))
		return BPF_CORE_READ(task, thread_info.status) & 2; // TS_COMPAT of amd64
	return BPF_CORE_READ(task, thread_info.flags) & 1 << 22;    // TIF_32BIT of arm64
}

// syscall_socket returns the socket behind a file descriptor of the current process, or NULL.
static __always_inline struct sock *syscall_socket(__u64 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct socket *socket;
	struct file *file = NULL;

	if (fd >= BPF_CORE_READ(table, max_fds) || bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(table, fd) + fd) || !file)
		return NULL;
	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}
