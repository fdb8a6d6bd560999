// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Ids computed from the wire key, so that both hosts of an exchange compute the same without talking: each id is the
// key's 96 bits and a tag folded by the finaliser of splitmix64 (a bijection with full avalanche). The initial sequence
// numbers are random, so ids are as unlike as random ones; none is ever zero.
#pragma once

#include "types.h"

#define TAG_CLIENT   'c' // span of the client half
#define TAG_SERVER   's' // span of the server half
#define TAG_TRACE_HI 'T'
#define TAG_TRACE_LO 't'

static __always_inline __u64 ids_mix(__u64 x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static __always_inline __u64 ids_derive(const struct wire_key *key, __u8 tag)
{
	__u64 x = ids_mix((__u64)key->opener_isn << 32 | key->acceptor_isn);

	x = ids_mix(x ^ ((__u64)key->request_seq << 32 | tag));
	return x ? x : tag;
}
