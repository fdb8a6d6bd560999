// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strconv"
)

// sends are the pairs of system calls that the C programs send and receive by.
func sends() []struct{ key, title string } {
	return []struct{ key, title string }{
		{"write", "write, read"},
		{"writev", "writev, readv"},
		{"send", "send, recv"},
		{"sendto", "sendto, recvfrom"},
		{"sendmsg", "sendmsg, recvmsg"},
		{"sendmmsg", "sendmmsg, recvmmsg"},
		{"sendfile", "sendfile (body), read"},
		{"splice", "splice (body), read"},
		{"zerocopy", "send with MSG_ZEROCOPY, recv"},
		{"io_uring", "io_uring"},
		{"peek", "write; recv with MSG_PEEK, then recv"},
	}
}

// blind says why a tier cannot see a call.
func blind(tier, call string) string {
	if tier == "syscall" && call == "io_uring" {
		return "no system call is made for it"
	}
	return ""
}

// runCalls fills the cells of the C programs, one row for each pair of calls.
func (m *matrix) runCalls(ctx context.Context) error {
	for _, s := range sends() {
		if !chosen(m.choice.calls, s.key) || ctx.Err() != nil {
			continue
		}
		if err := m.runCall(ctx, s.key, s.title); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (m *matrix) runCall(ctx context.Context, key, title string) error {
	place := func(c *cell, column string) {
		c.table, c.row, c.column = "calls", title, column
		m.add(c)
	}
	columns := []string{"server: GET", "server: POST of 100 kB", "client: GET", "client: POST of 100 kB"}
	if none := blind(m.tier, key); none != "" {
		for _, column := range columns {
			place(&cell{none: none}, column)
		}
		return nil
	}
	ports, err := free(1)
	if err != nil {
		return err
	}
	child, err := launch(ctx, m.w.path("server-c-"+key+".log"), m.w.path("server-c"), strconv.Itoa(ports[0]), key)
	if err != nil {
		return err
	}
	defer child.stop()
	if err := child.listening(ctx, ports[0]); err != nil {
		return err
	}
	s := &running{server: server{key: "c"}, port: ports[0], child: child}
	small := shape{perConn: 50, workers: 2, share: 1, talk: each(func(id string) *request { return get("/bytes/700/" + id) })}
	large := shape{perConn: 50, workers: 2, share: 5, talk: each(func(id string) *request { return post("/echo/"+id, 100_000, 0, "") })}
	place(m.serverCell(s, small, false), columns[0])
	place(m.serverCell(s, large, false), columns[1])
	program := client{argv: reading("DIR/client-c"), argument: key, stdin: true}
	place(m.clientCell(ctx, program, errand{share: 1, make: func(id string) call { return call{"GET", "/bytes/700/" + id, 0, ""} }}, false), columns[2])
	place(m.clientCell(ctx, program, errand{share: 5, make: func(id string) call { return call{"POST", "/echo/" + id, 100_000, ""} }}, false), columns[3])
	return nil
}
