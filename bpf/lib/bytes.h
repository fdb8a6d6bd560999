// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Looking at payload eight bytes at a time. Words are loaded as they lie in memory, so the first byte is the lowest.
#pragma once

#include "maps.h"

#define ONES  0x0101010101010101ull
#define LOWER (0x20 * ONES) // makes ASCII letters lower case

// word makes the value that eight bytes have when loaded from memory.
#define word(a, b, c, d, e, f, g, h)                                                                                                       \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | (__u64)(f) << 40 | (__u64)(g) << 48 |     \
	 (__u64)(h) << 56)

// first_bytes masks a word to its first n bytes.
#define first_bytes(n) (~0ull >> (64 - 8 * (n)))

// window_of returns the place where payload of a direction is looked at. It takes a copy of `dir`, whose value the
// verifier would forget otherwise.
static __always_inline struct window *window_of(__u32 dir)
{
	__u32 key = dir;

	return bpf_map_lookup_elem(&windows, &key);
}

static __always_inline __u64 load8(const struct window *w, __u32 at)
{
	return *(const __u64 *)(w->bytes + (at & WINDOW_MASK));
}

static __always_inline __u8 load1(const struct window *w, __u32 at)
{
	return w->bytes[at & WINDOW_MASK];
}

// newlines returns a word whose lowest set bit is the top bit of the first byte of x that is '\n'; 0 without one.
static __always_inline __u64 newlines(__u64 x)
{
	x ^= '\n' * ONES;
	return (x - ONES) & ~x & (0x80 * ONES);
}

// first_byte tells which byte the lowest bit of such a word is in. BPF has no instruction to count zeros.
static __always_inline __u32 first_byte(__u64 x)
{
	return (((x & -x) >> 7) * 0x0001020304050607ull) >> 56;
}

// hex8 reads eight lower-case hexadecimal digits into four bytes, first digits lowest. Anything else clears *ok.
static __always_inline __u32 hex8(__u64 x, bool *ok)
{
	__u64 v = (x & (0x0f * ONES)) + 9 * ((x >> 6) & ONES); // a letter's low bits count from 1
	__u64 above9 = ((v + 6 * ONES) >> 4) & ONES;

	if (v & (0xf0 * ONES) || v + '0' * ONES + above9 * ('a' - '0' - 10) != x)
		*ok = false;
	v = ((v << 4) | (v >> 8)) & 0x00ff00ff00ff00ffull;
	v = (v | (v >> 8)) & 0x0000ffff0000ffffull;
	return v | (v >> 16);
}
