// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Goroutines as owners of contexts. The goroutine that makes a system call is in a register of the process: R14 (amd64)
// or X28 (arm64) holds its runtime.g, from Go 1.17 on, and the kernel has the registers saved. It counts only if the
// stack pointer lies within the stack that it names: code that is not Go's leaves anything there.
//
// A goroutine's parent has started it, but a server's goroutine goes on to serve other requests while those it started
// still work for an earlier one. Ids tell: each processor of the Go scheduler (runtime.p) takes a batch of ids from a
// counter and gives them out in turns. What is behind the counter, or left of the batch of a processor, when a request
// begins belongs to goroutines started later. What other processors have left may be older or not: those have no parent.
#pragma once

#include "maps.h"
#include "owner.h"

#define G_M    48 // runtime.g: its runtime.m; the same in all versions
#define M_OLDP 16 // runtime.m: from its runtime.p to the one that it had before the system call

// The stack of a goroutine grows up to this.
#define G_STACK_MAX (1ull << 30)

// Bits of a key that hold the goroutine's id; the process's 22 are above, and above those is OWNER_EXCHANGE.
#define GOROUTINE_BITS 41

static __always_inline __u64 goroutine_key(__u32 tgid, __u64 goid)
{
	return (__u64)tgid << GOROUTINE_BITS | (goid & ((1ull << GOROUTINE_BITS) - 1));
}

// goroutine_regs returns the registers that the current process had when it entered the kernel.
static __always_inline const void *goroutine_regs(void)
{
	struct task_struct *task;
	__u64 size;

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return (const void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	task = (struct task_struct *)bpf_get_current_task(); // before 5.15
	size = bpf_core_field_exists(struct pt_regs___amd64, di) ? bpf_core_type_size(struct pt_regs___amd64)
								 : bpf_core_type_size(struct pt_regs___arm64);
	return (const char *)BPF_CORE_READ(task, stack) + KERNEL_STACK - size;
}

// goroutine_user returns a word of the process's memory, 0 if it cannot be read.
static __always_inline __u64 goroutine_user(__u64 at)
{
	__u64 value = 0;

	bpf_probe_read_user(&value, sizeof(value), (const void *)at);
	return value;
}

// goroutine_at returns the address of the runtime.g that was running with these registers, 0 if none was.
static __always_inline __u64 goroutine_at(const void *regs)
{
	struct {
		__u64 low, high;
	} stack;
	__u64 g = 0, sp = 0;

	if (bpf_core_field_exists(struct pt_regs___amd64, di)) {
		g = BPF_CORE_READ((const struct pt_regs___amd64 *)regs, r14);
		sp = BPF_CORE_READ((const struct pt_regs___amd64 *)regs, sp);
	} else if (bpf_core_field_exists(struct pt_regs___arm64, regs)) {
		g = BPF_CORE_READ((const struct pt_regs___arm64 *)regs, regs[28]);
		sp = BPF_CORE_READ((const struct pt_regs___arm64 *)regs, sp);
	}
	if (!g || g & 7 || bpf_probe_read_user(&stack, sizeof(stack), (const void *)g))
		return 0;
	return stack.low <= sp && sp < stack.high && stack.high - stack.low <= G_STACK_MAX ? g : 0;
}

// goroutine_current returns the key of the goroutine that `task` runs, 0 if that cannot be told. A function of its own
// so that the verifier looks at it once.
__noinline __u64 goroutine_current(__u64 task)
{
	__u32 tgid = task >> 32;
	const struct proc *p = bpf_map_lookup_elem(&procs, &tgid);
	__u64 g, goid;

	if (!p || !p->goid || bpf_get_current_pid_tgid() != task)
		return 0;
	g = goroutine_at(goroutine_regs());
	if (!g)
		return 0;
	goid = goroutine_user(g + p->goid);
	return goid ? goroutine_key(tgid, goid) : 0;
}

// goroutine_spawns notes under a key which ids the current processor of the Go scheduler gives out from now on.
__noinline int goroutine_spawns(__u64 key)
{
	__u32 tgid = key >> GOROUTINE_BITS;
	const struct proc *p = bpf_map_lookup_elem(&procs, &tgid);
	struct owner *o = bpf_map_lookup_elem(&owners, &key);
	struct {
		__u64 next, end; // an id is 64 bits, but few enough live at a time
	} ids;
	__u64 g, m, at;
	__u32 n;

	if (!p || !p->goid_cache || !o)
		return 0;
	g = goroutine_at(goroutine_regs());
	if (!g)
		return 0;
	m = goroutine_user(g + G_M) + 8 * p->m_p;
	at = goroutine_user(m);
	if (!at) // during a system call
		at = goroutine_user(m + M_OLDP);
	if (!at || bpf_probe_read_user(&ids, sizeof(ids), (const void *)(at + 8 * p->goid_cache)))
		return 0;
	if (!o->counted) {
		o->counter = p->goid_gen ? goroutine_user(p->goid_gen) : 0;
		o->counted = o->counter ? 1 : 0;
	}
	n = o->spawns;
	if (n && o->spawned[n - 1 & (SPAWNS_MAX - 1)].end == (__u32)ids.end)
		return 0;
	if (ids.next >= ids.end || n >= SPAWNS_MAX || (o->counted && (__s32)(ids.next - o->counter) > 0))
		return 0;
	o->spawned[n].next = ids.next;
	o->spawned[n].end = ids.end;
	o->spawns = n + 1;
	return 0;
}

// goroutine_young tells whether a goroutine was started after the request of `o` began.
static __always_inline bool goroutine_young(const struct owner *o, __u32 goid)
{
	for (int i = 0; i < SPAWNS_MAX && i < o->spawns; i++)
		if (goid - o->spawned[i].next < o->spawned[i].end - o->spawned[i].next)
			return true;
	return o->counted && (__s32)(goid - o->counter) > 0;
}

// goroutine_patron returns the key under which a request sent on a socket finds its context: that of the goroutine which
// asked for it, or of the one that started it; 0 if there is none.
__noinline __u64 goroutine_patron(__u64 sk, __u64 task)
{
	__u32 tgid = task >> 32;
	const struct proc *p = bpf_map_lookup_elem(&procs, &tgid);
	const struct caller *noted = bpf_map_lookup_elem(&callers, &sk);
	struct owner *o;
	__u64 key, parent, g;

	if (!p || !p->goid)
		return 0;
	if (noted && noted->tgid == tgid) {
		key = goroutine_key(tgid, noted->goid);
		parent = goroutine_key(tgid, noted->parent);
	} else {
		key = parent = 0;
		g = bpf_get_current_pid_tgid() == task ? goroutine_at(goroutine_regs()) : 0;
		if (g) {
			key = goroutine_key(tgid, goroutine_user(g + p->goid));
			parent = p->parent_goid ? goroutine_key(tgid, goroutine_user(g + p->parent_goid)) : 0;
		}
	}
	if (noted)
		bpf_map_delete_elem(&callers, &sk);
	if (owner_find(key))
		return key;
	o = owner_find(parent);
	return o && goroutine_young(o, key) ? parent : 0;
}

// goroutine_calls notes that the next request on a socket is sent for the goroutine that runs with these registers.
static __always_inline void goroutine_calls(__u64 sk, const void *regs)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	const struct proc *p = bpf_map_lookup_elem(&procs, &tgid);
	struct caller caller = {};
	__u64 g;

	if (!sk || !p || !p->goid)
		return;
	g = goroutine_at(regs);
	if (!g)
		return;
	caller.goid = goroutine_user(g + p->goid);
	caller.parent = p->parent_goid ? goroutine_user(g + p->parent_goid) : 0;
	caller.tgid = tgid;
	if (bpf_map_update_elem(&callers, &sk, &caller, BPF_ANY))
		drop(DROP_OWNER_STATE);
}

// goroutine_forget is called when a socket is destroyed.
static __always_inline void goroutine_forget(__u64 sk)
{
	bpf_map_delete_elem(&callers, &sk);
}
