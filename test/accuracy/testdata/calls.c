// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static enum { WRITE, WRITEV, SEND, SENDTO, SENDMSG, SENDMMSG, SENDFILE, SPLICE, ZEROCOPY, IO_URING, PEEK, CALLS } use;

int call_use(const char *name)
{
	static const char *const names[CALLS] = {"write", "writev", "send", "sendto", "sendmsg", "sendmmsg", "sendfile", "splice", "zerocopy", "io_uring", "peek"};

	for (int i = 0; i < CALLS; i++) {
		if (!strcmp(names[i], name)) {
			use = i;
			return 0;
		}
	}
	return -1;
}

// One ring for each thread, with one operation at a time.
struct ring {
	int fd;
	unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
};

static struct ring *ring_get(void)
{
	static __thread struct ring ring;
	struct io_uring_params p = {0};
	char *sq, *cq;

	if (ring.sqes)
		return &ring;
	ring.fd = syscall(SYS_io_uring_setup, 4, &p);
	if (ring.fd < 0)
		return NULL;
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * sizeof(unsigned), PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQ_RING);
	cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_CQ_RING);
	ring.sqes = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || ring.sqes == MAP_FAILED)
		abort();
	ring.sq_tail = (unsigned *)(sq + p.sq_off.tail);
	ring.sq_mask = (unsigned *)(sq + p.sq_off.ring_mask);
	ring.sq_array = (unsigned *)(sq + p.sq_off.array);
	ring.cq_head = (unsigned *)(cq + p.cq_off.head);
	ring.cq_tail = (unsigned *)(cq + p.cq_off.tail);
	ring.cq_mask = (unsigned *)(cq + p.cq_off.ring_mask);
	ring.cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
	return &ring;
}

static ssize_t ring_do(int op, int fd, const void *data, size_t n)
{
	struct ring *r = ring_get();
	struct io_uring_sqe *sqe;
	unsigned tail, head;
	int result;

	if (!r)
		return -1;
	tail = *r->sq_tail;
	sqe = &r->sqes[tail & *r->sq_mask];
	*sqe = (struct io_uring_sqe){.opcode = op, .fd = fd, .addr = (unsigned long)data, .len = n};
	r->sq_array[tail & *r->sq_mask] = tail & *r->sq_mask;
	__atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_RELEASE);
	while (syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		if (errno != EINTR)
			return -1;
	head = *r->cq_head;
	if (head == __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE))
		return -1;
	result = r->cqes[head & *r->cq_mask].res;
	__atomic_store_n(r->cq_head, head + 1, __ATOMIC_RELEASE);
	errno = result < 0 ? -result : 0;
	return result < 0 ? -1 : result;
}

ssize_t call_receive(int fd, char *data, size_t n)
{
	// Two pieces, so that what comes is spread over more than one buffer.
	struct iovec iov[2] = {{data, n / 3}, {data + n / 3, n - n / 3}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	struct mmsghdr mmsg = {.msg_hdr = msg};

	switch (use) {
	case WRITEV:
		return readv(fd, iov, 2);
	case SEND:
	case ZEROCOPY:
		return recv(fd, data, n, 0);
	case SENDTO:
		return recvfrom(fd, data, n, 0, NULL, NULL);
	case SENDMSG:
		return recvmsg(fd, &msg, 0);
	case SENDMMSG:
		return recvmmsg(fd, &mmsg, 1, MSG_WAITFORONE, NULL) < 0 ? -1 : (ssize_t)mmsg.msg_len;
	case IO_URING:
		return ring_do(IORING_OP_RECV, fd, data, n);
	case PEEK:
		if (recv(fd, data, n / 2, MSG_PEEK) < 0)
			return -1;
		return recv(fd, data, n, 0);
	default:
		return read(fd, data, n);
	}
}

// memory_file returns a file that holds the data.
static int memory_file(const char *data, size_t n)
{
	int fd = memfd_create("body", 0);

	if (fd < 0 || write(fd, data, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET))
		abort();
	return fd;
}

static int send_file(int fd, const char *data, size_t n)
{
	int file = memory_file(data, n);
	ssize_t sent = 0;

	for (size_t at = 0; at < n && sent >= 0; at += sent)
		sent = sendfile(fd, file, NULL, n - at);
	close(file);
	return sent < 0 ? -1 : 0;
}

static int send_splice(int fd, const char *data, size_t n)
{
	int file = memory_file(data, n), ends[2];
	ssize_t in, out = 0;

	if (pipe(ends))
		abort();
	for (size_t at = 0; at < n && out >= 0; at += in) {
		in = splice(file, NULL, ends[1], NULL, n - at, 0);
		if (in <= 0)
			abort();
		for (ssize_t left = in; left > 0 && out >= 0; left -= out)
			out = splice(ends[0], NULL, fd, NULL, left, at + in < n ? SPLICE_F_MORE : 0);
	}
	close(file);
	close(ends[0]);
	close(ends[1]);
	return out < 0 ? -1 : 0;
}

// zerocopy_reap waits until the kernel has done with the buffers of all sends before.
static void zerocopy_reap(int fd)
{
	char control[128];
	struct msghdr msg = {.msg_control = control, .msg_controllen = sizeof(control)};
	struct pollfd p = {.fd = fd};

	if (poll(&p, 1, 1000) > 0)
		recvmsg(fd, &msg, MSG_ERRQUEUE);
}

static ssize_t send_some(int fd, const char *data, size_t n)
{
	struct iovec iov[2] = {{(char *)data, n / 3}, {(char *)data + n / 3, n - n / 3}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	struct mmsghdr mmsg = {.msg_hdr = msg};
	int one = 1;
	ssize_t sent;

	switch (use) {
	case WRITEV:
		return writev(fd, iov, 2);
	case SEND:
		return send(fd, data, n, MSG_NOSIGNAL);
	case SENDTO:
		return sendto(fd, data, n, MSG_NOSIGNAL, NULL, 0);
	case SENDMSG:
		return sendmsg(fd, &msg, MSG_NOSIGNAL);
	case SENDMMSG:
		return sendmmsg(fd, &mmsg, 1, MSG_NOSIGNAL) < 0 ? -1 : (ssize_t)mmsg.msg_len;
	case ZEROCOPY:
		setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one));
		sent = send(fd, data, n, MSG_ZEROCOPY | MSG_NOSIGNAL);
		if (sent >= 0)
			zerocopy_reap(fd);
		return sent;
	case IO_URING:
		return ring_do(IORING_OP_SEND, fd, data, n);
	default:
		return write(fd, data, n);
	}
}

static int send_all(int fd, const char *data, size_t n)
{
	while (n) {
		ssize_t sent = send_some(fd, data, n);

		if (sent < 0)
			return -1;
		data += sent;
		n -= sent;
	}
	return 0;
}

int call_send(int fd, const char *head, size_t head_size, const char *body, size_t body_size)
{
	char *all;
	int err;

	if ((use == SENDFILE || use == SPLICE) && body_size) {
		if (send(fd, head, head_size, MSG_MORE | MSG_NOSIGNAL) != (ssize_t)head_size)
			return -1;
		return use == SPLICE ? send_splice(fd, body, body_size) : send_file(fd, body, body_size);
	}
	all = malloc(head_size + body_size);
	memcpy(all, head, head_size);
	memcpy(all + head_size, body, body_size);
	err = send_all(fd, all, head_size + body_size);
	free(all);
	return err;
}
