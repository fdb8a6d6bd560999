// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Where an event loop is. libuv (Node.js) calls what is to be done about a read from one function, JavaScript and all the
// promises it keeps included; when that returns, the tick is over. All else that wakes a loop (timers, files, names
// looked up, the end of a connection) comes by other ways, and leaves no doubt: then nothing is being worked on.

#include "lib/owner.h"
#include "lib/uprobe.h"

char _license[] SEC("license") = "Dual BSD/GPL";

// That it runs at all tells that the process is a loop whose ticks are known; a new verdict of user space leaves that out.
URETPROBE(on_tick_end)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tgid = id >> 32;
	struct proc *p = bpf_map_lookup_elem(&procs, &tgid);

	if (!p || p->verdict != VERDICT_OBSERVE)
		return;
	if (!(p->flags & PROC_LOOP))
		p->flags = (p->flags & ~PROC_THREADS) | PROC_LOOP;
	owner_tick_end(id);
}
