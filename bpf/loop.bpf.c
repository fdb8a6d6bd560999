// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Where an event loop is. libuv (Node.js) calls what is to be done about a read from one function, JavaScript and all the
// promises it keeps included; when that returns, the tick is over. All else that wakes a loop (timers, files, names
// looked up, the end of a connection) comes by other ways, and leaves no doubt: then nothing is being worked on.

#include "lib/owner.h"

char _license[] SEC("license") = "Dual BSD/GPL";

SEC("uretprobe")
int on_tick_end(void *ctx)
{
	owner_tick_end();
	return 0;
}
