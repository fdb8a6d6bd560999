// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// For benchmarks: records made up at any rate, which user space runs, and a program that does nothing, for what a trap costs.

#include "lib/drop.h"
#include "lib/ring.h"

char _license[] SEC("license") = "Dual BSD/GPL";

// A record as user space wants it.
struct sample {
	struct exchange_record rec;
	char heads[REQUEST_MAX + RESPONSE_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sample);
} sample SEC(".maps");

#define RECORDS_MAX 1024

struct generate_args {
	__u32 records; // at most RECORDS_MAX
};

// A function of its own so that the verifier looks at it once.
__noinline int generate_one(void)
{
	__u32 zero = 0;
	struct sample *s = bpf_map_lookup_elem(&sample, &zero);
	__u64 size;

	if (!s)
		return 0;
	size = sizeof(s->rec) + s->rec.request_captured + s->rec.response_captured;
	if (size > sizeof(*s))
		size = sizeof(*s);
	s->rec.request_seq++;
	s->rec.request_start = s->rec.response_end = bpf_ktime_get_boot_ns();
	if (ring_send(s, size))
		drop(DROP_RING_FULL);
	return 0;
}

SEC("syscall")
int generate(struct generate_args *args)
{
	for (__u32 i = 0; i < RECORDS_MAX && i < args->records; i++)
		generate_one();
	return 0;
}

SEC("uprobe")
int trap(void *ctx)
{
	return 0;
}
