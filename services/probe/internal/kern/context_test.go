// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	givenTrace = "0af7651916cd43dd8448eb211c80319c"
	givenSpan  = "b7ad6b7169203331"
)

func withParent(name string) string {
	return fmt.Sprintf("GET / HTTP/1.1\r\n%s:  00-%s-%s-01\r\n\r\n", name, givenTrace, givenSpan)
}

func TestTraceparent(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		_, r := start(t, Options{Tier: tier})
		cases := map[string]struct {
			request  string
			honoured bool
		}{
			"as written":        {withParent("traceparent"), true},
			"other case":        {withParent("TraceParent"), true},
			"later version":     {"GET / HTTP/1.1\r\ntraceparent: 01-" + givenTrace + "-" + givenSpan + "-01-more\r\n\r\n", true},
			"upper-case digits": {"GET / HTTP/1.1\r\ntraceparent: 00-0AF7651916cd43dd8448eb211c80319c-" + givenSpan + "-01\r\n\r\n", false},
			"not hexadecimal":   {"GET / HTTP/1.1\r\ntraceparent: 00-0gf7651916cd43dd8448eb211c80319c-" + givenSpan + "-01\r\n\r\n", false},
			"zero trace":        {"GET / HTTP/1.1\r\ntraceparent: 00-00000000000000000000000000000000-" + givenSpan + "-01\r\n\r\n", false},
			"zero span":         {"GET / HTTP/1.1\r\ntraceparent: 00-" + givenTrace + "-0000000000000000-01\r\n\r\n", false},
			"version ff":        {"GET / HTTP/1.1\r\ntraceparent: ff-" + givenTrace + "-" + givenSpan + "-01\r\n\r\n", false},
			"too short":         {"GET / HTTP/1.1\r\ntraceparent: 00-" + givenTrace + "-" + givenSpan + "-0\r\n\r\n", false},
			"other header":      {withParent("tracepart"), false},
			"behind 2 KiB":      {"GET / HTTP/1.1\r\nX: " + string(make([]byte, 2048)) + withParent("traceparent")[len("GET / HTTP/1.1"):], true},
		}
		for name, tt := range cases {
			for _, cut := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, cut %t", name, cut), func(t *testing.T) {
					client, server := pipe(t, "tcp", "127.0.0.1:0")
					talk := []said{c(tt.request), s(hello)}
					if cut {
						talk = append(letters(tt.request, false), s(hello))
					}
					conversation{talk: talk}.hold(t, client, server)
					a, b := r.wait(t, Client, of(client), 1)[0], r.wait(t, Server, of(server), 1)[0]
					honoured := a.Context == ContextHeader && hex.EncodeToString(a.TraceID[:]) == givenTrace &&
						hex.EncodeToString(a.ParentSpanID[:]) == givenSpan && a.TraceFlags == 1
					if honoured != tt.honoured {
						t.Errorf("client half: %+v", a.Exchange)
					}
					if !tt.honoured && (a.Context != ContextRoot || a.ParentSpanID != [8]byte{}) {
						t.Errorf("client half is no root: %+v", a.Exchange)
					}
					sameExchanges(t, []seen{a}, []seen{b})
				})
			}
		}
	})
}

// TestThreadContext plays a service that calls another one while it answers, on one thread.
func TestThreadContext(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		k, r := start(t, Options{Tier: tier})
		if err := k.Decide(uint32(os.Getpid()), Verdict{Observe: true, Threads: true}); err != nil {
			t.Fatal(err)
		}
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		other := make(chan func()) // what callers and callees do, on another thread
		defer close(other)
		go func() {
			runtime.LockOSThread()
			for do := range other {
				do()
				other <- nil
			}
		}()
		elsewhere := func(do func()) { other <- do; <-other }
		in, inServer := pipe(t, "tcp", "127.0.0.1:0")
		in2, in2Server := pipe(t, "tcp", "127.0.0.1:0")
		out, outServer := pipe(t, "tcp", "127.0.0.1:0")
		call := func(request string) {
			put(t, out, request)
			elsewhere(func() { take(t, outServer, len(request)); put(t, outServer, hello) })
			take(t, out, len(hello))
		}
		// A request comes in; while it is open this thread makes two calls, the second repeats the header it was given.
		elsewhere(func() { put(t, in, withParent("traceparent")) })
		take(t, inServer, len(withParent("traceparent")))
		call(get)
		call(withParent("traceparent"))
		// A second request comes in: now nobody can tell whose call it is.
		elsewhere(func() { put(t, in2, get) })
		take(t, in2Server, len(get))
		call(get)
		put(t, inServer, hello)
		put(t, in2Server, hello)
		elsewhere(func() { take(t, in, len(hello)); take(t, in2, len(hello)) })
		call(get) // after the answer it is nobody's
		// The thread is free again for the next request.
		elsewhere(func() { put(t, in, get) })
		take(t, inServer, len(get))
		const bound = 256 // ADOPT_MAX
		for range bound + 1 {
			call(get)
		}
		put(t, inServer, hello)
		elsewhere(func() { take(t, in, len(hello)) })

		served := r.wait(t, Server, of(inServer), 2)
		calls := r.wait(t, Client, of(out), 4+bound+1)
		if last := calls[3+bound]; last.Context != ContextThread || last.ParentSpanID != served[1].SpanID {
			t.Errorf("call %d of a request: %+v", bound, last.Exchange)
		}
		if last := calls[4+bound]; last.Context != ContextRoot || last.ParentSpanID != [8]byte{} || k.Blemishes()["adoption"] != 1 {
			t.Errorf("one call too many is not a root: %+v, counted: %v", last.Exchange, k.Blemishes())
		}
		for i, want := range []struct {
			parent *seen
			from   Context
		}{{&served[0], ContextThread}, {&served[0], ContextHeader}, {nil, ContextRoot}, {nil, ContextRoot}, {&served[1], ContextThread}} {
			got := calls[i]
			parent := [8]byte{}
			if want.parent != nil {
				parent = want.parent.SpanID
			}
			if got.Context != want.from || got.ParentSpanID != parent || want.parent != nil && got.TraceID != want.parent.TraceID {
				t.Errorf("call %d: context %d, parent %x of trace %x, want %d and %x", i, got.Context, got.ParentSpanID, got.TraceID, want.from, parent)
			}
		}
		if hex.EncodeToString(served[0].TraceID[:]) != givenTrace {
			t.Errorf("trace %x", served[0].TraceID)
		}
	})
}

// put and take move bytes by a system call of the calling thread itself; the runtime's own reads may move to another.
func put(t *testing.T, c *net.TCPConn, text string) {
	t.Helper()
	raw(t, c, func(fd int) bool {
		n, err := unix.Write(fd, []byte(text))
		return n == len(text) && err == nil
	})
}

func take(t *testing.T, c *net.TCPConn, n int) {
	t.Helper()
	raw(t, c, func(fd int) bool {
		for buffer := make([]byte, n); n > 0; {
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); err != nil && err != unix.EINTR {
				return false
			}
			got, err := unix.Read(fd, buffer[:n])
			if err == unix.EAGAIN || err == unix.EINTR {
				continue
			}
			if err != nil || got == 0 {
				return false
			}
			n -= got
		}
		return true
	})
}

func raw(t *testing.T, c syscall.Conn, do func(fd int) bool) {
	t.Helper()
	conn, err := c.SyscallConn()
	if err == nil {
		err = conn.Control(func(fd uintptr) {
			if !do(int(fd)) {
				t.Error("connection broke")
			}
		})
	}
	if err != nil {
		t.Error(err)
	}
}
