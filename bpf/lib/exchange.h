// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The life of an exchange on a connection: opened by the first bytes of a request, ended by the end of its response,
// by the next request where the response has no end of its own, or by the end of the connection. The record is filled
// in place and copied to the ring once.
//
// Requests may be sent ahead (pipeline.h). One for which there is no room is followed without being recorded, a shadow, so
// that the pairs before and after it stay right, and counted; those behind it are shadows too.
#pragma once

#include "context.h"
#include "http.h"
#include "pipeline.h"
#include "process.h"
#include "ring.h"

// What may pass on a connection before it is taken not to speak HTTP: this many turns from one direction to the other
// (a connection found in the middle of a long transfer has few), or very much in one direction.
#define TRIES_MAX  4096
#define TRIES_TURN 512
// Most of what is said on unix sockets is no HTTP.
#define TRIES_TURN_UNIX (TRIES_MAX / 4)

// exchange_real tells whether what passes in a stream belongs to the record.
static __always_inline bool exchange_real(const struct conn *c, bool request)
{
	return c->open == OPEN_REAL && !(request && c->shadow);
}

// exchange_ahead tells whether the request stream is in a request behind the one whose response comes next.
static __always_inline bool exchange_ahead(const struct conn *c)
{
	return c->front != c->tail || c->shadow;
}

static __always_inline void stream_reset(struct stream *s)
{
	s->remain = 0;
	s->head = 0;
	s->state = STREAM_START;
	s->facts = 0;
	s->carry = 0;
}

// exchange_begin makes `rec` that of a new request.
static __always_inline void exchange_begin(struct conn *c, __u32 dir, __u32 seq)
{
	struct exchange_record *r = &c->rec;

	c->owner = 0;
	c->method = METHOD_OTHER;
	stream_reset(&c->stream[REQUEST]);
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
	r->wait = 0;
	r->error = 0;
}

#define NS_PER_US      1000
#define NS_PER_S       (1000 * 1000 * NS_PER_US)
#define JIFFIES_BEFORE 300         // seconds: how far below zero jiffies begin at boot
#define JIFFY_MAX      (10 * 1000) // microseconds

// socket_read reads a member of a socket of which only the address is known.
#ifndef socket_read
#define socket_read(type, sk, member) BPF_CORE_READ((type *)(sk), member)
#endif

// exchange_jiffy returns the length of a jiffy in ns, 0 if it cannot be told. A kernel does not say, but its jiffies began
// 300 s below zero as a number of 32 bits.
static __always_inline __u64 exchange_jiffy(__u64 now, __u64 jiffies)
{
	__s64 ns = now - (__u64)JIFFIES_BEFORE * NS_PER_S, n = jiffies - (1ull << 32);

	if (n < 0) {
		n = -n;
		ns = -ns;
	}
	return n > 1000 && ns > 0 ? (__u64)ns / (__u64)n : 0;
}

// exchange_wait returns for how many microseconds the request whose first byte is being read has been in the socket: since
// the last segment came. That time is overwritten when we acknowledge or send, so it is held against the one of the
// last payload, which is counted in jiffies only. Both stand still while the machine is suspended, so `now` does not tell if
// it was since the start: then the wait is longer than the jiffies say. A function of its own so that the verifier looks at
// it once.
__noinline __u64 exchange_wait(__u64 sk, __u64 now)
{
	__u64 jiffies = bpf_jiffies64(), stamp = socket_read(struct tcp_sock, sk, tcp_mstamp), wait, older;
	__u32 age = (__u32)jiffies - socket_read(struct inet_connection_sock, sk, icsk_ack.lrcvtime);

	now -= suspended;
	if (now / NS_PER_US - stamp > (age + 1ull) * JIFFY_MAX)
		now = bpf_ktime_get_ns();
	wait = now / NS_PER_US > stamp ? now / NS_PER_US - stamp : 0;
	if (age <= 2 || age > 1u << 20)
		return wait;
	older = (age - 1) * exchange_jiffy(now, jiffies) / NS_PER_US;
	return older > wait ? older : wait;
}

__noinline int exchange_forget(conn_param(c))
{
	conn_get(c);
	if (!c)
		return 0;
	pipeline_next(c);
	context_end(&c->rec, c->owner);
	drop(DROP_PIPELINED_EXCHANGE);
	return 0;
}

// exchange_forget_all leaves out those sent ahead when it cannot be known any more which response belongs to which.
static __always_inline void exchange_forget_all(struct conn *c)
{
	for (int i = 0; i < PIPELINE_MAX && c->front != c->tail; i++)
		exchange_forget(conn_ref(c));
	c->shadow = 0;
	c->shadows = 0;
	c->shadow_head = 0;
}

static __always_inline void exchange_open(struct conn *c, __u32 dir, __u32 seq)
{
	exchange_forget_all(c);
	c->open = OPEN_REAL;
	c->request_dir = dir;
	exchange_begin(c, dir, seq);
	if (dir == DIR_RX && c->rec.family != AF_UNIX)
		c->rec.wait = exchange_wait(c->sk, c->now);
	stream_reset(&c->stream[RESPONSE]);
}

// exchange_push opens a further exchange behind the last one, by a request sent ahead.
__noinline int exchange_push(conn_param(c), __u32 dir, __u32 seq)
{
	conn_get(c);
	if (!c)
		return 0;
	if (exchange_real(c, true)) {
		c->rec.flags |= EXCHANGE_PIPELINED;
		if (!pipeline_push(conn_ref(c))) {
			exchange_begin(c, dir, seq);
			return 0;
		}
	}
	c->shadow = 1;
	stream_reset(&c->stream[REQUEST]);
	return 0;
}

// exchange_pop is for what looked like a request sent ahead and is none.
static __always_inline void exchange_pop(struct conn *c)
{
	if (c->shadow) {
		c->shadow = c->shadows > 0;
	} else {
		pipeline_pop(conn_ref(c));
		c->rec.flags &= ~EXCHANGE_PIPELINED;
	}
	c->stream[REQUEST].state = STREAM_DONE;
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

static __always_inline void exchange_emit(struct conn *c)
{
	struct exchange_record *r = &c->rec;
	__u64 size;

	if (!r->span_id) {
		if (!c->far)
			r->cgroup = bpf_get_current_cgroup_id();
		context_alone(r); // the request head never ended
		c->unsettled = 0;
	}
	context_end(r, c->owner);
	c->owner = 0;
	if (!r->response_start && !r->response_captured) // the latter is of an earlier record of the same TLS connection
		r->flags |= EXCHANGE_NO_RESPONSE;
	size = sizeof(*r) + r->request_captured + r->response_captured;
	if (size > sizeof(*r) + sizeof(c->heads))
		size = sizeof(*r) + sizeof(c->heads);
	if (ring_send(r, size))
		drop(DROP_RING_FULL);
}

// exchange_next turns to the next request already sent, if there is one.
static __always_inline void exchange_next(struct conn *c)
{
	if (c->front != c->tail) {
		pipeline_next(c);
		return;
	}
	c->open = c->shadow ? OPEN_SHADOW : OPEN_NONE;
	if (c->shadows) {
		c->method = c->shadow_head & 1 ? METHOD_HEAD : METHOD_OTHER;
		c->shadow_head >>= 1;
		c->shadows--;
		c->shadow = c->shadows || c->stream[REQUEST].state != STREAM_DONE;
	} else {
		c->shadow = 0; // the stream is in this one
	}
}

// exchange_over emits the exchange whose response is over and turns to the one behind it.
static __always_inline void exchange_over(struct conn *c)
{
	bool lost = c->opaque || c->stream[RESPONSE].state == STREAM_LOST;

	if (c->open == OPEN_REAL) {
		if (c->front != c->tail)
			pipeline_show(c, c->front);
		exchange_emit(c);
	}
	stream_reset(&c->stream[RESPONSE]);
	if (lost)
		exchange_forget_all(c);
	exchange_next(c);
}

// A function of its own so that the verifier looks at it once.
__noinline int exchange_end(conn_param(c))
{
	conn_get(c);
	if (c)
		exchange_over(c);
	return 0;
}

// Where the errno of an aborted connection is among the flags that are passed on.
#define EXCHANGE_ERROR 16

// exchange_cut ends the exchange whose response comes next with the connection.
__noinline int exchange_cut(conn_param(c), __u32 flags)
{
	conn_get(c);
	const struct stream *request, *response;

	if (!c)
		return 0;
	request = &c->stream[REQUEST];
	response = &c->stream[RESPONSE];
	if (!exchange_ahead(c) && http_doubtful(request)) {
		c->open = OPEN_NONE;
		return 0;
	}
	pipeline_turn(c, false);
	if (!exchange_ahead(c) && request->state != STREAM_DONE)
		flags |= EXCHANGE_REQUEST_PARTIAL;
	if (response->state == STREAM_UNTIL_CLOSE)
		flags |= EXCHANGE_UNTIL_CLOSE;
	else if (response->state != STREAM_DONE && response->head)
		flags |= EXCHANGE_RESPONSE_PARTIAL;
	c->rec.flags |= flags;
	c->rec.error = flags >> EXCHANGE_ERROR;
	exchange_over(c);
	return 0;
}

// exchange_close ends what is open with the connection; EXCHANGE_RESET may come with the reason.
static __always_inline void exchange_close(struct conn *c, __u32 flags)
{
	for (int i = 0; i < PIPELINE_MAX && c->open == OPEN_REAL; i++)
		exchange_cut(conn_ref(c), flags);
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

// exchange_settle settles the context of an exchange whose request head has just been completed. It is called from close to
// the hook: it needs much of the stack. What is seen in another process says nothing of the thread.
__noinline int exchange_settle(conn_param(c))
{
	conn_get(c);
	const struct proc *p;

	if (!c || !c->unsettled)
		return 0;
	c->unsettled = 0;
	p = process_find(c->rec.tgid);
	c->proc_flags = p && !c->far ? p->flags : 0;
	if (!c->far && c->member != c->task >> 32) {
		c->member = c->task >> 32;
		c->rec.cgroup = bpf_get_current_cgroup_id();
	}
	c->owner = context_settle(conn_ref(c), c->task, c->proc_flags, exchange_known(c));
	c->dialed = 0;
	if (c->owner && c->proc_flags & PROC_GO && c->rec.role == ROLE_SERVER)
		goroutine_spawns(c->owner);
	return 0;
}

// exchange_request_head settles everything the request head decides.
static __always_inline void exchange_request_head(struct conn *c, struct stream *s, bool real)
{
	c->spoke = 1;
	if (real) {
		c->rec.request_head = s->head;
		c->method = c->next_method;
		c->unsettled = 1;
	} else {
		drop(DROP_PIPELINED_EXCHANGE);
		if (!c->shadow)
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

// exchange_capture appends `got` bytes of the window to the record's copy of a head.
static __always_inline void exchange_capture(struct conn *c, const struct window *w, bool request, __u32 from, __u32 got)
{
	struct exchange_record *r = &c->rec;
	__u32 have = request ? r->request_captured : r->response_captured;
	__u32 limit = request ? request_window : response_window;
	__u32 at = request ? have : r->request_captured + have;

	// Bytes of the response may be captured only after those of the request, which they follow in the record.
	if (request && r->response_captured)
		limit = have;
	if (got > limit - have) {
		r->flags |= request ? EXCHANGE_REQUEST_CUT : EXCHANGE_RESPONSE_CUT;
		got = limit - have;
	}
	barrier_var(got); // what the compiler knows of it the verifier does not
	if (!got || have >= limit || at >= sizeof(c->heads))
		return;
	if (request) {
		if (got > REQUEST_MAX || at > REQUEST_MAX)
			return;
		r->request_captured += got;
		bounded(at, REQUEST_MAX);
		bounded(got, REQUEST_MAX);
	} else {
		if (got > RESPONSE_MAX)
			return;
		r->response_captured += got;
		bounded(at, (int)sizeof(c->heads) - 1);
		bounded(got, RESPONSE_MAX);
	}
	bpf_probe_read_kernel(c->heads + at, got, w->bytes + (from & WINDOW_MASK));
}

// exchange_head takes in `n` bytes of a head from the window of a direction; s->state tells whether it ends there. A function
// of its own so that it is not on the stack while they are looked at.
__noinline int exchange_head(conn_param(c), __u32 dir, __u32 from, __u32 n)
{
	conn_get(c);
	const struct window *w = window_of(c, dir);
	bool request, real;
	struct stream *s;

	if (!c || !w || n > PIECE_MAX)
		return 0;
	request = dir == c->request_dir;
	real = exchange_real(c, request);
	s = &c->stream[request ? REQUEST : RESPONSE];
	s->head += n;
	if (real && request) // nobody reads that of a response
		exchange_capture(c, w, true, from, n);
	if (s->state != STREAM_DONE)
		return 0;
	if (request)
		exchange_request_head(c, s, real);
	else
		exchange_response_head(c, s, real);
	return 0;
}
