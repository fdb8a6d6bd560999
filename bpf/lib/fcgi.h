// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// FastCGI as far as needed to know where requests begin and end, and what they ask for. A stream is a sequence of
// records: 8 bytes of header, content, padding. A request is BEGIN_REQUEST, PARAMS up to an empty one, STDIN up to an
// empty one; its response is STDOUT and STDERR up to END_REQUEST.
//
// Of the parameters only those that matter are captured, each as its number, its length and its value, for what servers
// put first is what may never be published: QUERY_STRING. One request at a time is followed on a connection; another one
// that is multiplexed with it is counted.
#pragma once

#include "exchange.h"

// Records and parameters looked at in a piece before the rest of it is loaded anew.
#define FCGI_STEPS 64

enum fcgi_type {
	FCGI_FOREIGN = 0, // of no request that is followed
	FCGI_BEGIN_REQUEST = 1,
	FCGI_END_REQUEST = 3,
	FCGI_PARAMS = 4,
	FCGI_STDIN = 5,
	FCGI_STDOUT = 6,
	FCGI_TYPE_MAX = 11,
};

#define FCGI_KEEP_CONN 1 // flag of BEGIN_REQUEST

// The parameters that are captured, by the number that user space knows them by; FCGI_CUT is added when there is more of
// the value than was captured.
enum fcgi_parameter {
	FCGI_NONE = 0,
	FCGI_REQUEST_METHOD = 1,
	FCGI_REQUEST_URI = 2,
	FCGI_SCRIPT_NAME = 3,
	FCGI_PATH_INFO = 4,
	FCGI_HTTP_HOST = 5,
	FCGI_HTTP_USER_AGENT = 6,
	FCGI_SERVER_PROTOCOL = 7,
	FCGI_TRACEPARENT = 8, // read here, not captured
	FCGI_CUT = 0x80,
};

#define FCGI_VALUE_MAX 255

// fcgi_first tells whether the first bytes on a connection can be those of a BEGIN_REQUEST.
static __always_inline bool fcgi_first(const struct window *w, __u32 at, __u32 end)
{
	return w && load1(w, at) == 1 && (end - at == 1 || load1(w, at + 1) == FCGI_BEGIN_REQUEST);
}

// fcgi_begins tells whether a header is that of a BEGIN_REQUEST: version, type, request, 8 bytes, padding, 0.
static __always_inline bool fcgi_begins(__u64 header)
{
	return (header & 0xff00ffff0000ffffull) == word(1, FCGI_BEGIN_REQUEST, 0, 0, 0, 8, 0, 0);
}

static __always_inline struct stream *fcgi_stream(struct conn *c, __u32 dir)
{
	return &c->stream[dir == c->request_dir ? REQUEST : RESPONSE];
}

static __always_inline void fcgi_lost(struct conn *c, struct stream *s, bool request)
{
	s->fcgi.content = 0;
	s->fcgi.padding = 0;
	s->fcgi.kept = 0;
	s->fcgi.parted = 0;
	s->fcgi.value = 0;
	exchange_lost(c, s, request);
}

// fcgi_put copies n bytes of the window to `at` in the captured heads.
static __always_inline void fcgi_put(struct conn *c, const struct window *w, __u32 from, __u32 at, __u32 n)
{
	barrier_var(n); // what the compiler knows of it the verifier does not
	if (at >= sizeof(c->heads) || n > RESPONSE_MAX)
		return;
	bounded(at, (int)sizeof(c->heads) - 1);
	bounded(n, RESPONSE_MAX);
	bpf_probe_read_kernel(c->heads + at, n, w->bytes + (from & WINDOW_MASK));
}

// fcgi_name tells which parameter has a name of n bytes that begins and ends with these eight.
static __always_inline __u8 fcgi_name(__u32 n, __u64 first, __u64 last)
{
	if (n == 14 && first == word('R', 'E', 'Q', 'U', 'E', 'S', 'T', '_') && last == word('T', '_', 'M', 'E', 'T', 'H', 'O', 'D'))
		return FCGI_REQUEST_METHOD;
	if (n == 11 && first == word('R', 'E', 'Q', 'U', 'E', 'S', 'T', '_') && last == word('U', 'E', 'S', 'T', '_', 'U', 'R', 'I'))
		return FCGI_REQUEST_URI;
	if (n == 11 && first == word('S', 'C', 'R', 'I', 'P', 'T', '_', 'N') && last == word('I', 'P', 'T', '_', 'N', 'A', 'M', 'E'))
		return FCGI_SCRIPT_NAME;
	if (n == 9 && first == word('P', 'A', 'T', 'H', '_', 'I', 'N', 'F') && last == word('A', 'T', 'H', '_', 'I', 'N', 'F', 'O'))
		return FCGI_PATH_INFO;
	if (n == 9 && first == word('H', 'T', 'T', 'P', '_', 'H', 'O', 'S') && last == word('T', 'T', 'P', '_', 'H', 'O', 'S', 'T'))
		return FCGI_HTTP_HOST;
	if (n == 15 && first == word('H', 'T', 'T', 'P', '_', 'U', 'S', 'E') && last == word('E', 'R', '_', 'A', 'G', 'E', 'N', 'T'))
		return FCGI_HTTP_USER_AGENT;
	if (n == 15 && first == word('S', 'E', 'R', 'V', 'E', 'R', '_', 'P') && last == word('P', 'R', 'O', 'T', 'O', 'C', 'O', 'L'))
		return FCGI_SERVER_PROTOCOL;
	if (n == 16 && first == word('H', 'T', 'T', 'P', '_', 'T', 'R', 'A') && last == word('C', 'E', 'P', 'A', 'R', 'E', 'N', 'T'))
		return FCGI_TRACEPARENT;
	return FCGI_NONE;
}

// fcgi_want makes room for the value of a parameter, which is to come.
static __always_inline void fcgi_want(struct conn *c, struct fcgi *f, __u8 parameter)
{
	struct exchange_record *r = &c->rec;
	__u32 have = r->request_captured, n = f->value;

	f->wanted = FCGI_NONE;
	f->room = 0;
	if (parameter == FCGI_TRACEPARENT) {
		f->wanted = parameter;
		f->room = n < sizeof(f->part) ? n : sizeof(f->part);
		return;
	}
	if (r->response_captured || have + 2 > request_window || have > REQUEST_MAX - 2)
		return;
	if (n > FCGI_VALUE_MAX)
		n = FCGI_VALUE_MAX;
	if (n > request_window - have - 2)
		n = request_window - have - 2;
	if (n < f->value)
		r->flags |= EXCHANGE_REQUEST_CUT;
	c->heads[have] = n < f->value ? parameter | FCGI_CUT : parameter;
	c->heads[have + 1] = n;
	r->request_captured = have + 2;
	f->wanted = parameter;
	f->room = n;
}

// fcgi_length reads the length of a name or of a value, which takes 1 or 4 bytes.
static __always_inline __u32 fcgi_length(const struct window *w, __u32 at)
{
	__u32 first = load1(w, at);

	return first < 0x80 ? first : bpf_ntohl((__u32)load8(w, at)) & 0x7fffffff;
}

// fcgi_pair looks at the beginning of a parameter: two lengths, and the name if it has the length of one that matters. It
// returns how many bytes that is, 0 if they are not all in [at, end). A function of its own so that the verifier looks at
// it once.
__noinline int fcgi_pair(conn_param(c), __u32 dir, __u32 at, __u32 end)
{
	conn_get(c);
	const struct window *w = window_of(c, dir);
	__u32 n, name, value;
	struct fcgi *f;

	if (!c || !w)
		return 0;
	f = &fcgi_stream(c, dir)->fcgi;
	n = load1(w, at) < 0x80 ? 1 : 4;
	if (at + n >= end)
		return 0;
	name = fcgi_length(w, at);
	value = fcgi_length(w, at + n);
	n += load1(w, at + n) < 0x80 ? 1 : 4;
	if (at + n > end)
		return 0;
	f->room = 0;
	if (name < 9 || name > 16) {
		f->value = name + value;
		return n;
	}
	if (at + n + name > end)
		return 0;
	f->value = value;
	name = fcgi_name(name, load8(w, at + n), load8(w, at + n + name - 8)) << 8 | name; // two in one: registers are few
	if (name >> 8)
		fcgi_want(c, f, name >> 8);
	return n + (name & 0xff);
}

// fcgi_traceparent reads the value that was gathered in `part`.
__noinline int fcgi_traceparent(conn_param(c), __u32 dir)
{
	conn_get(c);
	struct window *w = window_of(c, dir);
	struct fcgi *f;

	if (!c || !w)
		return 0;
	f = &fcgi_stream(c, dir)->fcgi;
	if (f->parted == 55 || (f->parted == 56 && f->part[55] == '-')) {
		bpf_probe_read_kernel(w->bytes, sizeof(f->part), f->part); // at the beginning there is room
		http_traceparent(&c->rec, w, 0);
	}
	f->parted = 0;
	return 0;
}

// fcgi_value takes up to n bytes at `at` of the value of a parameter.
static __always_inline __u32 fcgi_value(struct conn *c, struct fcgi *f, const struct window *w, __u32 dir, __u32 at, __u32 n)
{
	__u32 m, parted = f->parted;

	if (n > f->value)
		n = f->value;
	f->value -= n;
	m = n < f->room ? n : f->room;
	if (!m)
		return n;
	f->room -= m;
	if (f->wanted != FCGI_TRACEPARENT) {
		fcgi_put(c, w, at, c->rec.request_captured, m);
		c->rec.request_captured += m;
		return n;
	}
	if (parted + m <= sizeof(f->part)) {
		f->parted = parted + m;
		parted &= 63; // tells the verifier that it fits
		m &= 63;
		barrier_var(parted);
		barrier_var(m);
		bpf_probe_read_kernel(f->part + parted, m, w->bytes + (at & WINDOW_MASK));
	}
	if (!f->room)
		fcgi_traceparent(conn_ref(c), dir);
	return n;
}

// fcgi_params takes some of the n bytes of PARAMS at `at` and returns how many. The unfinished beginning of a parameter is
// kept, and put in front of what follows.
static __always_inline __u32 fcgi_params(struct conn *c, struct fcgi *f, struct window *w, __u32 dir, __u32 at, __u32 n)
{
	__u32 kept = f->parted, begin;
	int used;

	if (f->value)
		return fcgi_value(c, f, w, dir, at, n);
	if (kept > 24)
		kept = 24;
	begin = at - kept;
	barrier_var(begin);
	bpf_probe_read_kernel(w->bytes + (begin & WINDOW_MASK), kept, f->part);
	used = fcgi_pair(conn_ref(c), dir, begin, at + n);
	if (used > 0) {
		f->parted = 0;
		return begin + used - at;
	}
	if (n > 24)
		return n; // cannot be: the beginning of a parameter has at most 24 bytes
	bounded(kept, 24);
	bpf_probe_read_kernel(f->part + kept, n, w->bytes + (at & WINDOW_MASK));
	f->parted = kept + n;
	return n;
}

// fcgi_open begins the exchange of a BEGIN_REQUEST whose first byte is at `seq`.
static __always_inline int fcgi_open(struct conn *c, __u32 dir, __u32 seq, __u32 id)
{
	if (!c)
		return 0;
	if (c->open == OPEN_REAL && c->request_id != id && c->stream[RESPONSE].state != STREAM_LOST) { // multiplexed
		drop(DROP_PIPELINED_EXCHANGE);
		return 0;
	}
	if (c->open == OPEN_REAL)
		exchange_end(conn_ref(c)); // its end was missed
	exchange_open(c, dir, seq);
	c->spoke = 1;
	c->request_id = id;
	c->stream[REQUEST].state = STREAM_HEAD;
	return 1;
}

// fcgi_refuse is for a header that is none.
static __always_inline void fcgi_refuse(struct conn *c, struct stream *s, __u32 dir, bool request)
{
	if (c->spoke) {
		exchange_count(c, request, 8);
		fcgi_lost(c, s, request);
		return;
	}
	c->rec.protocol = PROTOCOL_HTTP; // what a connection is taken to speak until it is known
	exchange_abandon(c, dir);
}

// fcgi_header takes a header at `at`, whose sequence number is `seq`. A function of its own so that the verifier looks at
// it once.
__noinline int fcgi_header(conn_param(c), __u32 dir, __u32 seq, __u32 at)
{
	conn_get(c);
	const struct window *w = window_of(c, dir);
	struct stream *s;
	struct fcgi *f;
	__u32 type, id;
	bool request;
	__u64 h;

	if (!c || !w)
		return 0;
	h = load8(w, at);
	type = (h >> 8) & 0xff;
	id = bpf_ntohs(h >> 16);
	request = dir == c->request_dir;
	s = fcgi_stream(c, dir);
	f = &s->fcgi;
	if ((h & 0xff) != 1 || !type || type > FCGI_TYPE_MAX || (!c->spoke && !fcgi_begins(h))) {
		fcgi_refuse(c, s, dir, request);
		return 0;
	}
	if (request && fcgi_begins(h)) {
		if (!fcgi_open(c, dir, seq, id))
			type = FCGI_FOREIGN;
	} else if (c->open == OPEN_NONE || id != c->request_id) {
		type = FCGI_FOREIGN;
	} else if (!request && s->state == STREAM_START) {
		s->state = STREAM_HEAD;
	}
	f->type = type;
	f->content = bpf_ntohs(h >> 32);
	f->padding = h >> 48;
	if (!type)
		return 0;
	exchange_count(c, request, 8);
	if (f->content)
		return 0;
	if (type == FCGI_PARAMS) {
		c->rec.request_head = s->remain;
		c->unsettled = 1;
	} else if (type == FCGI_STDIN) {
		s->state = STREAM_DONE;
	}
	return 0;
}

// fcgi_next takes the rest of a header from [at, end), or what there is of it, and returns where it ends.
static __always_inline __u32 fcgi_next(struct conn *c, struct fcgi *f, struct window *w, __u32 dir, __u32 seq, __u32 at, __u32 end)
{
	__u32 kept = f->kept & 7, begin = at - kept, n;

	barrier_var(begin);
	bpf_probe_read_kernel(w->bytes + (begin & WINDOW_MASK), kept, f->header);
	n = end - begin;
	if (n >= 8) {
		f->kept = 0;
		fcgi_header(conn_ref(c), dir, seq + begin - CARRY_MAX, begin);
		return begin + 8;
	}
	bpf_probe_read_kernel(f->header, n & 7, w->bytes + (begin & WINDOW_MASK));
	f->kept = n;
	return end;
}

// fcgi_pass follows n bytes of content or padding.
static __always_inline void fcgi_pass(struct conn *c, struct fcgi *f, bool request, __u32 n)
{
	if (f->type)
		exchange_count(c, request, n);
	if (n <= f->content) {
		f->content -= n;
	} else {
		f->padding -= n - f->content;
		f->content = 0;
	}
	if (f->content || f->padding || f->type != FCGI_END_REQUEST)
		return;
	c->stream[RESPONSE].state = STREAM_DONE;
	exchange_end(conn_ref(c));
}

// fcgi_content takes what it can of the content and the padding of a record from [at, end) and returns where that ends.
// A function of its own so that the verifier looks at it once.
__noinline int fcgi_content(conn_param(c), __u32 dir, __u32 at, __u32 end)
{
	conn_get(c);
	struct window *w = window_of(c, dir);
	struct stream *s;
	struct fcgi *f;
	bool request;
	__u32 n, have;

	if (!c || !w || end < at)
		return end;
	request = dir == c->request_dir;
	s = fcgi_stream(c, dir);
	f = &s->fcgi;
	n = end - at;
	if (n > f->content)
		n = f->content;
	if (!n) {
		n = end - at;
		if (n > f->padding)
			n = f->padding;
	} else if (f->type == FCGI_BEGIN_REQUEST) {
		if (n == 8)
			c->last = !(load1(w, at + 2) & FCGI_KEEP_CONN);
	} else if (f->type == FCGI_PARAMS && request) {
		n = fcgi_params(c, f, w, dir, at, n);
		s->remain += n;
	} else if (f->type == FCGI_STDOUT && !request) {
		have = c->rec.response_captured;
		if (have < response_window) {
			if (n > response_window - have)
				n = response_window - have;
			fcgi_put(c, w, at, c->rec.request_captured + have, n);
			c->rec.response_captured = have + n;
			s->head += n;
		}
	}
	fcgi_pass(c, f, request, n);
	return at + n;
}

// fcgi_step takes what it can of `left` bytes without looking at them, as data_step does.
__noinline int fcgi_step(conn_param(c), __u32 dir, __u32 left)
{
	conn_get(c);
	struct stream *s;
	struct fcgi *f;
	bool request;
	__u32 n;

	if (!c)
		return left;
	request = dir == c->request_dir;
	s = fcgi_stream(c, dir);
	f = &s->fcgi;
	n = f->content + f->padding;
	if (!n || (f->type == FCGI_PARAMS && request) ||
	    (f->type == FCGI_STDOUT && !request && f->content && c->rec.response_captured < response_window))
		return left < PIECE_MAX ? -left : -PIECE_MAX;
	if (n > left)
		n = left;
	fcgi_pass(c, f, request, n);
	return n;
}

// fcgi_unread follows n bytes that cannot be or need not be read.
__noinline int fcgi_unread(conn_param(c), __u32 dir, __u32 n)
{
	conn_get(c);
	struct stream *s;
	struct fcgi *f;
	bool request;

	if (!c)
		return 0;
	request = dir == c->request_dir;
	s = fcgi_stream(c, dir);
	f = &s->fcgi;
	if (f->type != FCGI_PARAMS && n <= f->content + f->padding) {
		fcgi_pass(c, f, request, n);
	} else {
		exchange_count(c, request, n);
		fcgi_lost(c, s, request);
	}
	return 0;
}

// fcgi_found tells whether a stream whose place was lost can be taken up at the first bytes of a piece.
static __always_inline bool fcgi_found(struct conn *c, const struct window *w, bool request)
{
	__u64 h = load8(w, CARRY_MAX);
	__u32 type = (h >> 8) & 0xff;

	if (request)
		return fcgi_begins(h);
	return (h & 0xff) == 1 && (type == FCGI_STDOUT || type == FCGI_END_REQUEST) && bpf_ntohs(h >> 16) == c->request_id;
}

// fcgi_look takes a piece of `got` bytes out of `left` that was loaded into the window of the direction; `seq` is its
// first byte's, 0 bytes mean that it cannot be read. It returns how many bytes are dealt with.
__noinline int fcgi_look(conn_param(c), __u32 dir, __u32 seq, __u32 got, __u32 left)
{
	conn_get(c);
	struct window *w = window_of(c, dir);
	__u32 at = CARRY_MAX, end;
	struct stream *s;
	struct fcgi *f;

	if (!c || !w || got > PIECE_MAX)
		return left;
	s = fcgi_stream(c, dir);
	f = &s->fcgi;
	if (!got || (s->state == STREAM_LOST && (got < 8 || !fcgi_found(c, w, dir == c->request_dir)))) {
		if (s->state == STREAM_LOST)
			exchange_count(c, dir == c->request_dir, left);
		else
			fcgi_unread(conn_ref(c), dir, left);
		return left;
	}
	if (s->state == STREAM_LOST)
		s->state = STREAM_HEAD;
	end = CARRY_MAX + got;
	for (int i = 0; i < FCGI_STEPS; i++) {
		at &= WINDOW_MASK;
		barrier_var(at);
		if (at >= end || c->unsettled || c->rec.protocol != PROTOCOL_FASTCGI || s->state == STREAM_LOST)
			break;
		if (!f->content && !f->padding)
			at = fcgi_next(c, f, w, dir, seq, at, end);
		else
			at = fcgi_content(conn_ref(c), dir, at, end);
	}
	return at - CARRY_MAX;
}
