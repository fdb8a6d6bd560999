// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The end of unix sockets, which passes no tracepoint: user space runs this program about once a second. The times of an
// exchange are those of its bytes, so that its end is noticed late does not make it longer.

#include "lib/exchange.h"
#include "lib/unix.h"

char _license[] SEC("license") = "Dual BSD/GPL";

static long sweep_one(void *map, const __u64 *key, struct conn *c, void *unused)
{
	struct sock *sk = (struct sock *)*key;
	__u64 addr = *key;

	if (c->rec.family != AF_UNIX)
		return 0;
	if (unix_closed(sk, c)) {
		exchange_close(c, 0);
		bpf_map_delete_elem(&conns_by_addr, &addr);
		return 0;
	}
	// Twice, for the system call that has read the last bytes may not have returned yet.
	if (c->open == OPEN_NONE || !unix_drained(sk))
		c->drained = 0;
	else if (c->drained)
		exchange_close(c, 0);
	else
		c->drained = 1;
	return 0;
}

#ifdef LEGACY
// Before kernel 5.13 a program cannot go through a map: user space runs this one for each key.
SEC("raw_tp")
int sweep_at(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 key = ctx->args[0];
	struct conn *c = conn_at(key);

	if (c)
		sweep_one(&conns_by_addr, &key, c, NULL);
	return 0;
}
#else
SEC("raw_tp")
int sweep(struct bpf_raw_tracepoint_args *ctx)
{
	bpf_for_each_map_elem(&conns_by_addr, sweep_one, NULL, 0);
	return 0;
}
#endif
