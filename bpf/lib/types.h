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
// Exchanges of a connection that are followed at a time: the one whose response comes next, and those sent ahead.
#define PIPELINE_MAX 256
// Positions in a window are masked to this, which tells the verifier all it wants to know.
#define WINDOW_MASK 1023

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
};

struct stream {
	__u64 remain; // STREAM_LENGTH, STREAM_CHUNK: bytes of body to come
	__u32 head;   // bytes of head so far
	__u8 state;
	__u8 facts;
	__u16 carry; // bytes in `line`
	char line[CARRY_MAX];
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
	__u32 owner;  // thread on which the open server exchange is noted, or 0
	__u32 method; // of the request
};

// A connection. It begins like struct exchange: the one whose message is looked at.
struct conn {
	struct exchange_record rec;
	char heads[REQUEST_MAX + RESPONSE_MAX];
	__u32 owner;
	__u32 method;
	// The verifier cannot see that a piece never runs past `heads`: what follows must be at least RESPONSE_MAX long.
	struct stream stream[2];
	__u64 now;     // of the hook that is at work on the connection
	__u64 task;    // and its thread, as bpf_get_current_pid_tgid says it
	__u64 sk;      // address of the socket: names the connection in maps
	__u64 number;  // what goes through here is no pointer to the verifier any more
	__u32 seen[2]; // by direction: sequence number after the last byte looked at
	// Exchanges are numbered as their requests come. Those between the two are kept in map `pipeline`.
	__u32 front;   // the one whose response comes next
	__u32 tail;    // the one of the last request
	__u32 current; // the one in `rec`
	__u8 primed;   // bit per direction: `seen` is valid
	__u8 opaque;   // not HTTP/1: never look again
	__u8 spoke;    // has been seen to speak HTTP
	__u8 open;
	__u8 request_dir;
	__u8 last_dir;
	__u8 proc_flags;
	__u8 shadow;       // the request stream is in a shadow behind the tail
	__u16 tries;       // bytes that were not HTTP before any that were
	__u32 shadows;     // complete requests of such shadows
	__u32 shadow_head; // bit per request counted there, oldest lowest: it is a HEAD
	__u32 next_method; // method of the request the stream is in
	__u32 reserved;
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

struct thread {
	__u64 trace_id[2];
	__u64 span_id;
	__u64 given_span_id; // the one its caller sent in traceparent, 0 without
	__u32 open;          // server exchanges open on this thread
	__u8 mixed;          // there was more than one: none is the one
	__u8 trace_flags;
	__u16 reserved;
};

struct window {
	char bytes[WINDOW_MASK + 1 + 128]; // the longest thing looked at from a position is a traceparent
};

struct process_space {
	struct process_record rec;
	char tail[PROCESS_FILE_MAX + PROCESS_ARGS_MAX + PROCESS_ENV_MAX];
	char slack[PROCESS_ENV_MAX]; // for the verifier, as in struct conn
};

// A system call on a TCP socket between its entry and its return.
struct call {
	__u64 sk;
	__u64 base;     // buffer, list of buffers, or list of messages
	__u64 size;     // of the buffer or buffers
	__u32 segments; // in the list of buffers; 0: a plain buffer
	__u32 messages; // in the list of messages; 0: not one
	__u8 dir;
	__u8 peek;  // the bytes stay in the socket
	__u8 blind; // the bytes are not in memory of the process
	__u8 reserved;
	__u32 seq; // of the next byte to be received, on entry
};
