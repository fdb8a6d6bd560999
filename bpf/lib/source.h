// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Where the bytes of a send or a receive are. A load may give less than asked for: up to the end of a segment.
#pragma once

#include "bytes.h"

enum source_kind {
	SOURCE_NONE,       // not in memory we can read (pages of a file)
	SOURCE_USER,       // buffer of the process
	SOURCE_IOVEC,      // buffers of the process, listed in kernel memory
	SOURCE_USER_IOVEC, // and listed in the process's own
	SOURCE_SKB,        // received packet
};

struct source {
	enum source_kind kind;
	__u32 segments;
	__u64 skip; // bytes before the first one that counts
	__u64 base;
	struct bpf_dynptr *skb;
};

// Segments looked at for one load; a body in more pieces is followed without being read.
#define SEGMENTS_MAX 16
// Kind and number of segments as one argument.
#define SOURCE_SEGMENTS 8

// source_segment loads from a list of buffers.
static __always_inline int source_segment(char *to, __u32 kind, __u64 list, __u32 segments, __u64 at, __u32 want)
{
	struct {
		__u64 base, len;
	} v;

	for (__u32 i = 0; i < SEGMENTS_MAX && i < segments; i++) {
		void *entry = (void *)(list + i * sizeof(v));
		long err =
			kind == SOURCE_USER_IOVEC ? bpf_probe_read_user(&v, sizeof(v), entry) : bpf_probe_read_kernel(&v, sizeof(v), entry);

		if (err)
			return 0;
		if (at >= v.len) {
			at -= v.len;
			continue;
		}
		if (want > v.len - at)
			want = v.len - at;
		want &= WINDOW_MASK; // tells the verifier that it fits
		barrier_var(want);
		return bpf_probe_read_user(to, want & WINDOW_MASK, (char *)v.base + at) ? 0 : want;
	}
	return 0;
}

// source_user loads from memory of the process. A function of its own so that the verifier looks at it once.
__noinline int source_user(__u64 base, __u32 what, __u32 number, __u64 at, __u32 want)
{
	struct window *w = window_at(number);
	__u32 kind = what & ((1 << SOURCE_SEGMENTS) - 1);

	if (!w || kind == SOURCE_NONE || want > PIECE_MAX)
		return 0;
	if (kind == SOURCE_USER)
		return bpf_probe_read_user(w->bytes + CARRY_MAX, want, (char *)base + at) ? 0 : want;
	return source_segment(w->bytes + CARRY_MAX, kind, base, what >> SOURCE_SEGMENTS, at, want);
}

// source_load reads up to `want` bytes from offset `at` on into the window of that number, behind the room for an
// unfinished line. It returns how many, 0 when they cannot be read.
static __always_inline __u32 source_load(const struct source *src, struct window *w, __u32 number, __u32 at, __u32 want)
{
	__s64 err;

	if (src->kind != SOURCE_SKB)
		return source_user(src->base, src->kind | src->segments << SOURCE_SEGMENTS, number, src->skip + at, want);
	want &= WINDOW_MASK; // tells the verifier that it fits
	err = bpf_dynptr_read(w->bytes + CARRY_MAX, want, src->skb, src->skip + at, 0);
	return want & ~(__u32)(err >> 63); // no branch: it would double what the verifier walks
}
