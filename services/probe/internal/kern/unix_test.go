// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
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
	dir, err := os.MkdirTemp("", "busbar-unix-") //nolint:usetesting // The path of t.TempDir may be too long for an address.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// eachUnixTier runs a test once per tier that sees unix sockets.
func eachUnixTier(t *testing.T, run func(t *testing.T, tier string)) {
	t.Helper()
	eachTier(t, func(t *testing.T, tier string) {
		if err := blindToUnix(tier); err != nil {
			t.Skip(err)
		}
		run(t, tier)
	})
}

// blindToUnix tells why a tier does not see unix sockets on this kernel.
func blindToUnix(tier string) error {
	if tier == TierKprobe {
		return (hook{name: "sock_recv_length"}).missing()
	}
	return nil
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
	eachUnixTier(t, func(t *testing.T, tier string) {
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
		if drops := k.Drops(); drops["ring_full"]+drops["connection_state"]+drops["call_state"] != 0 {
			t.Errorf("drops: %v", drops)
		}
	})
}

// TestUnixPaths checks what is told of names of all kinds.
func TestUnixPaths(t *testing.T) {
	eachUnixTier(t, func(t *testing.T, tier string) {
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

// TestUnixOther: a connection that speaks something else is never looked at again.
func TestUnixOther(t *testing.T) {
	eachUnixTier(t, func(t *testing.T, tier string) {
		_, r := start(t, Options{Tier: tier})
		client, server, path := unixPipe(t, socketPath(t))
		conversation{talk: []said{c("\x00AUTH EXTERNAL 30\r\n"), s("OK 1234\r\n"), c("BEGIN\r\n"), s("l\x01"), c("l\x02"), s("l\x03"), c(get), s(hello)}}.hold(t, client, server)
		client, server, next := unixPipe(t, socketPath(t))
		conversation{talk: []said{c(get), s(hello)}}.hold(t, client, server)
		r.waitAt(t, Client, next, 1)
		r.waitAt(t, Server, next, 1)
		if found := append(r.at(Client, path), r.at(Server, path)...); len(found) > 0 {
			t.Errorf("%+v", found)
		}
	})
}

// TestUnixSystemCalls receives by calls that leave in the socket what they read, and sends more than the socket takes at once.
func TestUnixSystemCalls(t *testing.T) {
	body := strings.Repeat("b", 600_000)
	big := "HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n" + body
	eachUnixTier(t, func(t *testing.T, tier string) {
		_, r := start(t, Options{Tier: tier})
		client, server, path := unixPipe(t, socketPath(t))
		for range 2 {
			if _, err := io.WriteString(client, get); err != nil {
				t.Fatal(err)
			}
			blocking(t, server.(syscall.Conn), func(fd int) error {
				for _, flags := range []int{unix.MSG_PEEK, unix.MSG_PEEK, 0} {
					if _, _, err := unix.Recvfrom(fd, make([]byte, len(get)), flags); err != nil {
						return err
					}
				}
				return nil
			})
			sent := make(chan error, 1)
			go func() { // the runtime's socket does not block: it takes what there is room for
				_, err := io.WriteString(server, big)
				sent <- err
			}()
			if _, err := io.ReadFull(client, make([]byte, len(big))); err != nil {
				t.Fatal(err)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		}
		a, b := r.waitAt(t, Client, path, 2), r.waitAt(t, Server, path, 2)
		want := unkeyed([]told{sent(get, 200, big, 0), sent(get, 200, big, 0)})
		checkHalves(t, Client, a, want)
		checkHalves(t, Server, b, want)
		sameUnix(t, a, b)
	})
}

// TestUnixOneSide: of a connection with a process that is not observed there is the observed half, and only that.
func TestUnixOneSide(t *testing.T) {
	eachUnixTier(t, func(t *testing.T, tier string) {
		_, r := start(t, Options{Tier: tier})
		for role, other := range map[Role]string{Client: "server", Server: "client"} {
			name := socketPath(t)
			path := name[max(0, len(name)-32):]
			l, err := net.Listen("unix", name+".client")
			if err != nil {
				t.Fatal(err)
			}
			if role == Client {
				_ = l.Close()
			} else {
				path = (name + ".client")[max(0, len(name+".client")-32):]
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestUnixOtherProcess$") //nolint:gosec // Itself.
			cmd.Env = append(os.Environ(), "UNIX_OTHER="+other, "UNIX_PATH="+name)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var conn net.Conn
			if role == Client {
				if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				conn, err = net.Dial("unix", name)
			} else {
				conn, err = l.Accept()
				_ = l.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				oneSide(t, conn, role == Server)
			}
			_ = conn.Close()
			if _, err := io.Copy(io.Discard, out); err != nil {
				t.Error(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			got := r.waitAt(t, role, path, 2)
			checkHalves(t, role, got, unkeyed([]told{sent(get, 200, hello, 0), sent(get, 200, hello, 0)}))
			if found := r.at(Client+Server-role, path); len(found) > 0 {
				t.Errorf("of the other half: %+v", found)
			}
		}
	})
}

// oneSide plays one side of an exchange.
func oneSide(t *testing.T, conn net.Conn, serve bool) {
	t.Helper()
	say, hear := get, hello
	if serve {
		say, hear = hello, get
		if _, err := io.ReadFull(conn, make([]byte, len(hear))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(conn, say); err != nil {
		t.Fatal(err)
	}
	if serve {
		return
	}
	if _, err := io.ReadFull(conn, make([]byte, len(hear))); err != nil {
		t.Fatal(err)
	}
}

// TestUnixOtherProcess is the other side of TestUnixOneSide, in a process of its own.
func TestUnixOtherProcess(t *testing.T) {
	other, name := os.Getenv("UNIX_OTHER"), os.Getenv("UNIX_PATH")
	if other == "" {
		t.Skip("run by TestUnixOneSide")
	}
	conn, err := net.Conn(nil), error(nil)
	if other == "client" {
		conn, err = net.Dial("unix", name+".client")
	} else {
		var l net.Listener
		if l, err = net.Listen("unix", name); err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		fmt.Print(".") // listens
		conn, err = l.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 2 {
		oneSide(t, conn, other == "server")
	}
}
