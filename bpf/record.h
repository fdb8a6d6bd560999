// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The records and settings that user space reads and writes. Every struct here has a twin in
// services/probe/internal/kern/record.go, and a test holds the two layouts together.
//
// All times are CLOCK_BOOTTIME nanoseconds; 0 means "not seen". Ports are in host byte order, addresses
// in network order, ids in the byte order in which they are printed.
#pragma once

enum record_kind {
	RECORD_EXCHANGE = 1,
	RECORD_PROCESS = 2,
};

enum exchange_role {
	ROLE_SERVER = 1, // the request was received on this socket
	ROLE_CLIENT = 2, // the request was sent on this socket
};

// Where the trace id of an exchange comes from.
enum exchange_context {
	CONTEXT_ROOT = 0,   // nobody handed one over: derived from the wire key
	CONTEXT_HEADER = 1, // `traceparent` in the request head
	CONTEXT_HALF = 2,   // the client half of the same exchange, seen on this node
	CONTEXT_THREAD = 3, // the server exchange that is open on the calling thread
	CONTEXT_TASK = 4,   // the one that is open on the calling goroutine, or on the one that started it
	CONTEXT_TICK = 5,   // the one that the calling event loop is at work on
};

enum exchange_protocol {
	PROTOCOL_HTTP = 0,
	PROTOCOL_FASTCGI = 1, // the heads are the parameters that matter (lib/fcgi.h) and the beginning of STDOUT
	PROTOCOL_TLS = 2,     // a connection whose plaintext cannot be seen; the heads are what it began with in each direction
};

// The library through which the plaintext of an exchange was seen.
enum exchange_tls {
	TLS_NONE = 0,
	TLS_OPENSSL = 1,
	TLS_GNUTLS = 2,
	TLS_GO = 3, // crypto/tls
};

enum exchange_flags {
	EXCHANGE_RESET = 1 << 0,            // the connection was aborted while the exchange was open
	EXCHANGE_NO_RESPONSE = 1 << 1,      // not one byte of a response
	EXCHANGE_REQUEST_CUT = 1 << 2,      // the request head is longer than what was captured
	EXCHANGE_RESPONSE_CUT = 1 << 3,     // the response is longer than what was captured of it
	EXCHANGE_REQUEST_PARTIAL = 1 << 4,  // ended before the request was complete
	EXCHANGE_RESPONSE_PARTIAL = 1 << 5, // ended before the response was complete
	EXCHANGE_UNTIL_CLOSE = 1 << 6,      // the response had no length: the connection's end is its end
	EXCHANGE_UNFRAMED = 1 << 7,         // framing was lost: the times of the last bytes are those seen
	EXCHANGE_PIPELINED = 1 << 8,        // a further request was sent before this response was complete
	EXCHANGE_UPGRADED = 1 << 9,         // 101, or CONNECT: the connection speaks something else now
	EXCHANGE_KEYED = 1 << 10,           // the wire key is valid
};

// One HTTP request and its response. `request_captured` bytes of the request head follow the struct, then
// `response_captured` bytes of the response, without a gap: none of HTTP, whose status is all that matters.
struct exchange_record {
	__u16 kind;
	__u16 flags;
	__u8 role;
	__u8 family; // AF_INET, AF_INET6 or AF_UNIX; a v4-mapped address is AF_INET
	__u8 context;
	__u8 trace_flags;
	__u64 request_start;
	__u64 request_end;
	__u64 response_start;
	__u64 response_end;
	__u64 request_bytes; // head and body as on the wire
	__u64 response_bytes;
	__u32 request_head; // length of the whole head with its blank line; 0 when it never ended
	__u32 response_head;
	__u16 request_captured;
	__u16 response_captured;
	__u16 status; // 0 without a response
	__u16 local_port;
	__u16 remote_port;
	__u8 protocol;       // enum exchange_protocol
	__u8 tls;            // enum exchange_tls
	__u32 netns;         // inode of the socket's network namespace
	__u8 local_addr[16]; // IPv4 in the first four bytes; AF_UNIX: both are one field, the last 32 bytes of the listener's path
	__u8 remote_addr[16];
	__u32 tgid; // process and thread that read or wrote the request's first byte
	__u32 tid;
	__u64 cgroup; // cgroup v2 id of that process
	// The wire key: what both ends of the connection can compute on their own.
	__u32 opener_isn;
	__u32 acceptor_isn;
	__u32 request_seq;
	__u32 wait; // microseconds that the request lay in the socket before the server began to read it
	__u64 trace_id[2];
	__u64 span_id;
	__u64 parent_span_id; // 0: a root
	__u16 error;          // with EXCHANGE_RESET: errno of the socket, 0 when this end aborted
	__u16 reserved;
	__u32 reserved2;
};
_Static_assert(sizeof(struct exchange_record) == 184, "exchange_record");

enum process_event {
	PROCESS_EXEC = 1,
	PROCESS_FORK = 2, // a new process, not a thread
	PROCESS_EXIT = 3, // its last thread is gone
	PROCESS_TLS = 4,  // it listens, connects or begins TLS, and has no PROC_TLS: look for its TLS libraries
};

#define PROCESS_FILE_MAX 256
#define PROCESS_ARGS_MAX 512
#define PROCESS_ENV_MAX  2048

// A change in the life of a process. After exec, `file_size` bytes of the name of the executable as the caller
// gave it, `args_size` bytes of NUL-separated arguments and `env_size` bytes of NUL-separated environment follow
// the struct; each may be cut at its limit.
struct process_record {
	__u16 kind;
	__u8 event;
	__u8 reserved;
	__u32 tgid;
	__u32 parent;
	__u32 reserved2;
	__u64 time;
	__u64 started; // start of the process: with tgid it names the process for ever
	__u64 cgroup;
	char comm[16];
	__u16 file_size;
	__u16 args_size;
	__u16 env_size;
	__u16 reserved3;
};
_Static_assert(sizeof(struct process_record) == 64, "process_record");

// What user space decided about a process; the value of map `procs`.
enum proc_verdict {
	VERDICT_IGNORE = 0,
	VERDICT_OBSERVE = 1,
};

enum proc_flags {
	PROC_THREADS = 1 << 0, // one thread serves one request at a time: hand its context to its client calls
	PROC_GO = 1 << 1,      // goroutines serve requests; where their ids are is in `goid` and `parent_goid`
	PROC_LOOP = 1 << 2,    // one thread serves many requests in turns, and its ticks are known; set by the hook that ends them
			       // hook itself
	PROC_TLS = 1 << 3,     // its TLS libraries are known: do not report that it may have some
	PROC_TASKS = 1 << 4,   // seen: threads that were started for a request and ended before it
	PROC_POOL = 1 << 5,    // seen: one that outlived it
};

struct proc {
	__u8 verdict;
	__u8 flags;
	__u16 goid;        // offset in runtime.g
	__u16 parent_goid; // the same; 0: this version of Go does not tell
	__u8 m_p;          // offset in runtime.m, in words
	__u8 goid_cache;   // offset in runtime.p, in words; 0: which goroutine is younger cannot be told
	__u64 goid_gen;    // address of the counter of goroutine ids; 0: not known
};
_Static_assert(sizeof(struct proc) == 16, "proc");

// Why something that should have become (part of) a record did not. Counted per CPU in map `drops`.
enum drop_reason {
	DROP_RING_FULL,          // an exchange: user space is too slow
	DROP_RING_FULL_PROCESS,  // a process record, for the same reason
	DROP_CONNECTION_STATE,   // data on a connection for which no state could be made
	DROP_CALL_STATE,         // a system call whose arguments could not be kept
	DROP_OWNER_STATE,        // a server exchange whose context could not be kept for the client exchanges it makes
	DROP_HALF_STATE,         // a client half that could not be kept for its server half
	DROP_READ_FAULT,         // payload that could not be read
	DROP_GAP,                // payload that passed no hook
	DROP_FRAMING,            // a message whose end could not be followed
	DROP_UNPAIRED_RESPONSE,  // a response without a request
	DROP_PIPELINED_EXCHANGE, // a request sent ahead for which there was no room, or whose response could not be told from others
	DROP_ADOPTION,           // a client exchange made a root, for its server exchange has made too many or lasts too long
	DROP_TLS_SOCKET,         // plaintext of a TLS connection whose socket is not known
	DROP_WINDOW,             // payload that was not looked at, because all windows of the CPU were taken
	DROP_REASONS,
};
