// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
)

// cell is one place of the matrix: what happened there, to be compared with what was reported of it.
type cell struct {
	table, row, column string
	none               string // why there is nothing to measure
	owner              int    // process whose reports are judged, or whose children's
	role               eventv1.Role
	facts              []fact
	silent             int  // exchanges of which nothing may be reported
	resized            bool // what passed here has other sizes than what is known of it
	from, to           time.Time
	failure            string // of the conversation itself
}

// matrix runs the cells under one probe.
type matrix struct {
	w       *workshop
	tier    string
	choice  *choice
	servers []*running
	cells   []*cell
	serial  int
}

// choice is what is asked for. A list without words means all.
type choice struct {
	n, few                          int // exchanges of a cell of keep-alive, and of another shape; 0: as many
	quiet                           time.Duration
	servers, shapes, clients, calls words
	plain, secure                   bool
	progress                        io.Writer
}

// exchanges returns how many a cell of a shape has.
func (c *choice) exchanges(shape string, share int) int {
	if c.few > 0 && shape != "keepalive" {
		return max(c.few/share, 2)
	}
	return max(c.n/share, 1)
}

func chosen(list []string, key string) bool { return len(list) == 0 || slices.Contains(list, key) }

// ids returns n names that no other exchange of this run has.
func (m *matrix) ids(n int) []string {
	m.serial++
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("c%d-%d", m.serial, i)
	}
	return out
}

// startServers starts the servers that are asked for and waits until they listen.
func (m *matrix) startServers(ctx context.Context) error {
	for _, s := range servers() {
		if !chosen(m.choice.servers, s.key) {
			continue
		}
		ports, err := free(3)
		if err != nil {
			return err
		}
		r := &running{server: s, port: ports[0], securePort: ports[1], extraPort: ports[2]}
		if s.behind != "" {
			if !chosen(m.choice.servers, s.behind) {
				continue
			}
			r.port = m.server(s.behind).extraPort
		}
		if r.child, err = s.start(ctx, m.w, r); err != nil {
			return err
		}
		m.servers = append(m.servers, r)
	}
	for _, s := range m.servers {
		ports := []int{s.port}
		if m.choice.secure && (s.secure != "" || s.encrypted) {
			ports = append(ports, s.securePort)
		}
		for _, port := range ports {
			if err := s.child.listening(ctx, port); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *matrix) stopServers() {
	for _, s := range m.servers {
		s.child.stop()
	}
}

// run fills every cell.
func (m *matrix) run(ctx context.Context) error {
	for _, secure := range []bool{false, true} {
		if secure && !m.choice.secure || !secure && !m.choice.plain {
			continue
		}
		for _, sh := range shapes() {
			if chosen(m.choice.shapes, sh.key) {
				m.runShape(ctx, sh, secure)
			}
		}
		if secure {
			m.runEncrypted(ctx)
		}
		for _, e := range errands() {
			for _, cl := range clients() {
				if chosen(m.choice.clients, cl.key) && chosen(m.choice.shapes, e.key) && (!secure || cl.secure != "") {
					m.add(m.clientCell(ctx, cl, e, secure))
				}
			}
		}
	}
	if !m.choice.plain {
		return ctx.Err()
	}
	return m.runCalls(ctx)
}

// runShape fills the cells of a shape: one for each server, and one for this program, which is the client of them all.
func (m *matrix) runShape(ctx context.Context, sh shape, secure bool) {
	own := &cell{column: "all, client side", owner: os.Getpid(), role: eventv1.Role_ROLE_CLIENT, from: time.Now()}
	for _, s := range m.servers {
		if ctx.Err() != nil || secure && s.secure == "" {
			continue
		}
		m.w.reference.take()
		c := m.serverCell(s, sh, secure)
		m.add(c)
		m.addUpstream(s, c)
		own.table, own.row, own.silent = c.table, c.row, own.silent+c.silent
		for _, f := range c.facts {
			if f.Outcome == eventv1.Outcome_OUTCOME_RESET {
				f.Abort = eventv1.Abort_ABORT_LOCAL
			}
			if secure {
				f.Library = eventv1.TlsLibrary_TLS_LIBRARY_GO
			}
			f.FastCGI = false // nginx speaks that, to what is behind it
			own.facts = append(own.facts, f)
		}
	}
	own.to = time.Now()
	if len(own.facts)+own.silent > 0 {
		m.add(own)
	}
}

// addUpstream adds the cell of nginx as the client of the server behind it.
func (m *matrix) addUpstream(s *running, c *cell) {
	up := &cell{table: c.table, row: c.row, role: eventv1.Role_ROLE_CLIENT, from: c.from, to: c.to}
	switch {
	case s.key == "nginx" && c.silent == 0:
		up.column, up.owner, up.facts = "nginx, to a server", c.owner, m.w.reference.take()
		for i := range up.facts {
			if up.facts[i].Outcome == eventv1.Outcome_OUTCOME_RESET { // its own client did; it closes the connection to the server
				up.facts[i].Outcome = eventv1.Outcome_OUTCOME_CLOSED
			}
		}
	case s.behind == "nginx":
		up.column, up.owner, up.facts, up.resized = "nginx, to PHP-FPM", m.server(s.behind).child.cmd.Process.Pid, c.facts, true
	}
	if len(up.facts) > 0 {
		m.add(up)
	}
}

// server returns a running server by its key.
func (m *matrix) server(key string) *running {
	return m.servers[slices.IndexFunc(m.servers, func(s *running) bool { return s.key == key })]
}

// runEncrypted fills the cells of connections whose plaintext cannot be seen.
func (m *matrix) runEncrypted(ctx context.Context) {
	const table = "encrypted"
	for _, sh := range shapes()[:2] { // kept alive, and closed
		sh.encrypted = true
		for _, s := range m.servers {
			if s.encrypted && chosen(m.choice.shapes, sh.key) {
				c := m.serverCell(s, sh, true)
				c.table, c.resized = table, true
				m.add(c)
			}
		}
	}
	for _, e := range errands()[:2] {
		for _, cl := range clients() {
			if cl.encrypted && chosen(m.choice.clients, cl.key) && chosen(m.choice.shapes, e.key) {
				m.w.reference.takeConnections()
				c := m.clientCell(ctx, cl, e, true)
				c.table, c.row, c.resized, c.facts = table, shapeTitle(e.key), true, m.w.reference.takeConnections()
				m.add(c)
			}
		}
	}
}

// shapeTitle returns the title of a shape.
func shapeTitle(key string) string {
	all := shapes()
	return all[slices.IndexFunc(all, func(s shape) bool { return s.key == key })].title
}

// add takes in a cell and tells how long it took.
func (m *matrix) add(c *cell) {
	m.cells = append(m.cells, c)
	if c.none == "" {
		fmt.Fprintf(m.choice.progress, "%6.1f s  %s: %s: %s %s\n", c.to.Sub(c.from).Seconds(), c.table, c.row, c.column, c.failure)
	}
}

// serverCell has the conversations of a shape with a server.
func (m *matrix) serverCell(s *running, sh shape, secure bool) *cell {
	c := &cell{table: "server", row: sh.title, column: s.title, owner: s.child.cmd.Process.Pid, role: eventv1.Role_ROLE_SERVER}
	port, prefix := s.port, ""
	if secure {
		c.table, port, prefix = "server, TLS", s.securePort, "tls/"
	}
	if c.none = s.cannot[prefix+sh.key]; c.none == "" {
		c.none = s.cannot[sh.key]
	}
	if c.none != "" {
		return c
	}
	share := sh.share
	if s.pauses && sh.key == "reset" {
		share = 10
	}
	n := m.choice.exchanges(sh.key, share)
	perConn := sh.perConn
	if s.closes {
		perConn = 1
	}
	c.from = time.Now()
	facts, failure := m.converse(sh, port, perConn, secure, m.ids(n))
	c.to = time.Now()
	c.facts = facts
	if sh.key == "foreign" {
		c.silent = n
	}
	if failure != nil {
		c.failure = failure.Error()
	}
	c.resized = s.behind != ""
	for i := range c.facts {
		c.facts[i].FastCGI = s.behind != ""
		if c.facts[i].Outcome == eventv1.Outcome_OUTCOME_RESET {
			c.facts[i].Abort = eventv1.Abort_ABORT_PEER
		}
		if secure {
			c.facts[i].Library = libraries[s.secure]
		}
	}
	return c
}

var libraries = map[string]eventv1.TlsLibrary{ //nolint:gochecknoglobals // A table.
	"OpenSSL": eventv1.TlsLibrary_TLS_LIBRARY_OPENSSL, "GnuTLS": eventv1.TlsLibrary_TLS_LIBRARY_GNUTLS, "crypto/tls": eventv1.TlsLibrary_TLS_LIBRARY_GO,
}

// converse spreads exchanges over connections, some at a time, and returns those that were had.
func (m *matrix) converse(sh shape, port, perConn int, secure bool, ids []string) ([]fact, error) {
	var (
		mu    sync.Mutex
		facts []fact
		errs  []error
		wg    sync.WaitGroup
	)
	work := make(chan []string)
	for range sh.workers {
		wg.Go(func() {
			for batch := range work {
				had, err := m.connection(sh, port, secure, batch)
				mu.Lock()
				facts = append(facts, had...)
				if err != nil {
					errs = append(errs, err)
				}
				mu.Unlock()
			}
		})
	}
	for batch := range slices.Chunk(ids, perConn) {
		work <- batch
	}
	close(work)
	wg.Wait()
	if len(errs) > 0 {
		return facts, fmt.Errorf("%d conversations failed, the first by: %w", len(errs), errs[0])
	}
	return facts, nil
}

// connection has some exchanges on a connection of its own.
func (m *matrix) connection(sh shape, port int, secure bool, ids []string) ([]fact, error) {
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	t := &talker{Conn: c, tcp: c.(*net.TCPConn)} //nolint:forcetypeassert // It was asked for.
	if secure {
		t.Conn = tls.Client(c, &tls.Config{RootCAs: m.w.pool, ServerName: "localhost", MinVersion: tls.VersionTLS12})
	}
	defer t.tcp.Close()
	t.r = bufio.NewReader(t.Conn)
	_ = c.SetDeadline(time.Now().Add(patience))
	err = sh.talk(t, ids)
	if s, ok := t.Conn.(*tls.Conn); ok && err == nil && sh.key != "reset" {
		_ = s.Close()
		if state := s.ConnectionState(); sh.encrypted {
			state.ServerName = "localhost"
			return []fact{connectionFact(c.LocalAddr().(*net.TCPAddr).Port, state)}, nil //nolint:forcetypeassert // It was asked for.
		}
	}
	return t.facts, err
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrDeadlineExceeded)
}

// clientCell lets a client make the requests of an errand.
func (m *matrix) clientCell(ctx context.Context, cl client, e errand, secure bool) *cell {
	c := &cell{table: "client", row: e.title, column: cl.title, role: eventv1.Role_ROLE_CLIENT}
	url := "http://" + m.w.reference.plain
	if secure {
		c.table, url = "client, TLS", "https://"+strings.Replace(m.w.reference.secure, "127.0.0.1", "localhost", 1)
	}
	if c.none = cl.cannot[e.key]; c.none != "" {
		return c
	}
	var plan []call
	share := e.share
	if secure && cl.slow && share == 1 {
		share = 10
	}
	for _, id := range m.ids(m.choice.exchanges(e.key, share)) {
		plan = append(plan, e.make(id))
	}
	m.w.reference.take()
	c.from = time.Now()
	if err := c.call(ctx, m.w, cl, url, secure, plan); err != nil {
		c.failure = err.Error()
	}
	c.to = time.Now()
	c.facts = m.w.reference.take()
	for i := range c.facts {
		if secure {
			c.facts[i].Library = libraries[cl.secure]
		}
	}
	if len(c.facts) < len(plan) && c.failure == "" {
		c.failure = fmt.Sprintf("the client made %d of %d requests", len(c.facts), len(plan))
	}
	return c
}

// call runs the client.
func (c *cell) call(ctx context.Context, w *workshop, cl client, url string, secure bool, plan []call) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	argv := cl.argv(w, url, secure, plan)
	if cl.argument != "" {
		argv = append(argv, cl.argument)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	if cl.stdin {
		var in strings.Builder
		for _, p := range plan {
			fmt.Fprintln(&in, p)
		}
		cmd.Stdin = strings.NewReader(in.String())
	}
	out, err := cmd.CombinedOutput()
	if cmd.Process != nil {
		c.owner = cmd.Process.Pid
	}
	if err != nil && plan[0].flag != "unanswered" {
		return fmt.Errorf("%s: %w: %s", argv[0], err, strings.ReplaceAll(string(out[:min(len(out), 300)]), "\n", " "))
	}
	return nil
}
