// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The core: bytes of one direction of a connection, as some hook saw them. Hooks differ in when they run and how often
// they see the same bytes; sequence numbers make them equal. Bytes already looked at are skipped (a peek, a send taken
// up again), bytes that passed no hook are noticed as a gap.
//
// The functions called in the loop are global ones: the verifier looks at each once and forgets what it returns.
#pragma once

#include "exchange.h"
#include "fcgi.h"
#include "source.h"

// Pieces loaded and bodies stepped over in one send or receive; what is left is not looked at.
#define STEPS_MAX 256
// Messages and chunks looked at in a piece before the rest of it is loaded anew.
#define LOOKS_MAX 128

// A difference of sequence numbers that can only be nonsense.
#define SEQ_WILD (1 << 30)

// How much is loaded to read the size of a chunk; no more, as a rule, for its data follows.
#define CHUNK_LINE_PIECE 32

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
			exchange_end(conn_ref(c));
	} else if (exchange_ahead(c) || state == STREAM_DONE || state == STREAM_LOST || c->opaque) {
		exchange_end(conn_ref(c));
	}
}

// data_unread follows n bytes that cannot be or need not be read.
__noinline int data_unread(conn_param(c), __u32 dir, __u32 n)
{
	conn_get(c);
	struct stream *s;
	bool request;

	if (!c || c->open == OPEN_NONE)
		return 0;
	request = dir == c->request_dir;
	pipeline_turn(c, request);
	s = &c->stream[request ? REQUEST : RESPONSE];
	exchange_count(c, request, n);
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
__noinline int data_step(conn_param(c), __u32 dir, __u32 seq, __u32 left)
{
	conn_get(c);
	struct stream *s;
	bool request;

	if (!c)
		return left;
	if (c->rec.protocol == PROTOCOL_FASTCGI)
		return fcgi_step(conn_ref(c), dir, left);
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
		data_unread(conn_ref(c), dir, left);
		return left;
	case STREAM_LOST:
		if (request && c->stream[RESPONSE].state == STREAM_DONE) { // then this may be the next one
			exchange_end(conn_ref(c));
			return 0;
		}
	case STREAM_UNTIL_CLOSE:
		exchange_count(c, request, left);
		return left;
	case STREAM_DONE:
		if (!request)
			return left; // behind the response, while the request is still coming
		if (c->stream[RESPONSE].state == STREAM_LOST || (c->stream[RESPONSE].state == STREAM_UNTIL_CLOSE && !exchange_ahead(c))) {
			exchange_end(conn_ref(c));
			return 0;
		}
		exchange_push(conn_ref(c), dir, seq);
		return -data_want(left, PIECE_MAX);
	case STREAM_CHUNK_LINE:
		return -data_want(left, s->facts & FACT_SMALL_CHUNK ? PIECE_MAX : CHUNK_LINE_PIECE);
	default:
		return -data_want(left, PIECE_MAX);
	}
}

// data_tls looks at [at, end) in the window, which is no HTTP message, and marks the connection if it begins as a record of
// TLS does. It tells whether the piece is dealt with. One that is too short to tell is to be looked at again: some servers
// peek at the first byte. A function of its own so that the verifier looks at it once.
__noinline int data_tls(conn_param(c), __u32 dir, __u32 at, __u32 end)
{
	conn_get(c);
	const struct window *w = window_of(c, dir);
	__u8 type;

	if (!c || !w || c->spoke)
		return 0;
	type = load1(w, at);
	if (type < 20 || type > 23 || (end - at > 1 && load1(w, at + 1) != 3))
		return 0;
	if (end - at < 5)
		c->primed &= ~(1 << (dir & 1));
	else if (load1(w, at + 2) <= 4 && load1(w, at + 3) <= 72) // version 3.0 to 3.4, at most 18 KiB
		c->opaque = OPAQUE_TLS;
	else
		return 0;
	c->open = OPEN_NONE;
	return 1;
}

// data_took counts n bytes of lines, and takes note of what they ended.
__noinline int data_took(conn_param(c), __u32 dir, __u32 n)
{
	conn_get(c);
	struct stream *s;
	bool request;

	if (!c)
		return 0;
	request = dir == c->request_dir;
	s = &c->stream[request ? REQUEST : RESPONSE];
	if (s->state != STREAM_START || s->carry)
		exchange_count(c, request, n); // else an interim response
	if (s->state == STREAM_DONE)
		data_message_done(c, request);
	else if (s->state == STREAM_LOST)
		exchange_lost(c, s, request); // no chunk size where one should be
	return 0;
}

// data_foreign deals with what is no HTTP message where one should be, as data_lines does.
__noinline int data_foreign(conn_param(c), __u32 dir, __u32 from, __u32 end, __u32 left)
{
	conn_get(c);
	bool request, doubtful, got = end > from;
	struct stream *s;
	__u32 n;

	if (!c)
		return left;
	request = dir == c->request_dir;
	s = &c->stream[request ? REQUEST : RESPONSE];
	if (request && s->state == STREAM_START && !c->spoke && got && fcgi_first(window_of(c, dir), from, end)) {
		c->rec.protocol = PROTOCOL_FASTCGI;
		c->open = OPEN_NONE;
		return 0;
	}
	if (got && s->state == STREAM_START && data_tls(conn_ref(c), dir, from, end))
		return left;
	if (request && s->state == STREAM_START && exchange_ahead(c) && got) {
		exchange_pop(c);
	} else if (!exchange_ahead(c) && (got ? c->stream[REQUEST].state <= STREAM_HEAD : request && s->state == STREAM_START)) {
		doubtful = got && !request && http_doubtful(&c->stream[REQUEST]);
		exchange_abandon(c, dir);
		if (doubtful)
			return 0; // this may be a request then
	} else {
		data_unread(conn_ref(c), dir, left);
		return left;
	}
	n = request ? http_blank(c, dir, from) : 0;
	return n ? n : left;
}

// data_lines looks at [from, end) in the window of the direction, `left` bytes from `from` on being there in all; an empty
// piece could not be read. It returns how many bytes are dealt with.
__noinline int data_lines(conn_param(c), __u32 dir, __u32 from, __u32 end, __u32 left)
{
	conn_get(c);
	struct stream *s;
	bool head;
	int n;

	if (!c)
		return left;
	s = &c->stream[dir == c->request_dir ? REQUEST : RESPONSE];
	head = s->state <= STREAM_HEAD;
	n = end > from ? http_scan(conn_ref(c), dir, from, end) : HTTP_NOT;
	if (n < 0)
		return data_foreign(conn_ref(c), dir, from, end, left);
	if (head)
		exchange_head(conn_ref(c), dir, from, n);
	data_took(conn_ref(c), dir, n);
	return n;
}

// data_look takes a piece of `got` bytes out of `left` that was loaded into the window of the direction; `seq` is its first
// byte's, and 0 bytes mean that it cannot be read. It returns how many bytes are dealt with: up to where a further piece
// must be loaded.
__noinline int data_look(conn_param(c), __u32 dir, __u32 seq, __u32 got, __u32 left)
{
	conn_get(c);
	__u32 at = 0;
	int n;

	if (!c)
		return left;
	if (!got)
		drop(DROP_READ_FAULT);
	if (c->rec.protocol == PROTOCOL_FASTCGI) {
		at = fcgi_look(conn_ref(c), dir, seq, got, left);
		exchange_settle(conn_ref(c));
		return at;
	}
	for (int i = 0; i < LOOKS_MAX; i++) {
		n = i ? data_step(conn_ref(c), dir, seq + at, left - at) : -1;
		if (n < 0) {
			n = data_lines(conn_ref(c), dir, CARRY_MAX + at, CARRY_MAX + got, left - at);
			exchange_settle(conn_ref(c));
		}
		at += n;
		if (at >= got || c->opaque || c->rec.protocol != PROTOCOL_HTTP)
			break;
	}
	return at;
}

// data_skip follows n bytes that are not looked at, whatever the protocol.
static __always_inline void data_skip(struct conn *c, __u32 dir, __u32 n)
{
	if (c->rec.protocol == PROTOCOL_FASTCGI)
		fcgi_unread(conn_ref(c), dir, n);
	else
		data_unread(conn_ref(c), dir, n);
}

// data_owner returns for whom a loop goes to work on what it has read. Of several requests in one read it cannot be told.
static __always_inline __u64 data_owner(const struct conn *c)
{
	if (exchange_ahead(c) || c->rec.flags & EXCHANGE_PIPELINED)
		return 0;
	return c->owner ? c->owner : c->before;
}

static __always_inline void data(struct conn *c, const struct source *src, __u32 dir, __u32 seq, __u32 len, __u64 task)
{
	__u32 at = 0, got, number;
	struct window *w;

	if (!window_claim(conn_ref(c), dir))
		return; // which shows as a gap
	number = c->window[dir];
	w = window_at(number);
	if (!w)
		return;
	c->now = bpf_ktime_get_boot_ns();
	c->task = task;
	c->before = exchange_ahead(c) ? 0 : c->owner;
	if (c->primed & 1 << dir) {
		__s32 ahead = c->seen[dir] - seq;

		if (ahead >= (__s32)len && ahead < SEQ_WILD) {
			window_release(window_kept(w, number));
			return;
		}
		if (ahead > 0 && ahead < SEQ_WILD) {
			at = ahead;
		} else if (ahead) {
			drop(DROP_GAP);
			data_skip(c, dir, -ahead);
		}
	}
	c->primed |= 1 << dir;
	c->seen[dir] = seq + len;
	for (int i = 0; i < STEPS_MAX && at < len && !c->opaque && src->kind != SOURCE_NONE; i++) {
		int n = data_step(conn_ref(c), dir, seq + at, len - at);

		if (n < 0) {
			got = source_load(src, w, number, at, -n);
			n = data_look(conn_ref(c), dir, seq + at, got, len - at);
		}
		at += n;
	}
	barrier_var(at); // else how the loop ended is kept, and the verifier walks it once for each
	window_release(window_kept(w, number));
	if (at < len && !c->opaque)
		data_skip(c, dir, len - at);
	if (dir == DIR_RX && c->proc_flags & PROC_LOOP)
		owner_read(data_owner(c), task, &c->rec);
}
