// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
)

// reference is the server that clients under test talk to. It knows each byte that it was sent and that it sent.
type reference struct {
	plain, secure string // addresses

	mu          sync.Mutex
	facts       []fact
	connections []fact // with TLS
}

// newReference listens on free ports of loopback and serves until the process ends.
func newReference(cert tls.Certificate) (*reference, error) {
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	secure := tls.NewListener(tcp, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	s := &reference{plain: plain.Addr().String(), secure: secure.Addr().String()}
	for _, l := range []net.Listener{plain, secure} {
		go s.accept(l)
	}
	return s, nil
}

func (s *reference) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go s.converse(c)
	}
}

// take returns what happened since it was called last.
func (s *reference) take() []fact {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.facts
	s.facts = nil
	return all
}

// takeConnections returns the connections with TLS that were made since it was called last.
func (s *reference) takeConnections() []fact {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.connections
	s.connections = nil
	return all
}

// connectionFact is what is to be reported of a TLS connection whose plaintext cannot be seen, by the port of its client.
func connectionFact(port int, state tls.ConnectionState) fact {
	return encryptedFact(port, state.ServerName, uint32(state.Version))
}

func encryptedFact(port int, serverName string, version uint32) fact {
	return fact{Path: fmt.Sprintf("port %d", port), Method: "TLS " + serverName, Status: version, Outcome: eventv1.Outcome_OUTCOME_COMPLETE}
}

func (s *reference) note(m *message, status, size int, how eventv1.Outcome) {
	f := strings.Fields(m.first)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.facts = append(s.facts, fact{f[1], f[0], uint32(status), uint64(m.size), uint64(size), how, 0, 0, false}) //nolint:gosec // Sizes.
}

func (s *reference) converse(c net.Conn) {
	defer c.Close()
	if t, ok := c.(*tls.Conn); ok {
		if err := t.Handshake(); err != nil {
			return
		}
		s.mu.Lock()
		s.connections = append(s.connections, connectionFact(c.RemoteAddr().(*net.TCPAddr).Port, t.ConnectionState())) //nolint:forcetypeassert // It listens on TCP.
		s.mu.Unlock()
	}
	r := bufio.NewReader(c)
	for {
		m, err := readRequest(r, func() error {
			_, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
			return err
		})
		if err != nil {
			return
		}
		if err := s.answer(c, r, m); err != nil {
			return
		}
	}
}

var errLast = errors.New("the connection ends with this response")

// answer answers by path: /what/arguments…/id.
func (s *reference) answer(c net.Conn, r *bufio.Reader, m *message) error {
	f := strings.Fields(m.first)
	if len(f) != 3 {
		return errLast
	}
	path := append(strings.Split(f[1], "/"), "", "", "")
	size, _ := strconv.Atoi(path[2]) // where the path has none, it is not asked for
	switch path[1] {
	case "bytes":
		return s.respond(c, m, 200, filler(size))
	case "echo":
		return s.respond(c, m, 200, m.body)
	case "status":
		return s.respond(c, m, size, nil)
	case "stream", "chunked", "trailers":
		return s.chunked(c, m, filler(size), path[1] == "trailers")
	case "part":
		part := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n%s", path[3], filler(size))
		s.note(m, 200, len(part), eventv1.Outcome_OUTCOME_RESET)
		_, err := io.WriteString(c, part)
		if err == nil {
			_, err = r.ReadByte() // until the client is gone
		}
		return errors.Join(err, errLast)
	case "upgrade":
		const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
		s.note(m, 101, len(switching), eventv1.Outcome_OUTCOME_COMPLETE)
		_, err := io.WriteString(c, switching)
		if err == nil {
			_, err = io.Copy(c, r)
		}
		return errors.Join(err, errLast)
	default: // drop
		s.note(m, 0, 0, eventv1.Outcome_OUTCOME_NO_RESPONSE)
		return errLast
	}
}

func (s *reference) respond(c net.Conn, m *message, status int, body []byte) error {
	var length, end string
	if status != 204 && status != 304 {
		length = fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	if strings.HasPrefix(m.first, "HEAD ") {
		body = nil
	}
	if m.closes() {
		end = "Connection: close\r\n"
	}
	head := fmt.Sprintf("HTTP/1.1 %d Reference\r\n%s%s\r\n", status, length, end)
	s.note(m, status, len(head)+len(body), eventv1.Outcome_OUTCOME_COMPLETE)
	_, err := c.Write(append([]byte(head), body...))
	if m.closes() {
		err = errors.Join(err, errLast)
	}
	return err
}

func (s *reference) chunked(c net.Conn, m *message, body []byte, trailer bool) error {
	head := "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
	if m.minor() == 1 {
		r := request{chunks: 5, body: body}
		head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		if trailer {
			r.trailer = "X-Sum: 1"
		}
		body = r.payload()
	}
	s.note(m, 200, len(head)+len(body), eventv1.Outcome_OUTCOME_COMPLETE)
	for _, piece := range [][]byte{[]byte(head), body[:len(body)/2], body[len(body)/2:]} {
		if _, err := c.Write(piece); err != nil {
			return err
		}
	}
	if m.closes() || m.minor() == 0 {
		return errLast
	}
	return nil
}
