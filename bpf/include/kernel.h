// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The kernel's types, cut down to the members we read. Offsets are relocated when a program is loaded (CO-RE), so
// order and gaps mean nothing here; a suffix after ___ names another shape of the same type.
#pragma once

#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define KERNEL_STACK (16 << 10) // bytes of a task's stack in the kernel

#define AF_UNIX      1
#define AF_INET      2
#define AF_INET6     10
#define IPPROTO_TCP  6
#define SOCK_STREAM  1
#define RCV_SHUTDOWN 1
#define S_IFMT       0170000
#define S_IFSOCK     0140000
#define MSG_OOB      0x1
#define MSG_PEEK     0x2
#define MSG_TRUNC    0x20
#define MSG_ERRQUEUE 0x2000

enum tcp_state {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_FIN_WAIT1 = 4,
	TCP_FIN_WAIT2 = 5,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	atomic_t refs;
} refcount_t;

struct upid {
	int nr;
};

struct pid {
	struct upid numbers[1];
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct sk_buff_head {
	__u32 qlen;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_type;
	__u16 sk_protocol;
	int sk_err;
	__u8 sk_shutdown;
	refcount_t sk_wmem_alloc;
	struct sk_buff_head sk_receive_queue;
	struct socket *sk_socket;
	struct pid *sk_peer_pid;
	struct sock_cgroup_data sk_cgrp_data;
};

struct sockaddr_un {
	unsigned short sun_family;
	char sun_path[108];
};

struct unix_address {
	int len;
	struct sockaddr_un name[];
};

struct unix_sock {
	struct sock sk;
	struct unix_address *addr;
	struct sock *peer;
};

struct unix_skb_parms {
	__u32 consumed;
};

struct tcp_sock {
	__u32 rcv_nxt;
	__u32 copied_seq;
	__u32 snd_nxt;
	__u32 snd_una;
	__u32 write_seq;
	__u64 bytes_received;
	__u64 bytes_sent;
	__u64 bytes_acked;
	__u64 bytes_retrans;
	__u64 tcp_mstamp;
};

struct inet_connection_sock {
	struct {
		__u32 lrcvtime;
	} icsk_ack;
};

struct sk_buff {
	struct sock *sk;
	unsigned int len;
	char cb[48];
};

struct iovec {
	void *iov_base;
	__u64 iov_len;
};

enum iter_type {
	ITER_UBUF, // since 6.0
	ITER_IOVEC,
};

struct iov_iter {
	__u8 iter_type;
	__u64 iov_offset;
	const struct iovec *__iov;
	void *ubuf;
	__u64 count;
	unsigned long nr_segs;
};

struct iov_iter___6_3 { // and before: `__iov` had another name
	const struct iovec *iov;
};

struct iov_iter___5_13 { // and before: kind and direction in one
	unsigned int type;
};

struct msghdr {
	struct iov_iter msg_iter;
	unsigned int msg_flags;
};

struct socket {
	struct file *file;
	struct sock *sk;
};

struct inode {
	unsigned short i_mode;
	unsigned long i_ino;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct mm_struct {
	unsigned long arg_start, arg_end, env_start, env_end;
};

struct signal_struct {
	atomic_t live;
};

struct thread_info {
	unsigned long flags;
	__u32 status;
};

struct task_struct {
	struct thread_info thread_info;
	void *stack;
	int pid;
	int tgid;
	char comm[16];
	__u64 start_boottime;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct mm_struct *mm;
	struct files_struct *files;
	struct signal_struct *signal;
};

struct linux_binprm {
	const char *filename;
};

// The registers at a system call or a function, as amd64 and arm64 lay them out. Only one of the two exists on a given
// kernel. A system call of amd64 has its fourth argument in r10, a function in cx.
struct pt_regs___amd64 {
	unsigned long di, si, dx, cx, r10, r8, r9, r14, ax, bx, sp, orig_ax;
};

struct pt_regs___arm64 {
	__u64 regs[31];
	__u64 sp;
	__u64 orig_x0;
	int syscallno;
};

#pragma clang attribute pop
