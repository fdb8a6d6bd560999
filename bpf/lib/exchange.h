// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The life of an exchange on a connection: opened by the first bytes of a request, ended by the end of its response,
// by the next request where the response has no end of its own, or by the end of the connection. The record is filled
// in place and copied to the ring once.
//
// Requests sent before the response to the one before is complete (pipelining) are followed without being recorded,
// so that the pairs before and after them stay right; each is counted.
#pragma once

#include "context.h"
#include "http.h"
#include "process.h"
#include "ring.h"

// What may pass on a connection before it is taken not to speak HTTP: this many turns from one direction to the other
// (a connection found in the middle of a long transfer has few), or very much in one direction.
#define TRIES_MAX  4096
#define TRIES_TURN 512
// Most of what is said on unix sockets is no HTTP.
#define TRIES_TURN_UNIX (TRIES_MAX / 2)

// exchange_real tells whether what passes in a stream belongs to the record.
static __always_inline bool exchange_real(const struct conn *c, bool request)
{
	return c->open == OPEN_REAL && !(request && c->request_ahead);
}

static __always_inline void stream_reset(struct stream *s)
{
	s->remain = 0;
	s->head = 0;
	s->state = STREAM_START;
	s->facts = 0;
	s->carry = 0;
}

static __always_inline void exchange_open(struct conn *c, __u32 dir, __u32 seq)
{
	struct exchange_record *r = &c->rec;

	c->open = OPEN_REAL;
	c->done = 0;
	c->ahead = 0;
	c->request_ahead = 0;
	c->request_dir = dir;
	c->owner = 0;
	stream_reset(&c->stream[REQUEST]);
	stream_reset(&c->stream[RESPONSE]);
	r->flags &= EXCHANGE_KEYED;
	r->role = dir == DIR_RX ? ROLE_SERVER : ROLE_CLIENT;
	r->context = CONTEXT_ROOT;
	r->trace_flags = 0;
	r->request_start = c->now;
	r->request_end = 0;
	r->response_start = 0;
	r->response_end = 0;
	r->request_bytes = 0;
	r->response_bytes = 0;
	r->request_head = 0;
	r->response_head = 0;
	r->request_captured = 0;
	r->response_captured = 0;
	r->status = 0;
	r->tgid = c->task >> 32;
	r->tid = c->task;
	r->request_seq = seq + c->wire_shift;
	r->trace_id[0] = 0;
	r->trace_id[1] = 0;
	r->span_id = 0;
	r->parent_span_id = 0;
}

// exchange_count counts n bytes of a message, as on the wire.
static __always_inline void exchange_count(struct conn *c, bool request, __u32 n)
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

// exchange_abandon is for what looked like a request and is none.
static __always_inline void exchange_abandon(struct conn *c, __u32 dir)
{
	c->open = OPEN_NONE;
	if (c->spoke)
		return;
	if (dir == c->last_dir)
		c->tries++;
	else
		c->tries += c->rec.family == AF_UNIX ? TRIES_TURN_UNIX : TRIES_TURN;
	c->last_dir = dir;
	if (c->tries >= TRIES_MAX)
		c->opaque = 1;
}

__noinline int exchange_emit(struct conn *c)
{
	struct exchange_record *r = &c->rec;
	__u64 size;

	if (!c)
		return 0;
	if (!r->span_id) {
		if (!c->far)
			r->cgroup = bpf_get_current_cgroup_id();
		c->owner = context_settle(r, c->task, c->proc_flags, 0); // the request head never ended
	}
	context_end(r, c->owner);
	c->owner = 0;
	if (!r->response_start)
		r->flags |= EXCHANGE_NO_RESPONSE;
	if (r->request_captured < c->stream[REQUEST].head)
		r->flags |= EXCHANGE_REQUEST_CUT;
	if (r->response_captured < c->stream[RESPONSE].head)
		r->flags |= EXCHANGE_RESPONSE_CUT;
	size = sizeof(*r) + r->request_captured + r->response_captured;
	if (size > sizeof(*r) + sizeof(c->heads))
		size = sizeof(*r) + sizeof(c->heads);
	if (ring_send(r, size))
		drop(DROP_RING_FULL);
	return 0;
}

// exchange_end emits the open exchange and turns to the next request already sent, if there is one.
__noinline int exchange_end(struct conn *c)
{
	bool method_head;

	if (!c)
		return 0;
	if (c->open == OPEN_REAL)
		exchange_emit(c);
	else
		drop(DROP_PIPELINED_EXCHANGE);
	c->open = OPEN_SHADOW;
	stream_reset(&c->stream[RESPONSE]);
	if (c->ahead) {
		c->done = 1 << REQUEST;
		method_head = c->ahead_head & 1;
		c->method = method_head ? METHOD_HEAD : METHOD_OTHER;
		c->ahead_head >>= 1;
		c->ahead--;
		if (!c->ahead && c->stream[REQUEST].state == STREAM_DONE)
			c->request_ahead = 0;
	} else if (c->request_ahead && c->stream[REQUEST].state != STREAM_DONE) {
		c->done = 0;
		c->request_ahead = 0;
	} else {
		c->open = OPEN_NONE;
	}
	return 0;
}

// exchange_close ends what is open with the connection.
static __always_inline void exchange_close(struct conn *c, __u16 flags)
{
	const struct stream *request = &c->stream[REQUEST], *response = &c->stream[RESPONSE];

	if (c->open == OPEN_REAL && request->state != STREAM_START) {
		if (!(c->done & 1 << REQUEST))
			flags |= EXCHANGE_REQUEST_PARTIAL;
		if (response->state == STREAM_UNTIL_CLOSE)
			flags |= EXCHANGE_UNTIL_CLOSE;
		else if (!(c->done & 1 << RESPONSE) && response->head)
			flags |= EXCHANGE_RESPONSE_PARTIAL;
		c->rec.flags |= flags;
		exchange_emit(c);
	}
	c->open = OPEN_NONE;
}

static __always_inline void exchange_lost(struct conn *c, struct stream *s, bool request)
{
	s->state = STREAM_LOST;
	if (exchange_real(c, request))
		c->rec.flags |= EXCHANGE_UNFRAMED;
	drop(DROP_FRAMING);
}

// exchange_known returns the key of who is at work where the thread does not tell: the goroutine that serves the request,
// the one for which it is made, or who opened the connection for it; 0: not known.
static __always_inline __u64 exchange_known(const struct conn *c)
{
	if (!(c->proc_flags & PROC_GO))
		return c->dialed;
	return c->rec.role == ROLE_SERVER ? goroutine_current(c->task) : goroutine_patron(c->sk, c->task);
}

// exchange_settle is called when the request head is complete. What is seen in another process says nothing of the thread.
static __always_inline void exchange_settle(struct conn *c)
{
	const struct proc *p = process_find(c->rec.tgid);

	c->proc_flags = p && !c->far ? p->flags : 0;
	if (!c->far)
		c->rec.cgroup = bpf_get_current_cgroup_id();
	c->owner = context_settle(&c->rec, c->task, c->proc_flags, exchange_known(c));
	c->dialed = 0;
	if (c->owner && c->proc_flags & PROC_GO && c->rec.role == ROLE_SERVER)
		goroutine_spawns(c->owner);
}

// exchange_request_head settles everything the request head decides.
static __always_inline void exchange_request_head(struct conn *c, struct stream *s, bool real)
{
	c->spoke = 1;
	if (real) {
		c->rec.request_head = s->head;
		c->method = c->next_method;
		exchange_settle(c);
	} else if (!c->request_ahead) {
		c->method = c->next_method;
	}
	if (s->facts & FACT_CHUNKED)
		s->state = STREAM_CHUNK_LINE;
	else if (s->facts & FACT_LENGTH && s->remain)
		s->state = STREAM_LENGTH;
	else
		s->state = STREAM_DONE;
}

// exchange_response_head does so for the response. An interim response is forgotten; the stream is back at its start.
static __always_inline void exchange_response_head(struct conn *c, struct stream *s, bool real)
{
	__u32 status = c->rec.status;

	if (status < 200 && status != 101) {
		stream_reset(s);
		if (real) {
			c->rec.response_captured = 0;
			c->rec.response_bytes = 0;
			c->rec.response_start = 0;
			c->rec.response_end = 0;
		}
		return;
	}
	if (real) {
		c->rec.response_head = s->head;
		// Whoever called goes on now, likely where the response was read: on another processor than before.
		if (c->rec.role == ROLE_CLIENT && c->proc_flags & PROC_GO && c->owner)
			goroutine_spawns(c->owner);
	}
	if (status == 101 || (c->method == METHOD_CONNECT && status < 300)) {
		c->rec.flags |= EXCHANGE_UPGRADED;
		c->opaque = 1;
		s->state = STREAM_DONE;
	} else if (status == 204 || status == 304 || c->method == METHOD_HEAD) {
		s->state = STREAM_DONE;
	} else if (s->facts & FACT_CHUNKED) {
		s->state = STREAM_CHUNK_LINE;
	} else if (s->facts & FACT_LENGTH) {
		s->state = s->remain ? STREAM_LENGTH : STREAM_DONE;
	} else {
		s->state = STREAM_UNTIL_CLOSE;
	}
}

// exchange_capture appends the first `got` bytes of the window to the record's copy of a head.
static __always_inline void exchange_capture(struct conn *c, const struct window *w, bool request, __u32 got)
{
	struct exchange_record *r = &c->rec;
	__u32 have = request ? r->request_captured : r->response_captured;
	__u32 limit = request ? request_window : response_window;
	__u32 at = request ? have : r->request_captured + have;

	if (have >= limit || at >= sizeof(c->heads))
		return;
	if (got > limit - have)
		got = limit - have;
	if (request) {
		if (got > REQUEST_MAX || at > REQUEST_MAX)
			return;
		r->request_captured += got;
	} else {
		if (got > RESPONSE_MAX)
			return;
		r->response_captured += got;
	}
	bpf_probe_read_kernel(c->heads + at, got, w->bytes + CARRY_MAX);
}

// exchange_lines takes a piece of `got` bytes from the window of a direction whose stream is at a line. It returns how
// many it took, or HTTP_NOT. A function of its own so that the verifier looks at it once.
__noinline int exchange_lines(struct conn *c, __u32 dir, __u32 got)
{
	struct window *w = window_of(dir);
	bool request, real, head;
	struct stream *s;
	int n;

	if (!c || !w)
		return HTTP_NOT;
	request = dir == c->request_dir;
	real = exchange_real(c, request);
	s = &c->stream[request ? REQUEST : RESPONSE];
	head = s->state <= STREAM_HEAD;
	n = http_scan(c, dir, got, real && request);
	if (n < 0 || n > PIECE_MAX || !head)
		return n;
	s->head += n;
	// Bytes of the response may be captured only after those of the request, which they follow in the record.
	if (real && (request ? !c->rec.response_captured : true))
		exchange_capture(c, w, request, n);
	if (s->state != STREAM_DONE)
		return n;
	if (request)
		exchange_request_head(c, s, real);
	else
		exchange_response_head(c, s, real);
	return n;
}
