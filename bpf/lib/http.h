// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// HTTP/1 as far as needed to know where messages begin and end, and who called: first line, the header lines that
// frame the body, `traceparent`, chunk sizes. Payload comes in pieces of any size; a piece lies in a window behind
// CARRY_MAX bytes of room, into which the unfinished line of the piece before it is put. Positions are those in the window.
#pragma once

#include "bytes.h"
#include "drop.h"
#include "maps.h"

// At most this many words and lines are looked at in a piece; what is left is the beginning of the next one.
#define SCAN_STEPS 128

#define HTTP_NOT (-1)

// The space before the version, the version, and CR.
#define VERSION_MAX 10

static __always_inline bool http_space(__u8 c)
{
	return c == ' ' || c == '\t';
}

// The characters of a token (RFC 9110, section 5.6.2), a bit for each below 64, and above.
#define TOKEN_LOW  0x03ff6cfa00000000ull
#define TOKEN_HIGH 0x57ffffffc7fffffeull

// Longer than every registered method: UPDATEREDIRECTREF has 17 letters.
#define METHOD_MAX 24

// http_token returns how long the token at `at` in a window is that a space follows; 0 when there are too few bytes to tell, HTTP_NOT when
// there is none. A function of its own so that the verifier looks at it once.
__noinline int http_token(__u32 number, __u32 at, __u32 end)
{
	const struct window *w = window_at(number);
	__u32 n;

	for (n = 0; w && n < METHOD_MAX && at + n < end; n++) {
		__u8 c = load1(w, at + n);

		if (c == ' ')
			return n ? (int)n : HTTP_NOT;
		if (c & 0x80 || !((c & 0x40 ? TOKEN_HIGH : TOKEN_LOW) >> (c & 0x3f) & 1))
			return HTTP_NOT;
	}
	return n < METHOD_MAX ? 0 : HTTP_NOT;
}

// http_method tells which method a first line begins with, and sets a fact if a text that is no HTTP might as well begin so.
static __always_inline __u32 http_method(struct stream *s, __u64 x)
{
	if ((x & first_bytes(4)) == word('G', 'E', 'T', ' ', 0, 0, 0, 0) ||
	    (x & first_bytes(5)) == word('P', 'O', 'S', 'T', ' ', 0, 0, 0) ||
	    (x & first_bytes(4)) == word('P', 'U', 'T', ' ', 0, 0, 0, 0) ||
	    (x & first_bytes(6)) == word('P', 'A', 'T', 'C', 'H', ' ', 0, 0) ||
	    (x & first_bytes(7)) == word('D', 'E', 'L', 'E', 'T', 'E', ' ', 0) ||
	    (x & first_bytes(6)) == word('T', 'R', 'A', 'C', 'E', ' ', 0, 0) || x == word('O', 'P', 'T', 'I', 'O', 'N', 'S', ' '))
		return METHOD_OTHER;
	if ((x & first_bytes(5)) == word('H', 'E', 'A', 'D', ' ', 0, 0, 0))
		return METHOD_HEAD;
	if (x == word('C', 'O', 'N', 'N', 'E', 'C', 'T', ' '))
		return METHOD_CONNECT;
	s->facts |= FACT_RARE_METHOD;
	return METHOD_OTHER;
}

// http_doubtful tells whether a request may yet turn out to be none: its method is still to come, or is rare and its version is.
static __always_inline bool http_doubtful(const struct stream *s)
{
	return s->state == STREAM_START ||
	       (s->state == STREAM_HEAD && (s->facts & (FACT_RARE_METHOD | FACT_FIRST_LINE)) == FACT_RARE_METHOD);
}

// http_status reads "HTTP/1.x 200"; 0 if that is not what it is.
static __always_inline __u16 http_status(const struct window *w, __u32 at)
{
	__u32 a = load1(w, at + 9) - '0', b = load1(w, at + 10) - '0', c = load1(w, at + 11) - '0';

	if ((load8(w, at) & first_bytes(7)) != word('H', 'T', 'T', 'P', '/', '1', '.', 0) || load1(w, at + 8) != ' ' || a - 1 > 8 ||
	    b > 9 || c > 9)
		return 0;
	return a * 100 + b * 10 + c;
}

// http_version tells whether the line that ends before `stop` ends as a request line does.
static __always_inline bool http_version(const struct window *w, __u32 stop)
{
	if (load1(w, stop - 1) == '\r')
		stop--;
	return load8(w, stop - 9) == word(' ', 'H', 'T', 'T', 'P', '/', '1', '.');
}

// http_traceparent reads 00-<trace id>-<span id>-<flags> at `at`. A value that is not one is as good as none.
static __always_inline void http_traceparent(struct exchange_record *rec, const struct window *w, __u32 at)
{
	bool ok = true;
	__u64 trace_hi, trace_lo, span;
	__u8 flags;

	trace_hi = hex8(load8(w, at + 3), &ok) | (__u64)hex8(load8(w, at + 11), &ok) << 32;
	trace_lo = hex8(load8(w, at + 19), &ok) | (__u64)hex8(load8(w, at + 27), &ok) << 32;
	span = hex8(load8(w, at + 36), &ok) | (__u64)hex8(load8(w, at + 44), &ok) << 32;
	// Version and flags, as the eight digits vvffffvv so that one reading checks them both.
	flags = hex8((load8(w, at) & first_bytes(2)) | (load8(w, at + 53) & first_bytes(2)) << 16 | word(0, 0, 0, 0, '0', '0', '0', '0'),
		     &ok) >>
		8;
	if (!ok || load1(w, at + 2) != '-' || load1(w, at + 35) != '-' || load1(w, at + 52) != '-' ||
	    (load8(w, at) & first_bytes(2)) == word('f', 'f', 0, 0, 0, 0, 0, 0) || !(trace_hi | trace_lo) || !span)
		return;
	rec->trace_id[0] = trace_hi;
	rec->trace_id[1] = trace_lo;
	rec->parent_span_id = span;
	rec->trace_flags = flags;
	rec->context = CONTEXT_HEADER;
}

// http_length reads the digits of a content-length. One too long to be true makes the message end unknown.
static __always_inline void http_length(struct stream *s, const struct window *w, __u32 at)
{
	__u64 n = 0;
	int i;

	for (i = 0; i < 18; i++) {
		__u32 digit = load1(w, at + i) - '0';

		if (digit > 9)
			break;
		n = n * 10 + digit;
	}
	if (!i)
		return;
	s->remain = n;
	s->facts |= FACT_LENGTH;
}

// http_header takes one header line [at, stop), line end excluded. It is called for lines that begin like one of those
// we read, not for each.
static __always_inline void http_header(struct conn *c, struct stream *s, const struct window *w, bool request, __u32 at, __u32 stop)
{
	__u64 a = load8(w, at) | LOWER, b = load8(w, at + 8) | LOWER;

	for (int i = 0; i < 4 && http_space(load1(w, stop - 1)); i++)
		stop--;
	if (a == word('c', 'o', 'n', 't', 'e', 'n', 't', '-')) {
		if ((b & first_bytes(7)) != word('l', 'e', 'n', 'g', 't', 'h', ':', 0))
			return;
		at += 15;
		for (int i = 0; i < 4 && http_space(load1(w, at)); i++)
			at++;
		http_length(s, w, at);
	} else if (a == word('t', 'r', 'a', 'n', 's', 'f', 'e', 'r')) {
		if (b != word('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n') || (load1(w, at + 16) | 0x20) != 'g' || load1(w, at + 17) != ':')
			return;
		// Chunked is always the last coding.
		if (((load8(w, stop - 7) | LOWER) & first_bytes(7)) == word('c', 'h', 'u', 'n', 'k', 'e', 'd', 0))
			s->facts |= FACT_CHUNKED;
	} else if (request && !c->shadow && (b & first_bytes(4)) == word('e', 'n', 't', ':', 0, 0, 0, 0)) {
		at += 12;
		for (int i = 0; i < 4 && http_space(load1(w, at)); i++)
			at++;
		if (stop - at == 55 || (stop - at > 55 && load1(w, at + 55) == '-'))
			http_traceparent(&c->rec, w, at);
	}
}

static __always_inline bool http_header_wanted(__u64 first)
{
	first |= LOWER;
	return first == word('c', 'o', 'n', 't', 'e', 'n', 't', '-') || first == word('t', 'r', 'a', 'n', 's', 'f', 'e', 'r') ||
	       first == word('t', 'r', 'a', 'c', 'e', 'p', 'a', 'r');
}

// http_chunk_size reads the hexadecimal size of a chunk in the window of a number; HTTP_NOT if that is not what it is.
__noinline __s64 http_chunk_size(__u32 number, __u32 at)
{
	const struct window *w = window_at(number);
	__s64 n = 0;
	int i;

	if (!w)
		return HTTP_NOT;
	for (i = 0; i < 12; i++) {
		__u32 c = load1(w, at + i), digit = c - '0', letter = (c | 0x20) - 'a';

		if (digit > 9 && letter > 5)
			break;
		n = n << 4 | (digit <= 9 ? digit : letter + 10);
	}
	return i ? n : HTTP_NOT;
}

static __always_inline void http_chunk_line(struct conn *c, struct stream *s, __u32 dir, __u32 at)
{
	__s64 n = http_chunk_size(c->window[dir & 1], at);

	s->state = n > 0 ? STREAM_CHUNK : n == 0 ? STREAM_TRAILER : STREAM_LOST;
	s->remain = n + 2; // with the line end behind it
	s->facts = n < PIECE_MAX / 2 ? s->facts | FACT_SMALL_CHUNK : s->facts & ~FACT_SMALL_CHUNK;
}

// http_line takes the complete line [at, stop), stop being the position of its '\n'. It returns 0 when the lines end
// here: a blank one, a chunk to step over, or something that is not HTTP. A function of its own so that the verifier looks
// at it once.
__noinline int http_line(conn_param(c), __u32 dir, __u32 at, __u32 stop)
{
	conn_get(c);
	const struct window *w = window_of(c, dir);
	bool request, whole;
	struct stream *s;

	if (!c || !w)
		return 0;
	request = dir == c->request_dir;
	s = &c->stream[request ? REQUEST : RESPONSE];
	whole = !(s->facts & FACT_LONG_LINE);
	s->facts &= ~FACT_LONG_LINE;
	if (s->state == STREAM_CHUNK_LINE) {
		http_chunk_line(c, s, dir, at);
		return s->state == STREAM_TRAILER;
	}
	if (stop > at && load1(w, stop - 1) == '\r')
		stop--;
	if (whole && stop == at) { // blank
		s->state = STREAM_DONE;
		return 0;
	}
	if (s->state == STREAM_TRAILER)
		return 1;
	if (!(s->facts & FACT_FIRST_LINE)) {
		s->facts |= FACT_FIRST_LINE;
		if (request && !http_version(w, stop))
			s->state = STREAM_START; // not HTTP after all
		return s->state == STREAM_HEAD;
	}
	if (whole && http_header_wanted(load8(w, at)))
		http_header(c, s, w, request, at, stop);
	return 1;
}

// http_dull tells whether a complete line of n bytes that begins with `first` can be passed over: most can.
static __always_inline bool http_dull(const struct stream *s, __u64 first, __u32 n)
{
	return s->state == STREAM_HEAD && (s->facts & (FACT_FIRST_LINE | FACT_LONG_LINE)) == FACT_FIRST_LINE && n > 1 &&
	       !http_header_wanted(first);
}

// http_keep keeps the unfinished line [at, end) for the next piece. If it is too long to be of interest, its end will do, which
// may be the version of a request; of the line before a chunk the beginning.
static __always_inline void http_keep(struct stream *s, const struct window *w, __u32 at, __u32 end)
{
	__u32 n = end - at;

	s->carry = 0;
	if (n > CARRY_MAX && s->state == STREAM_CHUNK_LINE)
		n = CARRY_MAX;
	if (n > CARRY_MAX) {
		s->facts |= FACT_LONG_LINE;
		n = VERSION_MAX;
		at = end - VERSION_MAX;
	}
	bpf_probe_read_kernel(s->line, n, w->bytes + (at & WINDOW_MASK));
	s->carry = n;
}

// http_unfold puts the kept line in front of the new piece, which begins at `from`, and returns where it begins.
static __always_inline __u32 http_unfold(struct stream *s, struct window *w, __u32 from)
{
	__u32 n = s->carry, at;

	if (!n || n > CARRY_MAX)
		return from;
	at = CARRY_MAX - n;
	barrier_var(at); // else the difference of a pointer is made, whose bounds the verifier does not see
	bpf_probe_read_kernel(w->bytes + (at & WINDOW_MASK), n, s->line);
	s->carry = 0;
	return at;
}

// http_blank counts the line ends at `at`: some clients put them behind a body.
static __always_inline __u32 http_blank(const struct conn *c, __u32 dir, __u32 at)
{
	const struct window *w = window_of(c, dir);
	__u32 n;

	for (n = 0; w && n < 8; n++) {
		__u8 c = load1(w, at + n);

		if (c != '\r' && c != '\n')
			break;
	}
	return n;
}

// http_begin looks at the first bytes of a message. It returns 1 when they begin one, 0 when there are too few to
// tell, HTTP_NOT otherwise.
static __always_inline int http_begin(struct conn *c, struct stream *s, const struct window *w, __u32 dir, __u32 at, __u32 end)
{
	__u16 status;
	int token;

	if (dir == c->request_dir) {
		token = http_token(c->window[dir & 1], at, end);
		if (token < 0)
			return HTTP_NOT;
		if (!token || end - at < 8)
			return 0;
		if (load8(w, at) == word('P', 'R', 'I', ' ', '*', ' ', 'H', 'T') && !c->spoke) { // HTTP/2
			c->opaque = OPAQUE_OTHER;
			return HTTP_NOT;
		}
		c->next_method = http_method(s, load8(w, at));
	} else {
		if (load1(w, at) != 'H')
			return HTTP_NOT;
		if (end - at < 12)
			return 0;
		status = http_status(w, at);
		if (!status)
			return HTTP_NOT;
		c->rec.status = status;
		s->facts |= FACT_FIRST_LINE; // no more of it matters
	}
	s->state = STREAM_HEAD;
	return 1;
}

// http_scan looks at [from, end) in the window of a direction whose stream is between START and TRAILER, body excluded.
// It returns how many bytes it took: all, or those up to the end of the head or of a chunk line; HTTP_NOT if this is no
// HTTP message. s->state tells where the stream is then; DONE here means that the lines have ended.
__noinline int http_scan(conn_param(c), __u32 dir, __u32 from, __u32 end)
{
	conn_get(c);
	struct window *w = window_of(c, dir);
	struct stream *s;
	__u32 at, pos;
	int i, begin;

	if (!c || !w || end > CARRY_MAX + PIECE_MAX)
		return HTTP_NOT;
	s = &c->stream[dir == c->request_dir ? REQUEST : RESPONSE];
	pos = at = http_unfold(s, w, from);
	if (s->state == STREAM_START) {
		begin = http_begin(c, s, w, dir, at, end);
		if (begin < 0)
			return HTTP_NOT;
		if (!begin) {
			http_keep(s, w, at, end);
			return end - from;
		}
	}
	for (i = 0; i < SCAN_STEPS; i++) {
		__u64 found;

		pos &= WINDOW_MASK;
		at &= WINDOW_MASK;
		barrier_var(pos);
		barrier_var(at);
		if (pos >= end)
			break;
		found = newlines(load8(w, pos));
		if (!found) {
			pos += 8;
			continue;
		}
		pos += first_byte(found);
		if (pos >= end)
			break;
		if (!http_dull(s, load8(w, at), pos - at) && !http_line(conn_ref(c), dir, at, pos))
			return s->state == STREAM_START ? HTTP_NOT : (int)(pos + 1 - from);
		at = ++pos;
	}
	if (pos < end)
		return at - from; // many short lines: `at` is past the first of them
	http_keep(s, w, at, end);
	return end - from;
}
