// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// request is a request as the driver puts it on the wire.
type request struct {
	method, path string
	minor        int // of HTTP/1.x
	header       []string
	body         []byte
	chunks       int    // the body in so many chunks; 0: with its length
	trailer      string // behind the last chunk
}

// head returns the request up to its blank line.
func (r *request) head() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.%d\r\nHost: accuracy\r\n", r.method, r.path, r.minor)
	for _, h := range r.header {
		b.WriteString(h + "\r\n")
	}
	switch {
	case r.chunks > 0:
		b.WriteString("Transfer-Encoding: chunked\r\n")
		if r.trailer != "" {
			b.WriteString("Trailer: " + strings.SplitN(r.trailer, ":", 2)[0] + "\r\n")
		}
	case r.body != nil:
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.body))
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// payload returns what follows the head.
func (r *request) payload() []byte {
	if r.chunks == 0 {
		return r.body
	}
	var b bytes.Buffer
	for i := range r.chunks {
		from, to := i*len(r.body)/r.chunks, (i+1)*len(r.body)/r.chunks
		fmt.Fprintf(&b, "%x\r\n%s\r\n", to-from, r.body[from:to])
	}
	b.WriteString("0\r\n")
	if r.trailer != "" {
		b.WriteString(r.trailer + "\r\n")
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// message is what a reader found on the wire.
type message struct {
	first  string // line
	header map[string]string
	head   int // bytes
	size   int // bytes of head and body
	body   []byte
}

// status returns the status code of a response.
func (m *message) status() int {
	f := strings.Fields(m.first)
	if len(f) < 2 {
		return 0
	}
	n, err := strconv.Atoi(f[1])
	if err != nil {
		return 0
	}
	return n
}

// minor returns the minor version of HTTP/1.x that a first line names.
func (m *message) minor() int {
	if strings.Contains(m.first, "HTTP/1.0") {
		return 0
	}
	return 1
}

func (m *message) chunked() bool {
	return strings.EqualFold(m.header["transfer-encoding"], "chunked")
}

func (m *message) closes() bool {
	return strings.EqualFold(m.header["connection"], "close") || m.minor() == 0
}

// readHead reads lines up to the blank one.
func readHead(r *bufio.Reader) (*message, error) {
	m := &message{header: map[string]string{}}
	for {
		line, err := r.ReadString('\n')
		m.size += len(line)
		if err != nil {
			if m.size > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		line = strings.TrimRight(line, "\r\n")
		name, value, ok := strings.Cut(line, ":")
		switch {
		case line == "":
			m.head = m.size
			return m, nil
		case m.first == "":
			m.first = line
		case ok:
			m.header[strings.ToLower(name)] = strings.TrimSpace(value)
		}
	}
}

// errUntilClose tells that a body has no end but that of the connection.
var errUntilClose = errors.New("the body ends with the connection")

// readBody reads the body that the head announces, and adds it to what the message took.
func (m *message) readBody(r *bufio.Reader) error {
	if m.chunked() {
		return m.readChunks(r)
	}
	length, ok := m.header["content-length"]
	if !ok {
		return errUntilClose
	}
	n, err := strconv.Atoi(length)
	if err != nil {
		return err
	}
	m.body = make([]byte, n)
	got, err := io.ReadFull(r, m.body)
	m.size += got
	return err
}

func (m *message) readChunks(r *bufio.Reader) error {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		m.size += len(line)
		n, err := strconv.ParseInt(strings.TrimSpace(line), 16, 32)
		if err != nil {
			return fmt.Errorf("chunk size %q: %w", line, err)
		}
		if n == 0 {
			break
		}
		chunk := make([]byte, n+2)
		if _, err := io.ReadFull(r, chunk); err != nil {
			return err
		}
		m.size += len(chunk)
		m.body = append(m.body, chunk[:n]...)
	}
	for { // trailers
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		m.size += len(line)
		if strings.TrimRight(line, "\r\n") == "" {
			return nil
		}
	}
}

// readRequest reads one request. Without a length it has no body.
func readRequest(r *bufio.Reader, expect func() error) (*message, error) {
	m, err := readHead(r)
	if err != nil {
		return nil, err
	}
	if m.header["expect"] != "" {
		if err := expect(); err != nil {
			return nil, err
		}
	}
	if err := m.readBody(r); err != nil && !errors.Is(err, errUntilClose) {
		return nil, err
	}
	return m, nil
}

// readResponse reads the response to a request of the given method, without its body where there is none.
func readResponse(r *bufio.Reader, method string) (*message, error) {
	m, err := readHead(r)
	if err != nil {
		return nil, err
	}
	if s := m.status(); method == "HEAD" || s < 200 || s == 204 || s == 304 {
		return m, nil
	}
	if err := m.readBody(r); !errors.Is(err, errUntilClose) {
		return m, err
	}
	m.body, err = io.ReadAll(r)
	m.size += len(m.body)
	return m, err
}

// trap fills bodies: whoever loses the framing of a message takes it for messages.
const trap = "HTTP/1.1 500 Trap\r\n\r\nGET /trap HTTP/1.1\r\n\r\n"

// filler returns n bytes of body.
func filler(n int) []byte {
	return bytes.Repeat([]byte(trap), n/len(trap)+1)[:n]
}
