// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unixPipe returns both ends of a connection over a unix socket, and the path that its exchanges tell.
func unixPipe(t *testing.T, name string) (client, server net.Conn, path string) {
	t.Helper()
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("unix", name); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client, server, name[max(0, len(name)-32):]
}

// socketPath returns a path that no other test has within its last 32 bytes.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "busbar-unix-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// at returns the exchanges of one role over a unix socket, in the order they ended.
func (r *recorder) at(role Role, path string) []seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []seen
	for _, e := range r.exchanges {
		if e.Role == role && e.Unix() && string(e.AppendPath(nil)) == path {
			found = append(found, e)
		}
	}
	return found
}

func (r *recorder) waitAt(t *testing.T, role Role, path string, n int) []seen {
	t.Helper()
	var found []seen
	until(t, func() bool {
		found = r.at(role, path)
		return len(found) >= n
	}, func() { t.Fatalf("%d exchanges of role %d at %s, want %d: %+v", len(found), role, path, n, found) })
	return found
}

// sameUnix checks that the server half knows its parent, and that there is no wire key.
func sameUnix(t *testing.T, client, server []seen) {
	t.Helper()
	for i := range min(len(client), len(server)) {
		a, b := client[i], server[i]
		if a.TraceID != b.TraceID || b.ParentSpanID != a.SpanID || b.Context != ContextHalf || a.SpanID == b.SpanID || (a.Flags|b.Flags)&Keyed != 0 {
			t.Errorf("server half %x %x<-%x (%d), client half %x %x", b.TraceID, b.SpanID, b.ParentSpanID, b.Context, a.TraceID, a.SpanID)
		}
		if a.TGID != uint32(os.Getpid()) || a.TGID != b.TGID || a.Cgroup != b.Cgroup || a.Cgroup == 0 || a.LocalPort|a.RemotePort != 0 {
			t.Errorf("%+v, %+v", a.Exchange, b.Exchange)
		}
	}
}

// unkeyed is what is told of an exchange over a unix socket: there are no resets.
func unkeyed(want []told) []told {
	var out []told
	for _, w := range want {
		w.Flags &^= Keyed | Reset
		out = append(out, w)
	}
	return out
}

// TestUnixExchanges holds all conversations over unix sockets.
func TestUnixExchanges(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		k, r := start(t, Options{Tier: tier})
		for name, v := range conversations() {
			t.Run(name, func(t *testing.T) {
				client, server, path := unixPipe(t, socketPath(t))
				v.hold(t, client, server)
				a, b := r.waitAt(t, Client, path, len(v.want)), r.waitAt(t, Server, path, len(v.want))
				checkHalves(t, Client, a, unkeyed(v.want))
				checkHalves(t, Server, b, unkeyed(v.want))
				sameUnix(t, a, b)
			})
		}
		for name, v := range fcgiConversations() {
			t.Run("FastCGI, "+name, func(t *testing.T) {
				client, server, path := unixPipe(t, socketPath(t))
				conversation{talk: v.talk, end: v.end}.hold(t, client, server)
				a, b := r.waitAt(t, Client, path, len(v.want)), r.waitAt(t, Server, path, len(v.want))
				checkFastCGI(t, Client, a, v.want)
				checkFastCGI(t, Server, b, v.want)
				sameUnix(t, a, b)
			})
		}
		if drops := k.Drops(); drops["ring_full"]+drops["connection_state"]+drops["call_state"]+drops[missedRuns] != 0 {
			t.Errorf("drops: %v", drops)
		}
	})
}

// TestUnixPaths checks what is told of names of all kinds.
func TestUnixPaths(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		_, r := start(t, Options{Tier: tier})
		long := filepath.Join(filepath.Dir(socketPath(t)), strings.Repeat("l", 40))
		for _, name := range []string{socketPath(t), long, fmt.Sprintf("@busbar-%s-%d", tier, os.Getpid())} {
			client, server, path := unixPipe(t, name)
			conversation{talk: []said{c(get), s(hello)}}.hold(t, client, server)
			a, b := r.waitAt(t, Client, path, 1), r.waitAt(t, Server, path, 1)
			checkHalves(t, Client, a, unkeyed([]told{sent(get, 200, hello, 0)}))
			sameUnix(t, a, b)
		}
	})
}
