// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFamilies checks addresses and wire keys over IPv4, IPv6 and an IPv6 socket that speaks IPv4.
func TestFamilies(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		_, r := start(t, Options{Tier: tier})
		for name, address := range map[string]string{"v4": "127.0.0.1:0", "v6": "[::1]:0"} {
			t.Run(name, func(t *testing.T) {
				client, server := pipe(t, "tcp", address)
				conversation{talk: []said{c(get), s(hello)}}.hold(t, client, server)
				a, b := r.wait(t, Client, of(client), 1), r.wait(t, Server, of(server), 1)
				if a[0].Local() != local(client) || a[0].Remote() != local(server) {
					t.Errorf("%v to %v, want %v to %v", a[0].Local(), a[0].Remote(), local(client), local(server))
				}
				sameExchanges(t, a, b)
			})
		}
		t.Run("v4 on a v6 socket", func(t *testing.T) {
			l, err := net.Listen("tcp", "[::]:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			client, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", l.Addr().(*net.TCPAddr).Port))
			if err != nil {
				t.Fatal(err)
			}
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			conversation{talk: []said{c(get), s(hello)}}.hold(t, client.(*net.TCPConn), server.(*net.TCPConn))
			a := r.wait(t, Client, of(client), 1)
			sameExchanges(t, a, r.wait(t, Server, ends{a[0].Local(), a[0].Remote()}, 1))
		})
	})
}

// TestOlderConnections checks that connections made before the programs were attached are taken in, wire key included, at
// whatever point they are.
func TestOlderConnections(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		idle, idleServer := pipe(t, "tcp", "127.0.0.1:0")
		used, usedServer := pipe(t, "tcp", "127.0.0.1:0")
		busy, busyServer := pipe(t, "tcp", "127.0.0.1:0")
		conversation{end: staysOpen, talk: []said{c(get), s(hello)}}.hold(t, used, usedServer)
		conversation{end: staysOpen, talk: []said{c(get), s(hello[:20])}}.hold(t, busy, busyServer)
		_, r := start(t, Options{Tier: tier})
		conversation{talk: []said{c(get), s(hello)}}.hold(t, idle, idleServer)
		conversation{talk: []said{c(get), s(hello)}}.hold(t, used, usedServer)
		conversation{talk: []said{s(hello[20:]), c(get), s(hello)}}.hold(t, busy, busyServer)
		for client, server := range map[*net.TCPConn]*net.TCPConn{idle: idleServer, used: usedServer, busy: busyServer} {
			a, b := r.wait(t, Client, of(client), 1), r.wait(t, Server, of(server), 1)
			checkHalves(t, Client, a, []told{sent(get, 200, hello, 0)})
			checkHalves(t, Server, b, []told{sent(get, 200, hello, 0)})
			sameExchanges(t, a, b)
		}
	})
}

// TestSystemCalls moves the same exchange by every call that can.
func TestSystemCalls(t *testing.T) {
	split := func(text string) [][]byte {
		return [][]byte{[]byte(text[:3]), {}, []byte(text[3:25]), []byte(text[25:])}
	}
	sends := map[string]func(fd int, text string) error{
		"write":  func(fd int, text string) error { _, err := unix.Write(fd, []byte(text)); return err },
		"writev": func(fd int, text string) error { _, err := unix.Writev(fd, split(text)); return err },
		"sendto": func(fd int, text string) error { return unix.Send(fd, []byte(text), unix.MSG_NOSIGNAL) },
		"sendmsg": func(fd int, text string) error {
			_, err := unix.SendmsgBuffers(fd, split(text), nil, nil, 0)
			return err
		},
		"sendmmsg": func(fd int, text string) error {
			return mmsg(unix.SYS_SENDMMSG, fd, []byte(text[:20]), []byte(text[20:]))
		},
	}
	receives := map[string]func(fd int, n int) error{
		"read": func(fd, n int) error {
			_, err := io.ReadFull(reader(func(b []byte) (int, error) { return unix.Read(fd, b) }), make([]byte, n))
			return err
		},
		"readv": func(fd, n int) error {
			_, err := unix.Readv(fd, [][]byte{make([]byte, 3), make([]byte, n)})
			return err
		},
		"recvfrom with peek": func(fd, n int) error {
			for _, flags := range []int{unix.MSG_PEEK, unix.MSG_PEEK, 0} {
				if _, _, err := unix.Recvfrom(fd, make([]byte, n), flags); err != nil {
					return err
				}
			}
			return nil
		},
		"recvmsg": func(fd, n int) error {
			_, _, _, _, err := unix.RecvmsgBuffers(fd, [][]byte{make([]byte, 3), make([]byte, n)}, nil, 0)
			return err
		},
		"recvmmsg": func(fd, n int) error {
			return mmsg(unix.SYS_RECVMMSG, fd, make([]byte, 20), make([]byte, n-20))
		},
		"peek at a part": func(fd, n int) error {
			if _, _, err := unix.Recvfrom(fd, make([]byte, 7), unix.MSG_PEEK); err != nil {
				return err
			}
			_, err := unix.Read(fd, make([]byte, n))
			return err
		},
	}
	eachTier(t, func(t *testing.T, tier string) {
		_, r := start(t, Options{Tier: tier})
		exchange := func(t *testing.T, send func(int, string) error, receive func(int, int) error) {
			client, server := pipe(t, "tcp", "127.0.0.1:0")
			for range 2 {
				for _, part := range []struct {
					from, to *net.TCPConn
					text     string
				}{{client, server, get}, {server, client, hello}} {
					blocking(t, part.from, func(fd int) error { return send(fd, part.text) })
					blocking(t, part.to, func(fd int) error { return receive(fd, len(part.text)) })
				}
			}
			want := []told{sent(get, 200, hello, 0), sent(get, 200, hello, 0)}
			a, b := r.wait(t, Client, of(client), 2), r.wait(t, Server, of(server), 2)
			checkHalves(t, Client, a, want)
			checkHalves(t, Server, b, want)
			sameExchanges(t, a, b)
		}
		for name, send := range sends {
			t.Run(name, func(t *testing.T) { exchange(t, send, receives["read"]) })
		}
		for name, receive := range receives {
			t.Run(name, func(t *testing.T) { exchange(t, sends["write"], receive) })
		}
	})
}

type reader func([]byte) (int, error)

func (r reader) Read(b []byte) (int, error) { return r(b) }

// blocking does something with the descriptor of a connection, waiting where Go's runtime would not.
func blocking(t *testing.T, c syscall.Conn, do func(fd int) error) {
	t.Helper()
	raw(t, c, func(fd int) bool {
		err := unix.SetNonblock(fd, false)
		if err == nil {
			err = errors.Join(do(fd), unix.SetNonblock(fd, true))
		}
		if err != nil {
			t.Error(err)
		}
		return err == nil
	})
}

// TestSendfile sends a body that never is in memory of the process.
func TestSendfile(t *testing.T) {
	body := strings.Repeat("f", 200_000)
	file := t.TempDir() + "/body"
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	eachTier(t, func(t *testing.T, tier string) {
		_, r := start(t, Options{Tier: tier})
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { http.ServeFile(w, q, file) }))
		defer srv.Close()
		addr := netip.MustParseAddrPort(srv.Listener.Addr().String())
		for range 3 {
			res, err := srv.Client().Get(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, res.Body); n != int64(len(body)) || err != nil {
				t.Fatal(n, err)
			}
			_ = res.Body.Close()
		}
		for _, role := range []Role{Client, Server} {
			for _, e := range r.wait(t, role, ends{addr}, 3) {
				if e.Status != 200 || e.Flags != Keyed || e.ResponseBytes != uint64(e.ResponseHead)+uint64(len(body)) {
					t.Errorf("role %d: %+v", role, e.Exchange)
				}
			}
		}
	})
}

// TestErrorQueue sends without copying and reads the completion, which comes out of the socket as payload does and is none.
func TestErrorQueue(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		_, r := start(t, Options{Tier: tier})
		client, server := pipe(t, "tcp", "127.0.0.1:0")
		for range 2 {
			blocking(t, client, func(fd int) error {
				if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ZEROCOPY, 1); err != nil {
					return err
				}
				if err := unix.Send(fd, []byte(get), unix.MSG_ZEROCOPY); err != nil {
					return err
				}
				if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd)}}, 10_000); err != nil { //nolint:gosec // A descriptor.
					return err
				}
				_, _, _, _, err := unix.Recvmsg(fd, make([]byte, 100), make([]byte, 100), unix.MSG_ERRQUEUE)
				return err
			})
			conversation{end: staysOpen, talk: []said{s(hello)}}.hold(t, client, serverThatRead(t, server, get))
		}
		want := []told{sent(get, 200, hello, 0), sent(get, 200, hello, 0)}
		checkHalves(t, Client, r.wait(t, Client, of(client), 2), want)
	})
}

// serverThatRead reads a request that was not sent as part of a conversation.
func serverThatRead(t *testing.T, server *net.TCPConn, request string) *net.TCPConn {
	t.Helper()
	if _, err := io.ReadFull(server, make([]byte, len(request))); err != nil {
		t.Fatal(err)
	}
	return server
}

// TestHalfClose reads a request together with the end of what the client says, and a response after the connection has ended.
func TestHalfClose(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		_, r := start(t, Options{Tier: tier})
		client, server := pipe(t, "tcp", "127.0.0.1:0")
		put(t, client, get)
		_ = client.CloseWrite()
		if _, err := io.ReadAll(server); err != nil {
			t.Fatal(err)
		}
		put(t, server, hello)
		_ = server.Close()
		until(t, func() bool {
			closed := false
			raw(t, client, func(fd int) bool {
				info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
				closed = err == nil && info.State == 7
				return err == nil
			})
			return closed
		}, func() { t.Fatal("not closed") })
		take(t, client, len(hello))
		a, b := r.wait(t, Client, of(client), 1), r.wait(t, Server, of(server), 1)
		checkHalves(t, Client, a, []told{sent(get, 200, hello, 0)})
		checkHalves(t, Server, b, []told{sent(get, 200, hello, 0)})
		sameExchanges(t, a, b)
	})
}

func TestVerdicts(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		k, r := start(t, Options{Tier: tier})
		self := uint32(os.Getpid())
		one := func() (client, server *net.TCPConn) {
			client, server = pipe(t, "tcp", "127.0.0.1:0")
			conversation{talk: []said{c(get), s(hello)}}.hold(t, client, server)
			return client, server
		}
		for name, ignore := range map[string]func() error{
			"ignored":   func() error { return k.Decide(self, Verdict{}) },
			"forgotten": func() error { return errors.Join(k.Forget(self), k.Forget(self)) }, // the default of start is to ignore
		} {
			if err := ignore(); err != nil {
				t.Fatal(name, err)
			}
			client, _ := one()
			if err := k.Decide(self, Verdict{Observe: true}); err != nil {
				t.Fatal(err)
			}
			_, server := one()
			r.wait(t, Server, of(server), 1)
			if found := r.on(Client, of(client)); len(found) > 0 {
				t.Errorf("%s: %+v", name, found)
			}
		}
	})
}

func TestWindows(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		_, r := start(t, Options{Tier: tier, RequestWindow: 20, RingBytes: 1 << 16})
		client, server := pipe(t, "tcp", "127.0.0.1:0")
		conversation{talk: []said{c(get), s(hello)}}.hold(t, client, server)
		got := r.wait(t, Server, of(server), 1)[0]
		if got.request != get[:20] || got.response != "" || got.Flags != Keyed|RequestCut {
			t.Errorf("%q %q %b", got.request, got.response, got.Flags)
		}
	})
}

// TestManyRequests counts: what net/http says on kept-alive connections, several at a time, is seen once on each side.
func TestManyRequests(t *testing.T) {
	const workers, each = 4, 750
	eachTier(t, func(t *testing.T, tier string) {
		k, r := start(t, Options{Tier: tier})
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			_, _ = io.Copy(io.Discard, q.Body)
			if strings.HasSuffix(q.URL.Path, "7") { // chunked
				w.(http.Flusher).Flush()
			}
			_, _ = io.WriteString(w, q.URL.Path)
		}))
		defer srv.Close()
		srv.Client().Transport.(*http.Transport).MaxIdleConnsPerHost = workers
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := range each {
					res, err := srv.Client().Post(fmt.Sprintf("%s/%d/%d", srv.URL, w, i), "text/plain", strings.NewReader("body"))
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				}
			})
		}
		wg.Wait()
		addr := netip.MustParseAddrPort(srv.Listener.Addr().String())
		keys := map[[3]uint32]int{}
		for _, role := range []Role{Client, Server} {
			paths := map[string]int{}
			for _, e := range r.wait(t, role, ends{addr}, workers*each) {
				paths[strings.SplitN(e.request, " ", 3)[1]]++
				keys[[3]uint32{e.OpenerISN, e.AcceptorISN, e.RequestSeq}]++
				if e.Status != 200 || e.Flags != Keyed || e.TGID != uint32(os.Getpid()) || role == Server && e.Context != ContextHalf {
					t.Errorf("role %d: %+v", role, e.Exchange)
				}
			}
			if len(paths) != workers*each {
				t.Errorf("role %d: %d paths, want %d", role, len(paths), workers*each)
			}
		}
		if len(keys) != workers*each {
			t.Errorf("%d wire keys, want %d", len(keys), workers*each)
		}
		for reason, n := range k.Drops() {
			if n > 0 {
				t.Errorf("%d dropped: %s", n, reason)
			}
		}
	})
}
