// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Which processes are observed, and the records of their life.
#pragma once

#include "drop.h"
#include "maps.h"
#include "owner.h"

static __always_inline const struct proc *process_find(__u32 tgid)
{
	return bpf_map_lookup_elem(&procs, &tgid);
}

static __always_inline bool process_observed(const struct proc *p)
{
	return (p ? p->verdict : default_verdict) == VERDICT_OBSERVE;
}

static __always_inline void process_fill(struct process_record *r, enum process_event event, struct task_struct *task)
{
	__builtin_memset(r, 0, sizeof(*r));
	r->kind = RECORD_PROCESS;
	r->event = event;
	r->tgid = BPF_CORE_READ(task, tgid);
	r->parent = BPF_CORE_READ(task, real_parent, tgid);
	r->time = bpf_ktime_get_boot_ns();
	r->started = BPF_CORE_READ(task, group_leader, start_boottime);
	r->cgroup = bpf_get_current_cgroup_id();
	BPF_CORE_READ_INTO(&r->comm, task, comm);
}

// process_tell writes a record. Where user space has to act on it at once, flags have it wake the reader.
static __always_inline void process_tell(enum process_event event, struct task_struct *task, __u64 flags)
{
	struct process_record *r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);

	if (!r) {
		drop(DROP_RING_FULL_PROCESS);
		return;
	}
	process_fill(r, event, task);
	bpf_ringbuf_submit(r, flags);
}

// process_area copies [start, end) of the current process's memory, at most max bytes, to s->tail + at. The pages were
// written a moment ago by exec, so a fault is unlikely; then the area is missing.
static __always_inline __u32 process_area(struct process_space *s, __u32 at, unsigned long start, unsigned long end, __u32 max)
{
	__u64 size = end - start;

	if (end <= start || at > PROCESS_FILE_MAX + PROCESS_ARGS_MAX)
		return 0;
	if (size > max)
		size = max;
	if (bpf_probe_read_user(s->tail + at, size, (void *)start))
		return 0;
	return size;
}

static __always_inline void process_exec(struct task_struct *task, struct linux_binprm *binprm)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct process_space *s;
	__u32 tail = 0, zero = 0;
	long size;

	s = bpf_map_lookup_elem(&process_space, &zero);
	if (!s)
		return;
	process_fill(&s->rec, PROCESS_EXEC, task);
	bpf_map_delete_elem(&procs, &s->rec.tgid);
	owner_forget(s->rec.tgid, s->rec.tgid);
	size = bpf_probe_read_kernel_str(s->tail, PROCESS_FILE_MAX, BPF_CORE_READ(binprm, filename));
	if (size > 1 && size <= PROCESS_FILE_MAX)
		tail = size - 1; // without its NUL
	s->rec.file_size = tail;
	s->rec.args_size = process_area(s, tail, BPF_CORE_READ(mm, arg_start), BPF_CORE_READ(mm, arg_end), PROCESS_ARGS_MAX);
	tail += s->rec.args_size;
	s->rec.env_size = process_area(s, tail, BPF_CORE_READ(mm, env_start), BPF_CORE_READ(mm, env_end), PROCESS_ENV_MAX);
	tail += s->rec.env_size + sizeof(s->rec);
	if (tail > sizeof(s->rec) + sizeof(s->tail))
		tail = sizeof(s->rec) + sizeof(s->tail);
	if (bpf_ringbuf_output(&ring, s, tail, BPF_RB_FORCE_WAKEUP))
		drop(DROP_RING_FULL_PROCESS);
}

// A child is the same program as its parent, so the parent's verdict holds until user space or exec says otherwise.
static __always_inline void process_fork(struct task_struct *parent, struct task_struct *child)
{
	const struct proc *inherited;
	struct proc copy;
	__u32 tgid = BPF_CORE_READ(child, tgid);

	inherited = process_find(BPF_CORE_READ(parent, tgid));
	if (BPF_CORE_READ(child, pid) != tgid) { // a thread
		if (inherited && inherited->flags & PROC_THREADS)
			owner_started(BPF_CORE_READ(parent, pid), BPF_CORE_READ(child, pid));
		return;
	}
	if (inherited) {
		copy = *inherited;
		bpf_map_update_elem(&procs, &tgid, &copy, BPF_NOEXIST);
	}
	process_tell(PROCESS_FORK, child, BPF_RB_NO_WAKEUP);
}

// process_network is called when the current process listens, connects, or begins TLS. By then its libraries are loaded, as
// they are not at exec, so this is when user space should look for them, once.
static __always_inline void process_network(void)
{
	const struct proc *p = process_find(bpf_get_current_pid_tgid() >> 32);

	if (!process_observed(p) || (p && p->flags & PROC_TLS))
		return;
	process_tell(PROCESS_TLS, (struct task_struct *)bpf_get_current_task(), BPF_RB_FORCE_WAKEUP);
}

// Called for every thread; the process is gone with its last one. Its sockets are closed only afterwards.
static __always_inline void process_exit(struct task_struct *task)
{
	__u32 tid = BPF_CORE_READ(task, pid), tgid = BPF_CORE_READ(task, tgid);

	owner_forget(tgid, tid);
	bpf_map_delete_elem(&calls, &tid);
	bpf_map_delete_elem(&tls_threads, &tid);
	if (BPF_CORE_READ(task, signal, live.counter) > 0)
		return;
	bpf_map_delete_elem(&procs, &tgid);
	process_tell(PROCESS_EXIT, task, BPF_RB_NO_WAKEUP);
}
