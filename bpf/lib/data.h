// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The core: bytes of one direction of a connection, as some hook saw them. Hooks differ in when they run and how often
// they see the same bytes; sequence numbers make them equal. Bytes already looked at are skipped (a peek, a send taken
// up again), bytes that passed no hook are noticed as a gap.
//
// The functions called in the loop are global ones: the verifier looks at each once and forgets what it returns.
#pragma once

#include "exchange.h"
#include "source.h"

// Pieces loaded and bodies stepped over in one send or receive; what is left is not looked at.
#define STEPS_MAX 256
// Messages and chunks looked at in a piece before the rest of it is loaded anew.
#define LOOKS_MAX 128

// A difference of sequence numbers that can only be nonsense.
#define SEQ_WILD (1 << 30)

// How much is loaded to read the size of a chunk; no more, as a rule, for its data follows.
#define CHUNK_LINE_PIECE 32

static __always_inline void data_count(struct conn *c, bool request, __u32 n)
{
	struct exchange_record *r = &c->rec;

	if (!exchange_real(c, request) || !n)
		return;
	if (request) {
		r->request_bytes += n;
		r->request_end = c->now;
		return;
	}
	if (!r->response_start)
		r->response_start = c->now;
	r->response_bytes += n;
	r->response_end = c->now;
}

// data_message_done is called when a message of the open exchange, or of one sent ahead, is complete.
static __always_inline void data_message_done(struct conn *c, bool request)
{
	__u8 state = c->stream[REQUEST].state;

	if (request && c->shadow) {
		if (c->shadows < 32 && c->next_method == METHOD_HEAD)
			c->shadow_head |= 1u << c->shadows;
		c->shadows++;
	} else if (request) {
		if (!exchange_ahead(c) && c->stream[RESPONSE].state == STREAM_DONE)
			exchange_end(c);
	} else if (exchange_ahead(c) || state == STREAM_DONE || state == STREAM_LOST || c->opaque) {
		exchange_end(c);
	}
}

// data_unread follows n bytes that cannot be or need not be read.
__noinline int data_unread(struct conn *c, __u32 dir, __u32 n)
{
	struct stream *s;
	bool request;

	if (!c || c->open == OPEN_NONE)
		return 0;
	request = dir == c->request_dir;
	pipeline_turn(c, request);
	s = &c->stream[request ? REQUEST : RESPONSE];
	data_count(c, request, n);
	if (s->state == STREAM_LENGTH || s->state == STREAM_CHUNK) {
		if (n > s->remain) {
			exchange_lost(c, s, request);
			return 0;
		}
		s->remain -= n;
		if (s->remain)
			return 0;
		s->state = s->state == STREAM_CHUNK ? STREAM_CHUNK_LINE : STREAM_DONE;
		if (s->state == STREAM_DONE)
			data_message_done(c, request);
	} else if (s->state < STREAM_UNTIL_CLOSE) {
		exchange_lost(c, s, request);
	}
	return 0;
}

static __always_inline int data_want(__u32 left, __u32 piece)
{
	return left < piece ? left : piece;
}

// data_step takes what it can of `left` bytes without looking at them. It returns how many, 0 when the connection is in
// another state now and the same bytes must be taken again, or, negative, how many must be looked at first.
__noinline int data_step(struct conn *c, __u32 dir, __u32 seq, __u32 left)
{
	struct stream *s;
	bool request;

	if (!c)
		return left;
	if (c->open == OPEN_NONE)
		exchange_open(c, dir, seq);
	request = dir == c->request_dir;
	pipeline_turn(c, request);
	s = &c->stream[request ? REQUEST : RESPONSE];
	switch (s->state) {
	case STREAM_LENGTH:
	case STREAM_CHUNK:
		if (left > s->remain)
			left = s->remain;
		data_unread(c, dir, left);
		return left;
	case STREAM_LOST:
		if (request && c->stream[RESPONSE].state == STREAM_DONE) { // then this may be the next one
			exchange_end(c);
			return 0;
		}
	case STREAM_UNTIL_CLOSE:
		data_count(c, request, left);
		return left;
	case STREAM_DONE:
		if (!request)
			return left; // behind the response, while the request is still coming
		if (c->stream[RESPONSE].state == STREAM_LOST || (c->stream[RESPONSE].state == STREAM_UNTIL_CLOSE && !exchange_ahead(c))) {
			exchange_end(c);
			return 0;
		}
		exchange_push(c, dir, seq);
		return -data_want(left, PIECE_MAX);
	case STREAM_CHUNK_LINE:
		return -data_want(left, s->facts & FACT_SMALL_CHUNK ? PIECE_MAX : CHUNK_LINE_PIECE);
	default:
		return -data_want(left, PIECE_MAX);
	}
}

// data_lines looks at [from, end) in the window of the direction, `left` bytes from `from` on being there in all; an empty
// piece could not be read. It returns how many bytes are dealt with.
__noinline int data_lines(struct conn *c, __u32 dir, __u32 from, __u32 end, __u32 left)
{
	bool request, head, got = end > from;
	struct stream *s;
	int n;

	if (!c)
		return left;
	request = dir == c->request_dir;
	s = &c->stream[request ? REQUEST : RESPONSE];
	head = s->state <= STREAM_HEAD;
	n = got ? http_scan(c, dir, from, end) : HTTP_NOT;
	if (n >= 0) {
		if (head)
			exchange_head(c, dir, from, n);
		if (s->state != STREAM_START || s->carry)
			data_count(c, request, n); // else an interim response
		if (s->state == STREAM_DONE)
			data_message_done(c, request);
		else if (s->state == STREAM_LOST)
			exchange_lost(c, s, request); // no chunk size where one should be
		return n;
	}
	if (request && s->state == STREAM_START && exchange_ahead(c) && got) {
		exchange_pop(c);
	} else if (!exchange_ahead(c) && (got ? c->stream[REQUEST].state <= STREAM_HEAD : request && s->state == STREAM_START)) {
		exchange_abandon(c, dir);
	} else {
		data_unread(c, dir, left);
		return left;
	}
	n = request ? http_blank(dir, from) : 0;
	return n ? n : left;
}

// data_look takes a piece of `got` bytes out of `left` that was loaded into the window of the direction; `seq` is its first
// byte's. It returns how many bytes are dealt with: up to where a further piece must be loaded.
__noinline int data_look(struct conn *c, __u32 dir, __u32 seq, __u32 got, __u32 left)
{
	__u32 at;
	int n;

	if (!c)
		return left;
	if (!got)
		drop(DROP_READ_FAULT);
	at = data_lines(c, dir, CARRY_MAX, CARRY_MAX + got, left);
	for (int i = 0; i < LOOKS_MAX && at < got && !c->opaque; i++) {
		n = data_step(c, dir, seq + at, left - at);
		if (n < 0)
			n = data_lines(c, dir, CARRY_MAX + at, CARRY_MAX + got, left - at);
		at += n;
	}
	return at;
}

static __always_inline void data(struct conn *c, const struct source *src, __u32 dir, __u32 seq, __u32 len, __u64 task)
{
	struct window *w = window_of(dir);
	__u32 at = 0;

	if (!w)
		return;
	c->now = bpf_ktime_get_boot_ns();
	c->task = task;
	if (c->primed & 1 << dir) {
		__s32 ahead = c->seen[dir] - seq;

		if (ahead >= (__s32)len && ahead < SEQ_WILD)
			return;
		if (ahead > 0 && ahead < SEQ_WILD) {
			at = ahead;
		} else if (ahead) {
			drop(DROP_GAP);
			data_unread(c, dir, -ahead);
		}
	}
	c->primed |= 1 << dir;
	c->seen[dir] = seq + len;
	for (int i = 0; i < STEPS_MAX && at < len && !c->opaque && src->kind != SOURCE_NONE; i++) {
		int n = data_step(c, dir, seq + at, len - at);

		if (n < 0)
			n = data_look(c, dir, seq + at, source_load(src, w, dir, at, -n), len - at);
		at += n;
	}
	if (at < len && !c->opaque)
		data_unread(c, dir, len - at);
}
