// SPDX-License-Identifier: Apache-2.0
// A client with one connection at a time: client URL [CALL] < requests
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

#define TRAP "HTTP/1.1 500 Trap\r\n\r\n"

static struct {
	int fd;
	size_t have, at;
	char in[65536];
} conn = {.fd = -1};

static bool take(char *to, size_t n)
{
	while (n) {
		size_t some = conn.have - conn.at;

		if (!some) {
			ssize_t got = call_receive(conn.fd, conn.in, sizeof(conn.in));

			if (got <= 0)
				return false;
			conn.have = got;
			conn.at = 0;
			continue;
		}
		if (some > n)
			some = n;
		if (to) {
			memcpy(to, conn.in + conn.at, some);
			to += some;
		}
		conn.at += some;
		n -= some;
	}
	return true;
}

static bool line(char *to, size_t room)
{
	for (size_t n = 0; n + 1 < room;) {
		if (!take(to + n, 1))
			return false;
		if (to[n++] == '\n') {
			to[n] = 0;
			return true;
		}
	}
	return false;
}

static bool respond(const char *method)
{
	char text[4096];
	size_t length = 0;
	bool chunked = false, bare;

	if (!line(text, sizeof(text)))
		return false;
	bare = !strcmp(method, "HEAD") || !strncmp(text + 9, "204", 3) || !strncmp(text + 9, "304", 3);
	do {
		if (!line(text, sizeof(text)))
			return false;
		if (!strncasecmp(text, "Content-Length:", 15))
			length = strtoul(text + 15, NULL, 10);
		if (!strncasecmp(text, "Transfer-Encoding:", 18))
			chunked = true;
	} while (strcmp(text, "\r\n"));
	if (bare)
		return true;
	if (!chunked)
		return take(NULL, length);
	do {
		if (!line(text, sizeof(text)))
			return false;
		length = strtoul(text, NULL, 16);
		if (!take(NULL, length + 2))
			return false;
	} while (length);
	return true;
}

static void dial(const char *url)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1;

	at.sin_port = htons(atoi(strrchr(url, ':') + 1));
	conn.fd = socket(AF_INET, SOCK_STREAM, 0);
	conn.have = conn.at = 0;
	setsockopt(conn.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(conn.fd, (struct sockaddr *)&at, sizeof(at))) {
		perror("connect");
		exit(1);
	}
}

struct sending {
	char head[8192];
	char *body;
	size_t body_size;
};

static void *put(void *arg)
{
	struct sending *s = arg;

	call_send(conn.fd, s->head, strlen(s->head), s->body, s->body_size);
	return NULL;
}

// chunk frames the body of s.
static void chunk(struct sending *s)
{
	char *out = malloc(2 * s->body_size + 64), *p = out;

	for (size_t at = 0; at < s->body_size; at += 1000) {
		size_t some = s->body_size - at < 1000 ? s->body_size - at : 1000;

		p += sprintf(p, "%zx\r\n", some);
		p = mempcpy(p, s->body + at, some);
		p = mempcpy(p, "\r\n", 2);
	}
	p = mempcpy(p, "0\r\n\r\n", 5);
	free(s->body);
	s->body = out;
	s->body_size = p - out;
}

static bool call(const char *method, const char *path, size_t size, const char *flag)
{
	struct sending s = {.body_size = strcmp(method, "POST") ? 0 : size};
	char *p = s.head;
	pthread_t t;
	bool ok;

	s.body = malloc(s.body_size + 1);
	for (size_t i = 0; i < s.body_size; i++)
		s.body[i] = TRAP[i % (sizeof(TRAP) - 1)];
	p += sprintf(p, "%s %s HTTP/1.1\r\nHost: accuracy\r\n", method, path);
	if (!strcmp(flag, "close"))
		p += sprintf(p, "Connection: close\r\n");
	if (!strcmp(flag, "bighead"))
		p += sprintf(p, "Cookie: session=%03072d\r\n", 0);
	if (!strcmp(flag, "chunked")) {
		p += sprintf(p, "Transfer-Encoding: chunked\r\n");
		chunk(&s);
	} else if (!strcmp(method, "POST")) {
		p += sprintf(p, "Content-Length: %zu\r\n", s.body_size);
	}
	sprintf(p, "\r\n");
	// Both directions at once: the server answers while it is still being sent to.
	if (pthread_create(&t, NULL, put, &s))
		exit(1);
	ok = respond(method);
	pthread_join(t, NULL);
	free(s.body);
	return ok;
}

int main(int argc, char **argv)
{
	char text[2048], method[16], path[1024], flag[32];
	size_t size;

	signal(SIGPIPE, SIG_IGN);
	if (argc < 2 || (argc > 2 && call_use(argv[2])))
		return 2;
	while (fgets(text, sizeof(text), stdin)) {
		flag[0] = 0;
		if (sscanf(text, "%15s %1023s %zu %31s", method, path, &size, flag) < 3)
			return 2;
		if (conn.fd < 0)
			dial(argv[1]);
		if (!call(method, path, size, flag) && strcmp(flag, "unanswered")) {
			fprintf(stderr, "no response to %s", text);
			return 1;
		}
		if (!strcmp(flag, "close") || !strcmp(flag, "unanswered")) {
			close(conn.fd);
			conn.fd = -1;
		}
	}
	return 0;
}
