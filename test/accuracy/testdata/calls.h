// SPDX-License-Identifier: Apache-2.0
//
// The ways in which a program may send and receive on a socket.
#pragma once

#include <stddef.h>
#include <sys/types.h>

// call_use chooses the pair of calls by name; it returns -1 for a name that it does not know.
int call_use(const char *name);

// call_receive receives at most n bytes; 0 is the end, -1 an error.
ssize_t call_receive(int fd, char *data, size_t n);

// call_send sends all of a head and a body; -1 is an error.
int call_send(int fd, const char *head, size_t head_size, const char *body, size_t body_size);
