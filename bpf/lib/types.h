// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The state kept between hooks. Nothing here is read by user space.
#pragma once

#include "kernel.h"
#include "record.h"

#define REQUEST_MAX  512
#define RESPONSE_MAX 256

// A line of a head that is cut by the end of a piece is kept if it is not longer than this; the longest line we read
// (traceparent) has 70 bytes.
#define CARRY_MAX 80
// Payload is looked at in pieces of this size.
#define PIECE_MAX 512

// A server exchange gives its context to so many client exchanges, and for so many nanoseconds from its beginning: a
// stream of events that never ends must not make one trace of all it causes.
#define ADOPT_MAX 256
#define ADOPT_NS  (300ll * 1000 * 1000 * 1000)

// Exchanges of a connection that are followed at a time: the one whose response comes next, and those sent ahead.
#define PIPELINE_MAX 256
// Positions in a window are masked to this, which tells the verifier all it wants to know.
#define WINDOW_MASK 1023

// The path of a unix socket: as the kernel has it, and as much of its end as a record has room for.
#define UNIX_PATH_MAX  108
#define UNIX_PATH_SIZE 32

enum direction {
	DIR_RX = 0,
	DIR_TX = 1,
};

// One direction of a connection as a sequence of messages.
enum stream_state {
	STREAM_START,       // before the first bytes that tell what it is
	STREAM_HEAD,        // header lines
	STREAM_LENGTH,      // body of known length
	STREAM_CHUNK_LINE,  // size of the next chunk
	STREAM_CHUNK,       // a chunk and the line end behind it
	STREAM_TRAILER,     // lines behind the last chunk
	STREAM_UNTIL_CLOSE, // body that ends with the connection
	STREAM_LOST,        // the end of this message cannot be known
	STREAM_DONE,        // between messages
};

enum stream_facts {
	FACT_LENGTH = 1 << 0,      // content-length was given; it is in `remain`
	FACT_CHUNKED = 1 << 1,     // the last transfer-encoding is chunked
	FACT_LONG_LINE = 1 << 2,   // in a line whose beginning is forgotten
	FACT_FIRST_LINE = 1 << 3,  // the first line is behind us
	FACT_SMALL_CHUNK = 1 << 4, // the chunk before was so small that the next one may be in the same piece
	FACT_RARE_METHOD = 1 << 5, // what may be the method of a request is none of the common ones
};

// Where a stream of FastCGI is (lib/fcgi.h).
struct fcgi {
	__u32 value;   // bytes to come of the parameter, with its name if that does not matter
	__u16 content; // and of the record
	__u8 padding;  // and behind that
	__u8 type;     // of the record
	__u8 kept;     // bytes in `header`
	__u8 parted;   // bytes in `part`
	__u8 wanted;   // which parameter it is
	__u8 room;     // bytes of its value that are still to be captured
	char header[8];
	char part[56]; // the beginning of a parameter, or a traceparent
};

struct stream {
	__u64 remain; // STREAM_LENGTH, STREAM_CHUNK: bytes of body to come; FastCGI: bytes of parameters so far
	__u32 head;   // bytes of head so far
	__u8 state;
	__u8 facts;
	__u16 carry; // bytes in `line`
	union {
		char line[CARRY_MAX];
		struct fcgi fcgi;
	};
};

enum stream_index {
	REQUEST = 0,
	RESPONSE = 1,
};

enum conn_open {
	OPEN_NONE,   // between exchanges
	OPEN_REAL,   // `rec` is being filled
	OPEN_SHADOW, // an exchange sent ahead for which there was no room: followed so that pairs stay right, not recorded
};

enum conn_opaque {
	OPAQUE_OTHER = 1, // not HTTP/1: never look again
	OPAQUE_TLS = 2,   // records of TLS (lib/tls.h)
};

enum request_method {
	METHOD_OTHER,
	METHOD_HEAD,    // its response has no body
	METHOD_CONNECT, // after its success the connection is a tunnel
};

// What belongs to one exchange of a connection. `rec` and `heads` are together one record for user space, copied as it
// stands.
struct exchange {
	struct exchange_record rec;
	char heads[REQUEST_MAX + RESPONSE_MAX];
	__u64 owner;  // key of the server exchange at work: this one, or the one that it was made for; 0: none
	__u32 method; // of the request
	__u32 reserved;
};

// A connection. It begins like struct exchange: the one whose message is looked at.
struct conn {
	struct exchange_record rec;
	char heads[REQUEST_MAX + RESPONSE_MAX];
	__u64 owner;
	__u32 method;
	// The verifier cannot see that a piece never runs past `heads`: what follows must be at least RESPONSE_MAX long.
	struct stream stream[2];
	__u64 now;       // of the hook that is at work on the connection
	__u64 task;      // and its thread, as bpf_get_current_pid_tgid says it
	__u64 sk;        // address of the socket: names the connection in maps
	__u64 number;    // what goes through here is no pointer to the verifier any more
	__u32 seen[2];   // by direction: sequence number after the last byte looked at
	__u32 passed[2]; // the same of what the hook handed on last, looked at or not; not of every hook
	// Exchanges are numbered as their requests come. Those between the two are kept in map `pipeline`.
	__u32 front;   // the one whose response comes next
	__u32 tail;    // the one of the last request
	__u32 current; // the one in `rec`
	__u8 primed;   // bit per direction: `seen` is valid
	__u8 opaque;   // enum conn_opaque: not parsed any more
	__u8 spoke;    // has been seen to speak HTTP
	__u8 open;
	__u8 request_dir;
	__u8 last_dir;
	__u8 window[2];   // by direction: number of the window where what is looked at is
	__u64 dialed;     // key of the exchange that opened this connection, until the first exchange; 0: none
	__u64 before;     // `owner` before what is being looked at
	__u32 wire_shift; // from `seq` of what is looked at to the sequence number on the wire: not 0 for plaintext of TLS
	__u8 proc_flags;
	__u8 side;         // enum exchange_role of the end that opened it or not; 0: not known
	__u8 last;         // its client has said that it ends with the open exchange (FastCGI)
	__u16 request_id;  // of the open exchange, in FastCGI
	__u16 tries;       // bytes that were not HTTP before any that were
	__u32 shadows;     // complete requests of shadows
	__u32 shadow_head; // bit per request counted there, oldest lowest: it is a HEAD
	__u32 next_method; // method of the request the stream is in
	__u32 member;      // process whose cgroup is in `rec`
	__u8 shadow;       // the request stream is in a shadow behind the tail
	__u8 unsettled;    // a request head is complete, and its context is still to be settled
	__u8 closing;      // the process has said that it sends no more (TLS)
	// Unix sockets.
	__u8 far;       // what passes is seen where the other process reads it
	__u8 drained;   // at the last sweep nothing was left to be read, nor to come
	__u32 moved[2]; // by direction: bytes that have passed
	__u64 inode;
	__u64 mate; // address of the other socket
};
_Static_assert(__builtin_offsetof(struct conn, owner) == __builtin_offsetof(struct exchange, owner) &&
		       __builtin_offsetof(struct conn, method) == __builtin_offsetof(struct exchange, method),
	       "conn begins like exchange");
_Static_assert(sizeof(struct conn) - __builtin_offsetof(struct conn, stream) >= RESPONSE_MAX, "conn.heads");

struct wire_key {
	__u32 opener_isn;
	__u32 acceptor_isn;
	__u32 request_seq;
};

struct pipeline_key {
	__u64 sk;
	__u64 ordinal;
};

struct half {
	__u64 trace_id[2];
	__u64 span_id;
	__u64 trace_flags;
};

#define HINTS 256

// How many of the entries of `halves` there are by some bits of their keys.
struct half_hints {
	__u32 halves[HINTS];
};

// Processors of the Go scheduler whose ids are told apart for one server exchange.
#define SPAWNS_MAX 2

// What a processor of the Go scheduler has left of its batch of goroutine ids.
struct goids {
	__u32 next, end;
};

// The goroutine for which the next request on a socket is sent, and the one that started it.
struct caller {
	__u64 goid;
	__u64 parent; // 0: not known
	__u32 tgid;
	__u32 reserved;
};

// What a server exchange hands to the client exchanges made for it, under the key of lib/owner.h.
struct owner {
	__u64 trace_id[2];
	__u64 span_id;
	__u64 given_span_id; // the one its caller sent in traceparent, 0 without
	__u64 since;         // beginning of its request
	__u32 open;          // server exchanges that are open under this key
	__u16 adopted;       // client exchanges that have taken this context
	__u8 mixed;          // more than one was open: none is the one
	__u8 trace_flags;
	// Of a goroutine: the low halves of the ids that goroutines get which are started for this exchange (lib/goroutine.h).
	struct goids spawned[SPAWNS_MAX];
	__u32 counter; // all behind this
	__u8 spawns;
	__u8 counted; // `counter` is known
	__u16 reserved;
};

// The server exchange that started a thread; while it is open, for `owner` may have gone on to another one.
struct heir {
	__u64 owner;
	__u64 span_id;
};

// What an event loop is doing.
struct tick {
	__u64 owner;   // key of the server exchange it is at work on, 0: none, or not known
	__u32 open;    // server exchanges that it has not answered yet
	__u16 port;    // local one of the connection that was read
	__u8 response; // it was a response
	__u8 spent;    // a request has been made, or a connection opened, in this tick
};

// Windows of a CPU.
#define WINDOWS 4

struct window {
	char bytes[WINDOW_MASK + 1 + 128]; // the longest thing looked at from a position is a traceparent
	__u32 users;                       // 1: somebody is at work in it; for a moment more
	__u32 reserved;
};

struct process_space {
	struct process_record rec;
	char tail[PROCESS_FILE_MAX + PROCESS_ARGS_MAX + PROCESS_ENV_MAX];
	char slack[PROCESS_ENV_MAX]; // for the verifier, as in struct conn
};

// A send or a receive on a TCP or unix socket between its beginning and its end.
struct call {
	__u64 sk;
	__u64 base;     // buffer, list of buffers, or list of messages
	__u64 size;     // of the buffer or buffers
	__u32 skip;     // bytes of them before the first that counts
	__u32 segments; // in the list of buffers
	__u32 messages; // in the list of messages; 0: not one
	__u32 seq;      // of the first byte to be sent or received
	__u8 dir;
	__u8 source; // enum source_kind
	__u8 peek;   // the bytes stay in the socket
	__u8 local;  // a unix socket
	__u8 reserved[4];
};

// One direction of a TLS connection as a sequence of records.
struct tls_walk {
	__u32 upto;     // sequence number after the last byte that passed
	__u32 next;     // of the next byte of a record's header
	__u32 start;    // of the first byte of that header
	__u8 header[8]; // its bytes so far
	__u8 have;      // number of those
	__u8 primed;    // `upto` is valid
	__u8 walking;   // `next` is valid
	__u8 changed;   // ChangeCipherSpec has passed
	__u8 ready;     // what passes now is application data
	__u8 reserved[3];
};

// A record of application data that was received and not yet read as plaintext.
struct tls_record {
	__u32 start; // sequence number of its first byte
	__u32 length;
};

#define TLS_PENDING_MAX 8

enum tls_begun {
	TLS_NOT_BEGUN,
	TLS_BEGUN,  // from its ClientHello on
	TLS_MIDWAY, // found in the middle
};

// Whether the plaintext of a connection has been seen from its first byte on. If not, what is seen of it begins anywhere.
enum tls_wary {
	TLS_UNJUDGED,
	TLS_WHOLE,
	TLS_UNHEARD, // found in the middle, and no response has passed since
	TLS_HEARD,   // one has: what is sent in the other direction now is a request
};

// What is known of a TLS connection besides its ciphertext (a struct conn of the tier) and its plaintext (another).
struct tls_socket {
	__u64 object;   // of the library that holds its keys; 0: not known
	__u32 tgid;     // of the process in which that is
	__u32 reader;   // thread that has last received on it outside any call
	__u8 library;   // enum exchange_tls
	__u8 memory;    // the library does not call the socket: the two were joined by order in time
	__u8 guessed;   // and nothing that was read has confirmed it yet
	__u8 begun;     // enum tls_begun
	__u8 role;      // enum exchange_role; 0: not known
	__u8 version;   // 12 or 13; 0: not known
	__u8 keyed;     // the plaintext's connection has a wire key
	__u8 joined;    // has been joined before
	__u8 wary;      // enum tls_wary
	__u8 missed;    // records were received that are not in `pending`, behind those that are
	__u8 known[2];  // by direction: `shift` is valid
	__u8 late;      // plaintext from `late_at` on was taken for sending before it was known where its record begins
	__u16 overhead; // of a record over its plaintext; 0: not known
	__u32 shift[2]; // by direction: from a position in the plaintext to that of its record on the wire
	__u32 plain[2]; // by direction: bytes of plaintext that went through
	__u32 offered;  // position after the plaintext that was offered for sending
	__u32 late_at;
	__u32 left;           // plaintext not yet read of the record read last
	__u32 pushed, popped; // numbers of `pending`
	struct tls_record pending[TLS_PENDING_MAX];
	struct tls_walk walk[2];
	__u64 told;   // when the connection was last reported
	__u64 since;  // when its ClientHello passed
	__u64 hooked; // since when all that its library does is seen
	__u64 dialed; // of the connection: see there
};

struct tls_key {
	__u64 object;
	__u64 tgid;
};

enum tls_kind {
	TLS_READ,
	TLS_WRITE,
	TLS_OTHER, // a handshake: it matters only that the socket is called
};

// A call of a TLS library between its entry and its return.
struct tls_call {
	__u64 object;
	__u64 buffer;
	__u64 size;
	__u64 result; // where the number of bytes is returned; 0: by value
	__u64 stack;  // stack pointer as it is after the return
	__u64 hooked; // since when all hooks of its file are there
	__u8 kind;
	__u8 library;
	__u8 offered; // TLS_WRITE: the core has seen the buffer
	__u8 reserved[5];
};

// Calls may nest: a library calls back into its user.
#define TLS_CALLS_MAX 4

struct tls_thread {
	__u64 received; // socket that the thread has last received on outside any call, until the next call
	__u64 depth;
	struct tls_call calls[TLS_CALLS_MAX];
};
