// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Where the bytes of a send or a receive are. A load may give less than asked for: up to the end of a segment.
#pragma once

#include "bytes.h"

enum source_kind {
	SOURCE_NONE,       // not in memory we can read (pages of a file)
	SOURCE_SKB,        // received packet
	SOURCE_USER,       // buffer of the process
	SOURCE_IOVEC,      // buffers of the process, listed in kernel memory
	SOURCE_USER_IOVEC, // and listed in the process's own
};

struct source {
	enum source_kind kind;
	__u32 segments;
	__u64 skip; // bytes before the first one that counts
	const void *base;
	struct bpf_dynptr *skb;
};

// Segments looked at for one load; a body in more pieces is followed without being read.
#define SEGMENTS_MAX 16
// In the number of segments: their list is in memory of the process.
#define SEGMENTS_USER (1u << 31)

// source_segment loads from a list of buffers. A function of its own so that the verifier looks at it once.
__noinline int source_segment(__u64 list, __u32 segments, __u32 dir, __u64 at, __u32 want)
{
	struct window *w = window_of(dir);
	struct {
		__u64 base, len;
	} v;

	if (!w)
		return 0;
	for (__u32 i = 0; i < SEGMENTS_MAX && i < (segments & ~SEGMENTS_USER); i++) {
		void *entry = (void *)(list + i * sizeof(v));
		long err =
			segments & SEGMENTS_USER ? bpf_probe_read_user(&v, sizeof(v), entry) : bpf_probe_read_kernel(&v, sizeof(v), entry);

		if (err)
			return 0;
		if (at >= v.len) {
			at -= v.len;
			continue;
		}
		if (want > v.len - at)
			want = v.len - at;
		if (!want || want > PIECE_MAX || bpf_probe_read_user(w->bytes + CARRY_MAX, want, (char *)v.base + at))
			return 0;
		return want;
	}
	return 0;
}

// source_load reads up to `want` bytes from offset `at` on into the window of the direction, behind the room for an
// unfinished line. It returns how many, 0 when they cannot be read.
static __always_inline __u32 source_load(const struct source *src, struct window *w, __u32 dir, __u32 at, __u32 want)
{
	char *to = w->bytes + CARRY_MAX;

	barrier_var(want); // one register, whose bound the verifier sees
	if (want > PIECE_MAX)
		want = PIECE_MAX;
	switch (src->kind) {
	case SOURCE_SKB:
		return bpf_dynptr_read(to, want, src->skb, src->skip + at, 0) ? 0 : want;
	case SOURCE_USER:
		return bpf_probe_read_user(to, want, (char *)src->base + src->skip + at) ? 0 : want;
	case SOURCE_IOVEC:
		return source_segment((__u64)src->base, src->segments, dir, src->skip + at, want);
	case SOURCE_USER_IOVEC:
		return source_segment((__u64)src->base, src->segments | SEGMENTS_USER, dir, src->skip + at, want);
	default:
		return 0;
	}
}
