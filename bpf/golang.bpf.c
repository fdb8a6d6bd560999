// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Hooks on functions of Go programs, beside the hooks of any tier. User space finds the functions and attaches where
// arguments are still in their registers. The stack of a goroutine moves, so return addresses must not be touched.

#include "lib/call.h"
#include "lib/tls_call.h"
#include "lib/uprobe.h"

char _license[] SEC("license") = "Dual BSD/GPL";

// Where fields lie, the same in all versions of Go that are known.
#define PERSIST_CONN  80 // net/http.persistConn: its connection, an interface
#define NETFD_SYSFD   16 // net.netFD
#define NETFD_FAMILY  56 // net.netFD; its type follows
#define WRAPPINGS_MAX 4  // connections around the one of the socket: TLS, and what the program itself puts there

// Who reads: ids of goroutines are known only once user space has looked at the process, its first reads may come before.
struct go_reader {
	__u64 goroutine; // address of its runtime.g
	__u64 tgid;
};

// A read of plaintext in progress.
struct go_read {
	__u64 conn;
	__u64 sk;
	__u64 size; // of the reader's buffer
};

// goroutine -> read in progress. Deleted when it brings something; those of goroutines that ended without go when others
// need the room, or when a later goroutine at that address reads.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct go_reader);
	__type(value, struct go_read);
} go_reads SEC(".maps");

// go_register returns an argument: 0 is what a method is called on. At a return, 0 is the first result.
static __always_inline __u64 go_register(const void *regs, int n)
{
	if (bpf_core_field_exists(struct pt_regs___amd64, di)) {
		const struct pt_regs___amd64 *r = regs;

		switch (n) {
		case 0:
			return BPF_CORE_READ(r, ax);
		case 1:
			return BPF_CORE_READ(r, bx);
		default:
			return BPF_CORE_READ(r, cx);
		}
	}
	if (bpf_core_field_exists(struct pt_regs___arm64, regs))
		return BPF_CORE_READ((const struct pt_regs___arm64 *)regs, regs[n]);
	return 0;
}

// go_socket returns the socket of a net.Conn, given its data word, or 0. What is not a net.TCPConn but wraps one has it, as
// an interface, in its first field; whether something is one shows in the descriptor, which holds the socket's family and
// type.
__noinline __u64 go_socket(__u64 conn)
{
	struct {
		__u64 first, data;
	} word;
	struct {
		__u64 family, type;
	} kind;

	for (int i = 0; i < WRAPPINGS_MAX; i++) {
		if (bpf_probe_read_user(&word, sizeof(word), (const void *)conn))
			return 0;
		if (!bpf_probe_read_user(&kind, sizeof(kind), (const void *)(word.first + NETFD_FAMILY)) && kind.type == SOCK_STREAM &&
		    (kind.family == AF_INET || kind.family == AF_INET6))
			return call_socket(goroutine_user(word.first + NETFD_SYSFD));
		conn = word.data;
	}
	return 0;
}

// net/http.(*persistConn).roundTrip: the goroutine that wants a request sent gives it to the one that writes to the
// connection.
UPROBE(on_round_trip)
{
	__u64 conn;

	if (!process_observed(process_find(bpf_get_current_pid_tgid() >> 32)))
		return;
	conn = goroutine_user(go_register(ctx, 0) + PERSIST_CONN + sizeof(__u64)); // behind the interface's type
	goroutine_calls(go_socket(conn), ctx);
}

// go_join joins a crypto/tls.Conn to its socket, if it is not yet. A read does so only when it brings something: one that
// waits is in another goroutine than what is written meanwhile, and the two must not both begin.
__noinline int go_join(__u64 sk, __u64 conn, __u64 hooked)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	const struct tls_socket *t = tls_socket_of(sk);

	if (!t || t->object != conn || t->tgid != tgid)
		tls_join(sk, conn, tgid, TLS_GO, hooked);
	return 0;
}

// go_tls returns the socket of a crypto/tls.Conn, 0 if it is not known or not observed. The connection inside is the first
// field, as in any that wraps one.
static __always_inline __u64 go_tls(__u64 conn)
{
	return process_observed(process_find(bpf_get_current_pid_tgid() >> 32)) ? go_socket(conn) : 0;
}

// go_again tells whether a write was seen already and nothing sent since: one file that is seen as two, as in the layers
// of containers, is hooked twice.
static __always_inline bool go_again(__u64 sk, __u32 len)
{
	const struct tls_socket *t = tls_socket_of(sk);
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	return t && t->known[DIR_TX] && t->shift[DIR_TX] + t->plain[DIR_TX] - len == BPF_CORE_READ(tp, write_seq);
}

// crypto/tls.(*Conn).Write sends all it is given, or breaks the connection: its return need not be seen.
UPROBE(on_tls_write)
{
	__u64 conn = go_register(ctx, 0), hooked = tls_hooked(ctx), sk = hooked ? go_tls(conn) : 0;
	__u32 len = go_register(ctx, 2);

	if (!sk)
		return;
	go_join(sk, conn, hooked);
	if (!len || go_again(sk, len))
		return;
	if (!tls_offer(sk, go_register(ctx, 1), len, 0))
		tls_offer(sk, go_register(ctx, 1), len, 1); // the handshake is made in this call
	tls_sent(sk, len);
}

// crypto/tls.(*Conn).Close
UPROBE(on_tls_close)
{
	tls_closes(go_register(ctx, 0));
}

static __always_inline struct go_reader go_reader(const void *regs)
{
	return (struct go_reader){goroutine_at(regs), bpf_get_current_pid_tgid() >> 32};
}

// crypto/tls.(*Conn).Read tells on which connection a goroutine reads, which may go on on another thread.
UPROBE(on_tls_read)
{
	struct go_reader reader = go_reader(ctx);
	struct go_read read = {};

	if (!reader.goroutine)
		return;
	read.conn = go_register(ctx, 0);
	read.sk = tls_hooked(ctx) ? go_tls(read.conn) : 0;
	read.size = go_register(ctx, 2);
	if (!read.sk)
		bpf_map_delete_elem(&go_reads, &reader);
	else if (bpf_map_update_elem(&go_reads, &reader, &read, BPF_ANY))
		drop(DROP_CALL_STATE);
}

// Where it copies plaintext to its caller's buffer, which it does once: memmove(to, from, size). Reads that bring nothing do
// not come here.
UPROBE(on_tls_copy)
{
	struct go_reader reader = go_reader(ctx);
	const struct go_read *found = bpf_map_lookup_elem(&go_reads, &reader);
	__u64 n = go_register(ctx, 2);
	struct go_read read;

	if (!found)
		return;
	read = *found;
	bpf_map_delete_elem(&go_reads, &reader);
	if (!n || n > read.size)
		return;
	go_join(read.sk, read.conn, tls_hooked(ctx));
	tls_received(read.sk, go_register(ctx, 1), n, read.size);
}
