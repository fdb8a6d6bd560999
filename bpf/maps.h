// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Every map and every setting. Objects that are loaded together share the maps by name; a map that no program of an
// object uses is not created for it. Each map states its bound and what deletes from it.
#pragma once

#include "kernel.h"
#include "record.h"
#include "lib/types.h"

// Settings, fixed before load so that the verifier prunes what they switch off.
const volatile __u32 request_window = REQUEST_MAX;     // captured bytes of a request head
const volatile __u32 response_window = RESPONSE_MAX;   // and of what answers it, not of HTTP
const volatile __u64 wake_bytes = 1 << 20;             // the reader is woken once per so much written
const volatile __s64 tls_report_period = 60000000000;  // ns after which an encrypted connection is reported that goes on
const volatile __s64 suspended = 0;                    // ns for which the machine has been suspended before the load
const volatile bool preempted = true;                  // programs may be preempted by others on their CPU
const volatile __u8 default_verdict = VERDICT_OBSERVE; // of processes without an entry in `procs`

// Records on their way to user space. Full: the new record is dropped and counted.
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} ring SEC(".maps");

// Counters by enum drop_reason.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DROP_REASONS);
	__type(key, enum drop_reason);
	__type(value, __u64);
} drops SEC(".maps");

// tgid -> verdict, written by user space, inherited at fork. Deleted at exec and at exit of the process.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct proc);
} procs SEC(".maps");

// Connection state inside the socket it belongs to: no bound of its own, and dies with the socket.
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct conn);
} conns SEC(".maps");

// The same by address of the socket, for tiers kprobe and syscall, and in every tier, by that address plus one, the
// plaintext of TLS connections. Deleted when the socket is destroyed or
// becomes TCP_CLOSE; full: the connection is not observed, and counted.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct conn);
} conns_by_addr SEC(".maps");

// Always zero: what new entries of maps with large values start as.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, struct conn);
} blank_conn SEC(".maps");

// connection and ordinal -> an exchange that is not the one being looked at, while requests are sent ahead. Deleted when
// its turn comes and when the connection ends; full: the request is followed without being recorded, and counted.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pipeline_key);
	__type(value, struct exchange);
} pipeline SEC(".maps");

// tid -> what the thread is sending or receiving, or did last; not in tier btf. Deleted when the thread exits, in tier
// syscall when the call returns. Full: what the call moves is not seen, and counted.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

// owner (lib/owner.h) -> context of the server exchange open there. Deleted when the last one ends, that of a thread when
// it exits; full: the client calls of that exchange get no parent, and it is counted. Not an LRU map: that costs a client
// exchange twice as much as all the rest of it.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct owner);
} owners SEC(".maps");

// tid -> server exchange for which the thread was started. Deleted when it exits, or calls when that is over; full: its
// calls get no parent, and it is counted.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct heir);
} heirs SEC(".maps");

// socket -> goroutine for which the next request is sent on it, where another one sends it. Deleted by that request and
// with the socket; full: the request gets no parent, and it is counted.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct caller);
} callers SEC(".maps");

// tid -> what the event loop running there is doing. Deleted when the thread exits; full: its client calls get no parent,
// and it is counted.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct tick);
} ticks SEC(".maps");

// wire key -> context of a client exchange of this node, for its server half. Deleted when the client exchange ends, at
// the latest with its connection; full: the server half gets no parent, and it is counted.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct wire_key);
	__type(value, struct half);
} halves SEC(".maps");

// What is in there, small enough to stay in the caches of a processor.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct half_hints);
} half_hints SEC(".maps");

// Where payload is looked at. Several, for whoever is at work on a CPU may be preempted there by another one: by another task
// where programs do not hold the CPU, and everywhere by an interrupt. All are taken: the payload is not looked at, and counted.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WINDOWS);
	__type(key, __u32);
	__type(value, struct window);
} windows SEC(".maps");

// Where the record of an exec is put together. The kernel does not run the only program that does so while it runs on the same
// CPU.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct process_space);
} process_space SEC(".maps");

// TLS connections by address of their socket. Deleted when the socket is destroyed; full: not observed, and counted.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct tls_socket);
} tls_sockets SEC(".maps");

// TLS object of a process -> its socket. Deleted when the object is freed and when the socket is destroyed; full: as above.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tls_key);
	__type(value, __u64);
} tls_objects SEC(".maps");

// number of a file -> when all its hooks were there. Until then those that are there do nothing: what they saw would be one
// half of it. Written by user space, deleted when it takes the hooks away.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u64);
} hooked SEC(".maps");

// tid -> calls of TLS libraries in progress. Deleted when the thread exits; full: the call is not seen, and counted.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct tls_thread);
} tls_threads SEC(".maps");
