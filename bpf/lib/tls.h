// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// TLS connections as their sockets see them. The ciphertext has a struct conn like every connection, marked opaque; its
// records are followed to know which sequence number a request has on the wire, the same for both ends. The plaintext has
// a struct conn of its own, which the hooks of the libraries feed (tls_call.h) once the library's object is joined to the
// socket: by a call of the library during which the socket is used, or, where the library works in memory, by the call
// that directly follows a receive on the same thread. A join of the second kind is a guess until a record that was
// received fits what was read; one that does not fit is undone: none is better than a wrong one.
//
// A connection whose plaintext is never seen becomes a record of its own when it ends, and once in a while before.
#pragma once

#include "close.h"
#include "conn.h"
#include "data.h"

#define TLS_HEADER     5
#define TLS_RECORD_MAX (16384 + 2048)

enum tls_content {
	TLS_CHANGE_CIPHER_SPEC = 20,
	TLS_ALERT = 21,
	TLS_HANDSHAKE = 22,
	TLS_APPLICATION = 23,
};

// The longest encrypted Finished of TLS 1.2; a second ClientHello, which may follow ChangeCipherSpec in 1.3, is longer.
#define TLS_FINISHED_MAX 128
// What a record of TLS 1.3 is longer than its plaintext.
#define TLS_OVERHEAD_13 17
// And the bounds of that in TLS 1.2, by cipher.
#define TLS_OVERHEAD_MIN 16
#define TLS_OVERHEAD_MAX 96

// tls_plain_key is where the plaintext of a socket is in `conns_by_addr`: no socket has an odd address.
static __always_inline __u64 tls_plain_key(__u64 sk)
{
	return sk | 1;
}

static __always_inline struct tls_socket *tls_socket_of(__u64 sk)
{
	return bpf_map_lookup_elem(&tls_sockets, &sk);
}

static __always_inline struct tls_socket *tls_socket_make(__u64 sk)
{
	struct tls_socket *t = tls_socket_of(sk);
	__u32 zero = 0;
	void *blank;

	if (t)
		return t;
	blank = bpf_map_lookup_elem(&blank_conn, &zero);
	if (!blank)
		return NULL;
	if (!entry_make(&tls_sockets, &sk, blank, BPF_NOEXIST))
		drop(DROP_CONNECTION_STATE);
	return tls_socket_of(sk);
}

static __always_inline struct tls_thread *tls_thread_of(__u32 tid)
{
	return bpf_map_lookup_elem(&tls_threads, &tid);
}

static __always_inline struct tls_thread *tls_thread_make(__u32 tid)
{
	struct tls_thread *h = tls_thread_of(tid);
	__u32 zero = 0;
	void *blank;

	if (h)
		return h;
	blank = bpf_map_lookup_elem(&blank_conn, &zero);
	if (!blank)
		return NULL;
	if (bpf_map_update_elem(&tls_threads, &tid, blank, BPF_NOEXIST))
		drop(DROP_CALL_STATE);
	return tls_thread_of(tid);
}

// tls_joined returns the socket of an object, or 0.
static __always_inline __u64 tls_joined(__u64 object, __u32 tgid)
{
	struct tls_key key = {object, tgid};
	__u64 *sk = bpf_map_lookup_elem(&tls_objects, &key);

	return sk ? *sk : 0;
}

// tls_part undoes a join. The plaintext's exchange stays open: it may yet end with the connection.
__noinline int tls_part(__u64 object, __u32 tgid)
{
	struct tls_key key = {object, tgid};
	__u64 *found = bpf_map_lookup_elem(&tls_objects, &key), sk;
	struct tls_socket *t;

	if (!found)
		return 0;
	sk = *found;
	bpf_map_delete_elem(&tls_objects, &key);
	t = tls_socket_of(sk);
	if (t && t->object == object)
		t->object = 0;
	return 0;
}

// tls_doubt is for a connection some of whose plaintext was not seen: nobody has read the records that it was in.
static __always_inline void tls_doubt(struct tls_socket *t)
{
	t->wary = TLS_UNHEARD;
	t->missed = 1;
}

// How an object came to be joined to its socket, above the library.
#define TLS_BY_MEMORY (1 << 8)

// tls_join joins an object of a process to a socket; `how` is the library, and TLS_BY_MEMORY if it is a guess, and `hooked`
// since when the library is.
__noinline int tls_join(__u64 sk, __u64 object, __u32 tgid, __u32 how, __u64 hooked)
{
	struct tls_key key = {object, tgid};
	struct tls_socket *t = tls_socket_make(sk);
	__u64 plain = tls_plain_key(sk);
	__u32 zero = 0;
	void *blank = bpf_map_lookup_elem(&blank_conn, &zero);
	struct conn *c;

	if (!t || !blank)
		return 0;
	if (bpf_map_update_elem(&tls_objects, &key, &sk, BPF_ANY)) {
		drop(DROP_CONNECTION_STATE);
		return 0;
	}
	c = bpf_map_lookup_elem(&conns_by_addr, &plain);
	if (c)
		exchange_close(c, 0);
	if (!entry_make(&conns_by_addr, &plain, blank, BPF_ANY)) {
		drop(DROP_CONNECTION_STATE);
		return 0;
	}
	c = bpf_map_lookup_elem(&conns_by_addr, &plain);
	if (!c)
		return 0;
	conn_named(c, plain);
	conn_init(conn_ref(c), sk);
	c->rec.tls = how;
	c->dialed = t->dialed;
	t->keyed = c->rec.flags & EXCHANGE_KEYED ? 1 : 0;
	t->object = object;
	t->tgid = tgid;
	t->library = how;
	t->memory = t->guessed = !!(how & TLS_BY_MEMORY);
	t->plain[DIR_RX] = t->plain[DIR_TX] = t->offered = 0;
	t->left = t->late = 0;
	t->hooked = hooked;
	t->wary = TLS_UNJUDGED;
	if (t->joined && t->walk[DIR_RX].ready && t->walk[DIR_TX].ready)
		tls_doubt(t);
	t->joined = 1;
	return 0;
}

// tls_meet tries to join a socket that is not joined, now that it is used.
static __always_inline void tls_meet(struct tls_socket *t, __u64 sk, __u32 dir)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct tls_thread *h = tls_thread_of(id);
	const struct tls_call *call;

	if (h && h->depth) {
		call = &h->calls[(h->depth - 1) & (TLS_CALLS_MAX - 1)];
		if (!tls_joined(call->object, id >> 32))
			tls_join(sk, call->object, id >> 32, call->library, call->hooked);
	} else if (dir == DIR_RX) {
		h = h ? h : tls_thread_make(id);
		if (h)
			h->received = sk;
		t->reader = id;
	}
}

// tls_awaited tells whether a socket that a thread has received on is still there, the same, and not joined.
static __always_inline bool tls_awaited(__u64 sk, __u32 tid)
{
	const struct tls_socket *t = tls_socket_of(sk);

	return t && !t->object && t->reader == tid;
}

static __always_inline void tls_count(struct conn *c, __u32 dir, __u32 n)
{
	struct exchange_record *r = &c->rec;

	if (dir == c->request_dir) {
		r->request_bytes += n;
		r->request_end = c->now;
		return;
	}
	if (!r->response_start)
		r->response_start = c->now;
	r->response_bytes += n;
	r->response_end = c->now;
}

// tls_begin is called at the ClientHello. The record has been begun like that of any request.
static __always_inline void tls_begin(struct conn *c, struct tls_socket *t, __u32 dir)
{
	const struct proc *p = process_find(c->rec.tgid);

	t->begun = TLS_BEGUN;
	t->told = t->since = c->now;
	t->role = dir == DIR_RX ? ROLE_SERVER : ROLE_CLIENT;
	c->rec.protocol = PROTOCOL_TLS;
	c->rec.cgroup = bpf_get_current_cgroup_id();
	c->proc_flags = p && t->role == ROLE_CLIENT ? p->flags : 0; // a connection is not what its server's thread is at work on
	c->owner = context_settle(conn_ref(c), c->task, c->proc_flags, exchange_known(c));
	process_network();
}

// tls_pend keeps a record until it is read. Of more than there is room for, as in a large body, the first ones matter: a message
// begins there.
static __always_inline void tls_pend(struct tls_socket *t, __u32 start, __u32 length)
{
	struct tls_record *r;

	if (t->pushed - t->popped >= TLS_PENDING_MAX)
		t->missed = 1;
	if (t->missed)
		return;
	r = &t->pending[t->pushed++ & (TLS_PENDING_MAX - 1)];
	r->start = start;
	r->length = length;
}

// tls_lose ends the walk along the records of a direction until a send or a receive begins with one.
static __always_inline void tls_lose(struct tls_socket *t, struct tls_walk *w, __u32 dir)
{
	w->walking = 0;
	if (dir == DIR_RX)
		t->missed = 1;
}

// tls_catch_up is called when something is sent: as a rule all that was received before has been read.
static __always_inline void tls_catch_up(struct tls_socket *t)
{
	if (!t->missed)
		return;
	t->missed = 0;
	t->left = 0;
	t->popped = t->pushed;
}

// tls_rekey gives an open exchange its wire key when its request's record is sent at last. The peer cannot have it yet.
static __always_inline void tls_rekey(struct tls_socket *t, __u64 sk, __u32 start)
{
	__u64 key = tls_plain_key(sk);
	struct conn *plain = bpf_map_lookup_elem(&conns_by_addr, &key);

	t->late = 0;
	t->known[DIR_TX] = 1;
	t->shift[DIR_TX] = start - t->late_at;
	if (!plain || plain->open != OPEN_REAL || plain->rec.role != ROLE_CLIENT || !t->keyed || plain->rec.flags & EXCHANGE_KEYED)
		return;
	plain->rec.flags |= EXCHANGE_KEYED;
	plain->rec.request_seq += t->shift[DIR_TX];
	if (plain->rec.span_id)
		context_rekey(conn_ref(plain));
}

// tls_greets tells whether the first handshake that is seen may be the ClientHello: whoever opened the connection sends that. What
// answers it comes first where the kernel passed over the hook that would have seen it.
static __always_inline bool tls_greets(const struct conn *c, __u32 dir)
{
	return !c->side || (dir == DIR_TX) == (c->side == ROLE_CLIENT);
}

// tls_record takes the header of a record. In TLS 1.3 the first record of type application data in each direction belongs
// to the handshake; in TLS 1.2 that ends with a short record of type handshake behind ChangeCipherSpec.
static __always_inline void tls_record(struct conn *c, struct tls_socket *t, struct tls_walk *w, __u32 dir, __u8 type, __u32 length)
{
	bool handshake = false;

	if (!t->begun && type == TLS_HANDSHAKE && dir == c->request_dir && tls_greets(c, dir))
		tls_begin(c, t, dir);
	else if (!t->begun)
		t->begun = TLS_MIDWAY;
	else if (type == TLS_HANDSHAKE && w->changed && length <= TLS_FINISHED_MAX)
		w->ready = 1, t->version = 12;
	if (type == TLS_CHANGE_CIPHER_SPEC)
		w->changed = 1;
	if (type != TLS_APPLICATION)
		return;
	if (!w->ready && t->begun == TLS_BEGUN && t->version != 12) {
		t->version = 13;
		handshake = true;
	}
	w->ready = 1;
	if (handshake)
		return;
	if (dir == DIR_RX)
		tls_pend(t, w->start, length);
	else if (t->late)
		tls_rekey(t, c->sk, w->start);
}

// tls_header reads what is in the window of a record's header; `seq` is the first byte's. It returns how many bytes to step
// forward to the next one.
__noinline int tls_header(conn_param(c), __u32 dir, __u32 seq, __u32 got)
{
	conn_get(c);
	const struct window *window = window_of(c, dir);
	struct tls_socket *t = c ? tls_socket_of(c->sk) : NULL;
	__u32 n, length;
	struct tls_walk *w;

	if (!c || !t || !window)
		return TLS_RECORD_MAX;
	either(dir);
	w = &t->walk[dir & 1];
	if (!w->have)
		w->start = seq;
	for (n = 0; n < TLS_HEADER && n < got && w->have < TLS_HEADER; n++)
		w->header[w->have++ & 7] = load1(window, CARRY_MAX + n);
	w->next = seq + n;
	if (w->have < TLS_HEADER)
		return got ? n : TLS_RECORD_MAX;
	w->have = 0;
	length = w->header[3] << 8 | w->header[4];
	if (w->header[0] < TLS_CHANGE_CIPHER_SPEC || w->header[0] > TLS_APPLICATION || w->header[1] != 3 || length > TLS_RECORD_MAX) {
		tls_lose(t, w, dir);
		return TLS_RECORD_MAX;
	}
	w->next += length;
	tls_record(c, t, w, dir, w->header[0], length);
	return n + length;
}

// tls_report emits the record of a connection whose plaintext is not seen, and begins the next one.
static __always_inline void tls_report(struct conn *c, struct tls_socket *t)
{
	struct exchange_record *r = &c->rec;

	exchange_emit(c);
	t->told = c->now;
	r->flags &= EXCHANGE_REQUEST_CUT | EXCHANGE_RESPONSE_CUT; // the heads stay
	r->request_start = c->now;
	r->request_end = r->response_start = r->response_end = 0;
	r->request_bytes = r->response_bytes = 0;
	r->span_id = r->parent_span_id = 0;
	r->trace_id[0] = r->trace_id[1] = 0;
	r->context = CONTEXT_ROOT;
	c->proc_flags = 0;
}

// tls_spoke tells whether the plaintext of a socket was seen to be HTTP.
static __always_inline bool tls_spoke(__u64 sk)
{
	__u64 key = tls_plain_key(sk);
	const struct conn *plain = bpf_map_lookup_elem(&conns_by_addr, &key);

	return plain && plain->spoke;
}

// tls_pass takes note of bytes that pass on a socket. It returns where among them the next header is, `len` if nowhere.
__noinline int tls_pass(conn_param(c), __u32 dir, __u32 seq, __u32 len)
{
	conn_get(c);
	struct tls_socket *t = c ? tls_socket_make(c->sk) : NULL;
	struct tls_thread *h;
	struct tls_walk *w;
	__u32 at = 0;
	__s32 ahead;

	if (!c || !t)
		return len;
	either(dir);
	w = &t->walk[dir & 1];
	ahead = w->upto - seq;
	if (w->primed && ahead >= (__s32)len && ahead < SEQ_WILD)
		return len;
	if (w->primed && ahead > 0 && ahead < SEQ_WILD)
		at = ahead;
	else if (w->primed && ahead)
		tls_lose(t, w, dir);
	w->primed = 1;
	w->upto = seq + len;
	c->now = bpf_ktime_get_boot_ns();
	if (t->begun == TLS_BEGUN && (__s64)(c->now - t->told) > tls_report_period && !tls_spoke(c->sk))
		tls_report(c, t);
	tls_count(c, dir, len - at);
	t->dialed = c->dialed;
	if (!t->object)
		tls_meet(t, c->sk, dir);
	else if (t->memory && dir == DIR_RX && (h = tls_thread_of(bpf_get_current_pid_tgid())))
		h->received = 0; // the call that follows is this socket's
	if (t->object && !t->guessed && !t->late && w->ready && (dir == DIR_TX || t->role == ROLE_CLIENT)) {
		w->walking = 0; // nobody asks
		return len;
	}
	if (!w->walking) {
		w->walking = 1;
		w->next = seq + at;
		w->have = 0;
	}
	ahead = w->next - seq;
	if (ahead < (__s32)at) {
		tls_lose(t, w, dir);
		return len;
	}
	return ahead < (__s32)len ? ahead : len;
}

// tls_capturing tells whether the beginning of this direction is still being copied to the record.
static __always_inline bool tls_capturing(const struct conn *c, __u32 dir)
{
	return dir == c->request_dir ? c->rec.request_captured < request_window && !c->rec.response_captured
				     : c->rec.response_captured < response_window;
}

__noinline int tls_capture(conn_param(c), __u32 dir, __u32 got)
{
	conn_get(c);
	const struct window *w = window_of(c, dir);

	if (c && w && got <= PIECE_MAX)
		exchange_capture(c, w, dir == c->request_dir, CARRY_MAX, got);
	return 0;
}

// Records looked at in one send or receive; behind more, the walk begins anew.
#define TLS_STEPS_MAX 16

static __always_inline void tls_wire(struct conn *c, const struct source *src, __u32 dir, __u32 seq, __u32 len)
{
	__u32 at = tls_pass(conn_ref(c), dir, seq, len), got;
	struct window *w;

	if (at >= len && !tls_capturing(c, dir))
		return;
	if (!window_claim(conn_ref(c), dir))
		return;
	w = window_of(c, dir);
	if (!w)
		return;
	if (tls_capturing(c, dir)) {
		got = len < PIECE_MAX ? len : PIECE_MAX;
		barrier_var(got); // else the load does not tell the verifier that it fits
		got = source_load(src, w, c->window[dir], 0, got);
		tls_capture(conn_ref(c), dir, got);
	}
	for (int i = 0; i < TLS_STEPS_MAX && at < len; i++) {
		got = source_load(src, w, c->window[dir], at, len - at < TLS_HEADER ? len - at : TLS_HEADER);
		at += tls_header(conn_ref(c), dir, seq + at, got);
	}
	window_release(w);
}

// tls_or_data hands on the bytes of a socket that a tier saw, plain or not.
static __always_inline void tls_or_data(struct conn *c, const struct source *src, __u32 dir, __u32 seq, __u32 len, __u64 task)
{
	if (!c->opaque)
		data(c, src, dir, seq, len, task);
	if (c->opaque == OPAQUE_TLS)
		tls_wire(c, src, dir, seq, len);
}

// tls_state passes on a change of state of a TLS socket to its plaintext.
static __always_inline void tls_state(const struct conn *c, struct sock *sk, int before, int after)
{
	struct conn *plain;
	__u64 key;

	if (c->opaque != OPAQUE_TLS)
		return;
	key = tls_plain_key(c->sk);
	plain = bpf_map_lookup_elem(&conns_by_addr, &key);
	if (plain)
		close_state(plain, sk, before, after);
}

// tls_destroy ends a TLS connection with its socket.
__noinline int tls_destroy(conn_param(c))
{
	conn_get(c);
	__u64 sk = c ? c->sk : 0, key = tls_plain_key(sk);
	struct tls_socket *t = tls_socket_of(sk);
	struct conn *plain = bpf_map_lookup_elem(&conns_by_addr, &key);
	bool spoke = false;

	if (plain) {
		exchange_close(plain, 0);
		spoke = plain->spoke;
		bpf_map_delete_elem(&conns_by_addr, &key);
	}
	if (!c || !t)
		return 0;
	if (t->object && tls_joined(t->object, t->tgid) == sk)
		tls_part(t->object, t->tgid);
	if (t->begun == TLS_BEGUN && !spoke)
		exchange_emit(c);
	else
		context_end(&c->rec, c->owner);
	bpf_map_delete_elem(&tls_sockets, &sk);
	return 0;
}
