// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
)

// fact is what happened between a client and a server, in the terms in which the probe reports it.
type fact struct {
	Path, Method      string
	Status            uint32
	Request, Response uint64 // bytes
	Outcome           eventv1.Outcome
	Abort             eventv1.Abort // of a reset
	Library           eventv1.TlsLibrary
	FastCGI           bool
}

// shape is a way in which messages follow each other on a connection.
type shape struct {
	key, title string
	share      int // one n-th of the exchanges asked for
	perConn    int // exchanges on one connection
	workers    int // connections at a time
	// talk has one exchange for each id. What it does is noted by the talker.
	talk func(t *talker, ids []string) error
	// encrypted says that its connections are reported, because their plaintext cannot be seen.
	encrypted bool
}

// shapes are all of them, in the order of the table.
func shapes() []shape {
	return []shape{
		{key: "keepalive", title: "keep-alive", share: 1, perConn: 100, workers: 4, talk: each(func(id string) *request { return get("/bytes/700/" + id) })},
		{key: "close", title: "closed after each", share: 1, perConn: 1, workers: 4, talk: each(func(id string) *request { return get("/bytes/700/"+id, "Connection: close") })},
		{key: "http10", title: "HTTP/1.0, body until close", share: 1, perConn: 1, workers: 4, talk: each(http10)},
		{key: "pipelined", title: "pipelined, 16 deep", share: 1, perConn: 16, workers: 4, talk: pipelined},
		{key: "chunked", title: "chunked both ways", share: 1, perConn: 50, workers: 4, talk: each(func(id string) *request { return post("/chunked/5000/"+id, 3000, 7, "") })},
		{key: "trailers", title: "trailers both ways", share: 1, perConn: 50, workers: 4, talk: each(func(id string) *request { return post("/trailers/900/"+id, 500, 2, "X-Sum: 1") })},
		{key: "continue", title: "100 Continue", share: 1, perConn: 50, workers: 4, talk: continued},
		{key: "early", title: "103 Early Hints", share: 1, perConn: 50, workers: 4, talk: each(func(id string) *request { return get("/early/700/" + id) })},
		{key: "nobody", title: "HEAD, 204, 304", share: 1, perConn: 99, workers: 4, talk: each(nobody)},
		{key: "upgrade", title: "upgrade, then foreign bytes", share: 1, perConn: 1, workers: 8, talk: upgraded},
		{key: "large", title: "10 MB both ways", share: 50, perConn: 2, workers: 2, talk: each(func(id string) *request { return post("/echo/"+id, 10_000_000, 0, "") })},
		{key: "split", title: "head in single bytes", share: 1, perConn: 20, workers: 4, talk: split},
		{key: "bighead", title: "head of 3 KiB", share: 1, perConn: 50, workers: 4, talk: each(func(id string) *request {
			return get("/bytes/700/"+id, "Cookie: session="+strings.Repeat("c", 3072))
		})},
		{key: "unanswered", title: "never answered", share: 1, perConn: 1, workers: 16, talk: unanswered},
		{key: "reset", title: "reset in mid-response", share: 1, perConn: 1, workers: 16, talk: reset},
		{key: "foreign", title: "not HTTP at all", share: 1, perConn: 1, workers: 16, talk: foreign},
	}
}

func get(path string, header ...string) *request {
	return &request{method: "GET", path: path, minor: 1, header: header}
}

func post(path string, size, chunks int, trailer string) *request {
	return &request{method: "POST", path: path, minor: 1, body: filler(size), chunks: chunks, trailer: trailer}
}

func http10(id string) *request {
	r := get("/stream/700/" + id)
	r.minor = 0
	return r
}

func nobody(id string) *request {
	switch id[len(id)-1] % 3 {
	case 0:
		return &request{method: "HEAD", path: "/bytes/700/" + id, minor: 1}
	case 1:
		return get("/status/204/" + id)
	}
	return get("/status/304/" + id)
}

// talker is the client's end of a connection. It notes each exchange that it had.
type talker struct {
	net.Conn // where plain bytes go
	tcp      *net.TCPConn
	r        *bufio.Reader
	facts    []fact
}

// note adds an exchange to those that happened.
func (t *talker) note(r *request, status, request, response int, how eventv1.Outcome) {
	t.facts = append(t.facts, fact{r.path, r.method, uint32(status), uint64(request), uint64(response), how, 0, 0, false}) //nolint:gosec // Sizes.
}

// answer reads the response to a request of which `sent` bytes were sent. Interim responses are no part of it.
func (t *talker) answer(r *request, sent int) (*message, error) {
	for {
		m, err := readResponse(t.r, r.method)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", r.method, r.path, err)
		}
		if s := m.status(); s >= 200 || s == 101 {
			t.note(r, s, sent, m.size, eventv1.Outcome_OUTCOME_COMPLETE)
			return m, nil
		}
	}
}

// each sends one request after the other, each when the one before is answered.
func each(request func(id string) *request) func(*talker, []string) error {
	return func(t *talker, ids []string) error {
		for _, id := range ids {
			r := request(id)
			head, payload := r.head(), r.payload()
			sending := beside(func() error {
				_, err := t.Write(append(head, payload...))
				return err
			})
			m, err := t.answer(r, len(head)+len(payload))
			if err := errors.Join(<-sending, err); err != nil {
				return err
			}
			if m.closes() {
				return t.drain()
			}
		}
		return nil
	}
}

// beside runs a function beside its caller.
func beside(fn func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	return done
}

// drain reads what the other side still sends, up to its end. Whatever it is, nobody expects it.
func (t *talker) drain() error {
	_ = t.SetReadDeadline(time.Now().Add(2 * time.Second))
	_, err := io.Copy(io.Discard, t.r)
	if errors.Is(err, io.EOF) || isReset(err) {
		return nil
	}
	return err
}

func pipelined(t *talker, ids []string) error {
	var all []byte
	var sent []int
	var rs []*request
	for i, id := range ids {
		r := get("/bytes/700/" + id)
		switch i % 4 {
		case 1:
			r.method = "HEAD"
		case 3:
			r = post("/echo/"+id, 300, 0, "")
		}
		before := len(all)
		all = append(append(all, r.head()...), r.payload()...)
		rs, sent = append(rs, r), append(sent, len(all)-before)
	}
	if _, err := t.Write(all); err != nil {
		return err
	}
	for i, r := range rs {
		if _, err := t.answer(r, sent[i]); err != nil {
			return err
		}
	}
	return nil
}

// continued sends each body only when the server has asked for it.
func continued(t *talker, ids []string) error {
	for _, id := range ids {
		r := post("/echo/"+id, 2000, 0, "")
		r.header = []string{"Expect: 100-continue"}
		head := r.head()
		if _, err := t.Write(head); err != nil {
			return err
		}
		m, err := readResponse(t.r, r.method)
		if err != nil {
			return err
		}
		if m.status() != 100 {
			return fmt.Errorf("%q in place of 100 Continue", m.first)
		}
		if _, err := t.Write(r.body); err != nil {
			return err
		}
		if _, err := t.answer(r, len(head)+len(r.body)); err != nil {
			return err
		}
	}
	return nil
}

// upgraded leaves HTTP, and then sends what looks like it.
func upgraded(t *talker, ids []string) error {
	r := get("/upgrade/"+ids[0], "Connection: Upgrade", "Upgrade: websocket")
	head := r.head()
	if _, err := t.Write(head); err != nil {
		return err
	}
	m, err := t.answer(r, len(head))
	if err != nil {
		return err
	}
	if m.status() != 101 {
		return fmt.Errorf("%q in place of 101", m.first)
	}
	if _, err := t.Write([]byte("\x82\x05hello" + trap)); err != nil {
		return err
	}
	return t.leave()
}

// leave ends this side's half of the connection and waits for the other one's.
func (t *talker) leave() error {
	if c, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	_ = t.tcp.CloseWrite()
	return t.drain()
}

// split sends every byte of a head by a call of its own.
func split(t *talker, ids []string) error {
	for _, id := range ids {
		r := get("/bytes/700/" + id)
		head := r.head()
		for i := range head {
			if _, err := t.Write(head[i : i+1]); err != nil {
				return err
			}
		}
		if _, err := t.answer(r, len(head)); err != nil {
			return err
		}
	}
	return nil
}

// unanswered asks for the connection to be closed in place of a response.
func unanswered(t *talker, ids []string) error {
	r := get("/drop/" + ids[0])
	head := r.head()
	if _, err := t.Write(head); err != nil {
		return err
	}
	if m, err := readHead(t.r); err == nil {
		return fmt.Errorf("%s: %q in place of nothing", r.path, m.first)
	}
	t.note(r, 0, len(head), 0, eventv1.Outcome_OUTCOME_NO_RESPONSE)
	return nil
}

// partial is how much the server sends of a body of 1,000 bytes before it waits for the client to go away.
const partial = 100

// reset aborts the connection in the middle of a response, when all has arrived that the server sent.
func reset(t *talker, ids []string) error {
	r := get(fmt.Sprintf("/part/%d/1000/%s", partial, ids[0]))
	head := r.head()
	if _, err := t.Write(head); err != nil {
		return err
	}
	m, err := readHead(t.r)
	if err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, t.r, partial); err != nil {
		return err
	}
	t.note(r, m.status(), len(head), m.head+partial, eventv1.Outcome_OUTCOME_RESET)
	return t.tcp.SetLinger(0) // closing resets
}

// foreign speaks anything but HTTP/1.x.
func foreign(t *talker, ids []string) error {
	words := []string{
		"SSH-2.0-OpenSSH_9.2\r\n",
		"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n",
		"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + strings.Repeat("\x5a", 150),
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"GET /zero-nine\r\n\r\n",
		"GETTING /nowhere\r\n\r\n",
		"POSTSCRIPT\x00\x01\x02\x03" + strings.Repeat("\xff", 600),
		"get key\r\n",
		"\r\n\r\n\x00\x00\r\n",
	}
	id := ids[0]
	if _, err := t.Write([]byte(words[int(id[len(id)-1])%len(words)])); err != nil {
		return err
	}
	return t.leave()
}
