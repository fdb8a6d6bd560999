// SPDX-License-Identifier: Apache-2.0
// A server with a thread for each connection: server PORT [CALL]
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "calls.h"

#define HEAD_MAX 16384
#define TRAP     "HTTP/1.1 500 Trap\r\n\r\n"

struct conn {
	int fd;
	size_t have, at;
	char in[65536];
	char head[HEAD_MAX];
	char *body;
	size_t body_size;
};

static char *filler(size_t n)
{
	char *data = malloc(n + 1);

	for (size_t i = 0; i < n; i++)
		data[i] = TRAP[i % (sizeof(TRAP) - 1)];
	return data;
}

static bool take(struct conn *c, char *to, size_t n)
{
	while (n) {
		size_t some = c->have - c->at;

		if (!some) {
			ssize_t got = call_receive(c->fd, c->in, sizeof(c->in));

			if (got <= 0)
				return false;
			c->have = got;
			c->at = 0;
			continue;
		}
		if (some > n)
			some = n;
		memcpy(to, c->in + c->at, some);
		c->at += some;
		to += some;
		n -= some;
	}
	return true;
}

// line reads a line into `to` and returns its length with the line end, 0 at the end or when there is no room.
static size_t line(struct conn *c, char *to, size_t room)
{
	size_t n = 0;

	while (n + 1 < room) {
		if (!take(c, to + n, 1))
			return 0;
		if (to[n++] == '\n') {
			to[n] = 0;
			return n;
		}
	}
	return 0;
}

static bool read_body(struct conn *c)
{
	char *length = strcasestr(c->head, "\r\nContent-Length:"), text[256];
	size_t n;

	c->body_size = 0;
	if (!strcasestr(c->head, "\r\nTransfer-Encoding: chunked")) {
		c->body_size = length ? strtoul(length + 17, NULL, 10) : 0;
		c->body = realloc(c->body, c->body_size + 1);
		return take(c, c->body, c->body_size);
	}
	for (;;) {
		if (!line(c, text, sizeof(text)))
			return false;
		n = strtoul(text, NULL, 16);
		if (!n)
			break;
		c->body = realloc(c->body, c->body_size + n + 2);
		if (!take(c, c->body + c->body_size, n + 2))
			return false;
		c->body_size += n;
	}
	do {
		if (!line(c, text, sizeof(text)))
			return false;
	} while (strcmp(text, "\r\n"));
	return true;
}

static bool respond(struct conn *c, const char *head, const char *body, size_t n)
{
	return !call_send(c->fd, head, strlen(head), body, n);
}

static bool respond_bytes(struct conn *c, const char *body, size_t n, bool with_body)
{
	char head[128];

	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nServer: c\r\nContent-Length: %zu\r\n\r\n", n);
	return respond(c, head, body, with_body ? n : 0);
}

static bool respond_chunks(struct conn *c, const char *body, size_t n, const char *trailer)
{
	char *out = malloc(2 * n + 256), *p = out;
	bool ok;

	for (size_t at = 0; at < n; at += 600) {
		size_t some = n - at < 600 ? n - at : 600;

		p += sprintf(p, "%zx\r\n", some);
		p = mempcpy(p, body + at, some);
		p = mempcpy(p, "\r\n", 2);
	}
	p += sprintf(p, "0\r\n%s\r\n", trailer);
	ok = respond(c, "HTTP/1.1 200 OK\r\nServer: c\r\nTransfer-Encoding: chunked\r\n\r\n", out, p - out);
	free(out);
	return ok;
}

static void echo(struct conn *c)
{
	char some[4096];
	ssize_t n = c->have - c->at;

	call_send(c->fd, c->in + c->at, n, NULL, 0);
	while ((n = call_receive(c->fd, some, sizeof(some))) > 0)
		call_send(c->fd, some, n, NULL, 0);
}

// answer answers the request in c; false ends the connection.
static bool answer(struct conn *c, const char *method, const char *path)
{
	unsigned long a = 0, b = 0;
	char what[32] = "", *body = NULL, head[128];
	bool ok = false;

	sscanf(path, "/%31[^/]/%lu/%lu", what, &a, &b);
	body = filler(a);
	if (!strcmp(what, "early"))
		respond(c, "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n", NULL, 0);
	if (!strcmp(what, "bytes") || !strcmp(what, "early")) {
		ok = respond_bytes(c, body, a, strcmp(method, "HEAD"));
	} else if (!strcmp(what, "echo")) {
		ok = respond_bytes(c, c->body, c->body_size, true);
	} else if (!strcmp(what, "stream")) {
		respond(c, "HTTP/1.1 200 OK\r\nServer: c\r\nConnection: close\r\n\r\n", body, a);
	} else if (!strcmp(what, "chunked")) {
		ok = respond_chunks(c, body, a, "");
	} else if (!strcmp(what, "trailers")) {
		ok = respond_chunks(c, body, a, "X-Sum: 1\r\n");
	} else if (!strcmp(what, "status")) {
		snprintf(head, sizeof(head), "HTTP/1.1 %lu Empty\r\nServer: c\r\n\r\n", a);
		ok = respond(c, head, NULL, 0);
	} else if (!strcmp(what, "part")) {
		snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %lu\r\n\r\n", b);
		respond(c, head, body, a);
		take(c, head, 1); // until the client is gone
	} else if (!strcmp(what, "upgrade")) {
		respond(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", NULL, 0);
		echo(c);
	}
	free(body);
	return ok && !strcasestr(c->head, "\r\nConnection: close");
}

static bool one(struct conn *c)
{
	char method[16], path[1024];
	size_t n = 0, some;
	int minor;

	do {
		some = line(c, c->head + n, sizeof(c->head) - n);
		if (!some)
			return false;
		n += some;
		if (n == some && sscanf(c->head, "%15s %1023s HTTP/1.%d", method, path, &minor) != 3)
			return false;
	} while (some > 2);
	if (strcasestr(c->head, "\r\nExpect:"))
		respond(c, "HTTP/1.1 100 Continue\r\n\r\n", NULL, 0);
	return read_body(c) && answer(c, method, path);
}

static void *converse(void *arg)
{
	struct conn *c = arg;

	while (one(c))
		;
	close(c->fd);
	free(c->body);
	free(c);
	return NULL;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int l = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	signal(SIGPIPE, SIG_IGN);
	if (argc < 2 || (argc > 2 && call_use(argv[2])))
		return 2;
	at.sin_port = htons(atoi(argv[1]));
	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(l, (struct sockaddr *)&at, sizeof(at)) || listen(l, 128)) {
		perror("listen");
		return 1;
	}
	for (;;) {
		struct conn *c = calloc(1, sizeof(*c));
		pthread_t t;

		c->fd = accept(l, NULL, NULL);
		if (c->fd < 0)
			return 1;
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (pthread_create(&t, NULL, converse, c))
			return 1;
		pthread_detach(t);
	}
}
