// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// TLS connections as their libraries see them: what is handed over for sending is looked at on entry, before the peer can
// answer it, and counted at return as far as it went; what was received, at return. Positions in the plaintext take the
// place of sequence numbers, so that a send taken up again counts once.
#pragma once

#include "regs.h"
#include "tls.h"

// tls_hooked returns since when all hooks of the file are there whose function is being entered, 0 if some are still to come. Before
// 5.15 the kernel does not say which file it is.
static __always_inline __u64 tls_hooked(void *ctx)
{
	const __u64 *since;
	__u64 file;

	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_attach_cookie))
		return 1;
	file = bpf_get_attach_cookie(ctx);
	since = bpf_map_lookup_elem(&hooked, &file);
	return since ? *since : 0;
}

// tls_judge finds out whether the plaintext of a connection is seen from its first byte on: it is if its library was hooked before
// the ClientHello, or if nothing has passed yet.
static __always_inline void tls_judge(struct tls_socket *t, __u64 sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	bool whole = t->begun == TLS_BEGUN ? t->since > t->hooked : !t->begun && !BPF_CORE_READ(tp, bytes_sent);

	t->wary = TLS_WHOLE;
	if (!whole)
		tls_doubt(t);
}

// tls_alien tells whether plaintext belongs to no exchange that can be told right: a response to nothing that was seen, or
// what a client sends on a connection that was found in the middle, before a response shows that it is no rest of a request.
static __always_inline bool tls_alien(struct tls_socket *t, struct conn *c, __u32 dir)
{
	__u8 role = t->role ? t->role : c->side;

	if (t->wary == TLS_UNJUDGED)
		tls_judge(t, c->sk);
	if (c->open != OPEN_NONE)
		return false;
	if (role && dir == (role == ROLE_CLIENT ? DIR_RX : DIR_TX)) {
		if (t->wary == TLS_UNHEARD)
			t->wary = TLS_HEARD;
		return true;
	}
	if (t->wary == TLS_WHOLE || c->spoke)
		return false;
	if (t->wary == TLS_UNHEARD)
		return true;
	t->wary = TLS_UNHEARD; // should it be none after all
	return false;
}

// tls_plaintext hands plaintext to the core.
static __always_inline void tls_plaintext(struct tls_socket *t, struct conn *c, __u32 dir, __u64 buffer, __u32 at, __u32 len)
{
	struct source src = {.kind = SOURCE_USER, .base = buffer};

	if (c->opaque || !len)
		return;
	if (tls_alien(t, c, dir)) {
		c->primed &= ~(1 << dir);
		exchange_abandon(c, dir);
		return;
	}
	if (c->open == OPEN_NONE) {
		c->rec.flags &= ~EXCHANGE_KEYED;
		if (t->keyed && t->known[dir])
			c->rec.flags |= EXCHANGE_KEYED;
	}
	c->wire_shift = t->shift[dir];
	data(c, &src, dir, at, len, bpf_get_current_pid_tgid());
}

// tls_offer looks at plaintext that is about to be sent; `taken` tells that the library has it already. It returns 0 if it
// is too early to look: while the handshake goes on a send is tried in vain, or is what brings it to its end.
//
// The record begins where the socket's next byte is, unless the end of the handshake is still held back before it: then
// tls_rekey finds the place.
__noinline int tls_offer(__u64 sk, __u64 buffer, __u32 len, __u32 taken)
{
	struct tls_socket *t = tls_socket_of(sk);
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u64 key = tls_plain_key(sk);
	struct conn *c = bpf_map_lookup_elem(&conns_by_addr, &key);
	bool ready;
	__u32 at;

	if (!t || !c)
		return 0;
	ready = t->walk[DIR_TX].ready || t->begun != TLS_BEGUN;
	if (!ready && !taken)
		return 0;
	at = t->plain[DIR_TX];
	if ((__s32)(at - t->offered) >= 0) { // else it is offered again
		t->known[DIR_TX] = ready && !taken;
		t->shift[DIR_TX] = t->known[DIR_TX] ? BPF_CORE_READ(tp, write_seq) - at : 0;
		if (!ready && t->memory && !t->late) {
			t->late = 1;
			t->late_at = at;
		}
	}
	if ((__s32)(at + len - t->offered) > 0)
		t->offered = at + len;
	tls_plaintext(t, c, DIR_TX, buffer, at, len);
	return 1;
}

// tls_sent counts what of that was taken.
__noinline int tls_sent(__u64 sk, __u32 n)
{
	struct tls_socket *t = tls_socket_of(sk);

	if (!t)
		return 0;
	t->plain[DIR_TX] += n;
	tls_catch_up(t);
	return 0;
}

// tls_fits tells whether a record holds n bytes of plaintext, or more if the reader had no room for them.
static __always_inline bool tls_fits(struct tls_socket *t, __u32 length, __u32 n, bool full)
{
	__u32 over = length - n;

	if (length < n)
		return false;
	if (t->version == 13) {
		t->overhead = TLS_OVERHEAD_13;
		return over == TLS_OVERHEAD_13 || (full && over > TLS_OVERHEAD_13);
	}
	if (full && over > TLS_OVERHEAD_MAX)
		return true;
	if (over < TLS_OVERHEAD_MIN || over > TLS_OVERHEAD_MAX)
		return false;
	if (!full || !t->overhead)
		t->overhead = over;
	return true;
}

// tls_claim finds the record that n bytes of plaintext were in, which the caller of the library read into `size` bytes.
static __always_inline bool tls_claim(struct tls_socket *t, __u32 n, __u32 size, __u32 at)
{
	bool full = n == size;

	if (t->left >= n) {
		t->left -= n;
		return true;
	}
	t->left = 0;
	for (int i = 0; i < TLS_PENDING_MAX && t->popped != t->pushed; i++) {
		const struct tls_record *r = &t->pending[t->popped++ & (TLS_PENDING_MAX - 1)];

		if (!tls_fits(t, r->length, n, full))
			continue;
		t->shift[DIR_RX] = r->start - at;
		if (full && r->length - n > t->overhead)
			t->left = r->length - n - t->overhead;
		return true;
	}
	return false;
}

// tls_received looks at n bytes of plaintext that were read into a buffer of `size`.
__noinline int tls_received(__u64 sk, __u64 buffer, __u32 n, __u32 size)
{
	struct tls_socket *t = tls_socket_of(sk);
	__u64 key = tls_plain_key(sk);
	struct conn *c = bpf_map_lookup_elem(&conns_by_addr, &key);
	__u32 at;

	if (!t || !c)
		return 0;
	at = t->plain[DIR_RX];
	t->plain[DIR_RX] += n;
	t->known[DIR_RX] = tls_claim(t, n, size, at);
	if (t->known[DIR_RX]) {
		t->guessed = 0;
	} else if (t->guessed && !t->missed) {
		c->open = OPEN_NONE;
		drop(DROP_TLS_SOCKET);
		tls_part(t->object, t->tgid);
		return 0;
	}
	tls_plaintext(t, c, DIR_RX, buffer, at, n);
	return 0;
}

// tls_closes is called when a process says to its peer that it sends no more.
static __always_inline void tls_closes(__u64 object)
{
	__u64 sk = tls_joined(object, bpf_get_current_pid_tgid() >> 32), key = tls_plain_key(sk);
	struct conn *c = bpf_map_lookup_elem(&conns_by_addr, &key);

	if (c)
		c->closing = 1;
}

// tls_stack returns what the stack pointer of the call being entered will be after its return.
static __always_inline __u64 tls_stack(void *regs)
{
	__u64 address = bpf_core_field_exists(struct pt_regs___amd64, di) ? sizeof(__u64) : 0; // which return takes from the stack

	return regs_stack(regs) + address;
}

// tls_push makes room for a call on its thread. Calls whose return was missed are below the stack pointer and go; one that is
// there already was hooked twice (a file that is seen as two).
static __always_inline struct tls_call *tls_push(struct tls_thread *h, __u64 object, __u64 stack, __u8 kind)
{
	struct tls_call *call = NULL;

	for (int i = 0; i < TLS_CALLS_MAX && h->depth; i++) {
		call = &h->calls[(h->depth - 1) & (TLS_CALLS_MAX - 1)];
		if (call->stack > stack)
			break;
		if (call->stack == stack && call->object == object && call->kind == kind)
			return NULL;
		h->depth--;
	}
	if (h->depth >= TLS_CALLS_MAX) {
		drop(DROP_CALL_STATE);
		return NULL;
	}
	return &h->calls[h->depth++ & (TLS_CALLS_MAX - 1)];
}

// tls_enter is called when a function of a library is entered whose first arguments are its object, a buffer and a size.
// `result` is where the function says how much it moved, or 0 if it returns that.
static __always_inline void tls_enter(void *regs, __u8 kind, __u8 library, __u64 result)
{
	__u64 id = bpf_get_current_pid_tgid(), object = regs_arg(regs, 0), hooked, sk, received;
	struct tls_thread *h;
	struct tls_call *call;

	if (!process_observed(process_find(id >> 32)))
		return;
	hooked = tls_hooked(regs);
	if (!hooked)
		return;
	h = tls_thread_make(id);
	if (!h)
		return;
	call = tls_push(h, object, tls_stack(regs), kind);
	if (!call)
		return;
	received = h->received;
	h->received = 0;
	call->object = object;
	call->buffer = regs_arg(regs, 1);
	call->size = regs_arg(regs, 2);
	call->result = result;
	call->stack = tls_stack(regs);
	call->hooked = hooked;
	call->kind = kind;
	call->library = library;
	call->offered = 0;
	sk = tls_joined(object, id >> 32);
	if (!sk && received && tls_awaited(received, id)) {
		tls_join(received, object, id >> 32, library | TLS_BY_MEMORY, hooked);
		sk = received;
	}
	if (sk && kind == TLS_WRITE)
		call->offered = tls_offer(sk, call->buffer, call->size, 0);
}

// tls_moved returns how many bytes a call that returns has moved.
static __always_inline __u32 tls_moved(void *regs, const struct tls_call *call)
{
	__s32 value = regs_result(regs);
	__u64 n = 0;

	if (value <= 0 || call->kind == TLS_OTHER)
		return 0;
	if (!call->result)
		return value;
	return bpf_probe_read_user(&n, sizeof(n), (void *)call->result) ? 0 : n;
}

static __always_inline void tls_return(void *regs)
{
	__u64 id = bpf_get_current_pid_tgid(), stack = regs_stack(regs), sk;
	struct tls_thread *h = tls_thread_of(id);
	struct tls_call *call = NULL;
	__u32 n;

	if (!h)
		return;
	for (int i = 0; i < TLS_CALLS_MAX && h->depth; i++) {
		call = &h->calls[(h->depth - 1) & (TLS_CALLS_MAX - 1)];
		if (call->stack >= stack)
			break;
		h->depth--; // its return was missed
	}
	if (!h->depth || !call || call->stack != stack)
		return;
	h->depth--;
	n = tls_moved(regs, call);
	if (!n)
		return;
	sk = tls_joined(call->object, id >> 32);
	if (!sk) {
		drop(DROP_TLS_SOCKET);
	} else if (call->kind == TLS_READ) {
		tls_received(sk, call->buffer, n, call->size);
	} else {
		if (!call->offered)
			tls_offer(sk, call->buffer, n, 1);
		tls_sent(sk, n);
	}
}
