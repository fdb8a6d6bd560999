// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Hooks on functions of Go programs, beside the hooks of any tier. User space finds the functions and attaches to their
// first instruction, or to those they return by: the stack of a goroutine moves, so its return addresses must not be
// touched.

#include "lib/call.h"

char _license[] SEC("license") = "Dual BSD/GPL";

// Where fields lie, the same in all versions of Go that are known.
#define PERSIST_CONN  80 // net/http.persistConn: its connection, an interface
#define NETFD_SYSFD   16 // net.netFD
#define NETFD_FAMILY  56 // net.netFD; its type follows
#define WRAPPINGS_MAX 4  // connections around the one of the socket: TLS, and what the program itself puts there

// go_receiver returns what a method is called on.
static __always_inline __u64 go_receiver(const void *regs)
{
	if (bpf_core_field_exists(struct pt_regs___amd64, di))
		return BPF_CORE_READ((const struct pt_regs___amd64 *)regs, ax);
	if (bpf_core_field_exists(struct pt_regs___arm64, regs))
		return BPF_CORE_READ((const struct pt_regs___arm64 *)regs, regs[0]);
	return 0;
}

// go_socket returns the socket of a net.Conn, given its data word, or 0. What is not a net.TCPConn but wraps one has it, as
// an interface, in its first field; whether something is one shows in the descriptor, which holds the socket's family and
// type.
static __always_inline __u64 go_socket(__u64 conn)
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
SEC("uprobe")
int on_round_trip(struct pt_regs *ctx)
{
	__u64 conn;

	if (!process_observed(process_find(bpf_get_current_pid_tgid() >> 32)))
		return 0;
	conn = goroutine_user(go_receiver(ctx) + PERSIST_CONN + sizeof(__u64)); // behind the interface's type
	goroutine_calls(go_socket(conn), ctx);
	return 0;
}
