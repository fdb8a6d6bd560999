// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Looking at payload eight bytes at a time. Words are loaded as they lie in memory, so the first byte is the lowest.
#pragma once

#include "drop.h"
#include "maps.h"
#include "ref.h"

#define ONES  0x0101010101010101ull
#define LOWER (0x20 * ONES) // makes ASCII letters lower case

// word makes the value that eight bytes have when loaded from memory.
#define word(a, b, c, d, e, f, g, h)                                                                                                       \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | (__u64)(f) << 40 | (__u64)(g) << 48 |     \
	 (__u64)(h) << 56)

// first_bytes masks a word to its first n bytes.
#define first_bytes(n) (~0ull >> (64 - 8 * (n)))

static __always_inline struct window *window_at(__u32 number)
{
	return bpf_map_lookup_elem(&windows, &number);
}

// window_take tells whether nobody is at work in a window, and makes it ours if so. Who counts and finds himself alone has it;
// who does not, goes away again, and does no harm but that a third one may find it taken. Unlike a comparison with exchange,
// adding is known to every kernel.
static __always_inline bool window_take(struct window *w)
{
	if (!w || !preempted)
		return w && !w->users;
	__sync_fetch_and_add(&w->users, 1);
	if (*(volatile __u32 *)&w->users == 1)
		return true;
	__sync_fetch_and_add(&w->users, -1);
	return false;
}

// window_claim finds a window for what is to be looked at of one direction of a connection. It returns 0 when all are taken;
// otherwise the window must be given back. A function of its own so that the verifier goes on from one state.
__noinline int window_claim(conn_param(c), __u32 dir)
{
	conn_get(c);
	if (!c)
		return 0;
	for (int n = 0; n < WINDOWS; n++) {
		if (window_take(window_at(n))) {
			c->window[dir & 1] = n;
			return 1;
		}
	}
	drop(DROP_WINDOW);
	return 0;
}

// window_kept is a window whose number is known as well, for which there is no room on the stack.
#ifdef LEGACY
#define window_kept(w, number) window_at(number)
#else
#define window_kept(w, number) w
#endif

static __always_inline void window_release(struct window *w)
{
	if (preempted && w)
		__sync_fetch_and_add(&w->users, -1);
}

// window_of returns the window that was claimed.
static __always_inline struct window *window_of(const struct conn *c, __u32 dir)
{
	return c ? window_at(c->window[dir & 1]) : NULL;
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
