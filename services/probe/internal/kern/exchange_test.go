// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// said is a piece of a conversation: one write by one end, read by the other in pieces of `by` bytes (0: at once).
type said struct {
	server bool
	text   string
	by     int
}

func c(text string) said { return said{text: text} }
func s(text string) said { return said{server: true, text: text} }

// endings of a conversation.
const (
	clientCloses = iota
	serverCloses
	clientResets
	serverResets
	staysOpen
)

// told is what both halves of an exchange must agree on.
type told struct {
	Request       string // first line
	Status        uint16
	RequestBytes  uint64
	ResponseBytes uint64
	Flags         Flags
}

const (
	get      = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
	hello    = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
	headOK   = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
	chunkedH = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
)

func sent(text string, status uint16, response string, flags Flags) told {
	line, _, _ := strings.Cut(text, "\r\n")
	return told{line, status, uint64(len(text)), uint64(len(response)), flags | Keyed}
}

func letters(text string, server bool) []said {
	var all []said
	for _, b := range []byte(text) {
		all = append(all, said{server: server, text: string(b)})
	}
	return all
}

func conversations() map[string]conversation {
	post := "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
	chunkedPost := "POST /c HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n"
	long := "GET /long HTTP/1.1\r\nCookie: " + strings.Repeat("x", 3000) + "\r\nX: y\r\n\r\n"
	longest := "GET /longest HTTP/1.1\r\n" + strings.Repeat("X-Some: header, folded\r\n\tover two lines\r\n", 1600) + "\r\n"
	many := chunkedH + strings.Repeat("1\r\nx\r\n", 3000) + "0\r\nTrailer: x\r\n\r\n"
	mixed := chunkedH + chunks(200) + "0\r\n\r\n"
	body := "Content-Length: 300000\r\n\r\n" + strings.Repeat("b", 300_000)
	propfind := "PROPFIND /dav HTTP/1.1\r\nDepth: 0\r\nContent-Length: 7\r\n\r\n<find/>"
	lower := "x-my.own~method! /lower HTTP/1.0\r\n\r\n"
	search := "M-SEARCH /" + strings.Repeat("long", 120) + " HTTP/1.1\r\n\r\n"
	bigPut, bigOK := "PUT /big HTTP/1.1\r\n"+body, "HTTP/1.1 200 OK\r\n"+body
	return map[string]conversation{
		"one":         {talk: []said{c(get), s(hello)}, want: []told{sent(get, 200, hello, 0)}},
		"kept alive":  {talk: []said{c(get), s(hello), c(get), s(hello)}, want: []told{sent(get, 200, hello, 0), sent(get, 200, hello, 0)}},
		"stays open":  {end: staysOpen, talk: []said{c(get), s(hello)}, want: []told{sent(get, 200, hello, 0)}},
		"by letters":  {talk: append(letters(get, false), letters(hello, true)...), want: []told{sent(get, 200, hello, 0)}},
		"read slowly": {talk: []said{{text: get, by: 1}, {server: true, text: hello, by: 3}}, want: []told{sent(get, 200, hello, 0)}},
		"body apart":  {talk: []said{c(post), c("0123456789"), s(hello)}, want: []told{sent(post+"0123456789", 200, hello, 0)}},
		"bare newlines": {
			talk: []said{c("GET /n HTTP/1.0\nHost: x\n\n"), s("HTTP/1.0 204 No Content\n\n")},
			want: []told{{"GET /n HTTP/1.0\nHost: x\n\n", 204, 25, 25, Keyed}},
		},
		"HEAD": {
			talk: []said{c("HEAD /h HTTP/1.1\r\n\r\n"), s("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"), c(get), s(hello)},
			want: []told{sent("HEAD /h HTTP/1.1\r\n\r\n", 200, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", 0), sent(get, 200, hello, 0)},
		},
		"304": {
			talk: []said{c(get), s("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"), c(get), s(hello)},
			want: []told{sent(get, 304, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 0), sent(get, 200, hello, 0)},
		},
		"continue": {
			talk: []said{c(post), s("HTTP/1.1 100 Continue\r\n\r\n"), c("0123456789"), s("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + hello)},
			want: []told{sent(post+"0123456789", 200, hello, 0)},
		},
		"chunked": {
			talk: []said{c(get), s(chunkedH + "5\r\nhello\r\n"), s("A;x=y\r\n0123456789\r\n0\r\n"), s("Trailer: x\r\n\r\n"), c(get), s(hello)},
			want: []told{sent(get, 200, chunkedH+"5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", 0), sent(get, 200, hello, 0)},
		},
		"chunked by letters": {
			talk: append([]said{c(get)}, letters(chunkedH+"b\r\nhello\r\n\r\nxx\r\n0\r\n\r\n", true)...),
			want: []told{sent(get, 200, chunkedH+"b\r\nhello\r\n\r\nxx\r\n0\r\n\r\n", 0)},
		},
		"many chunks in one write": {
			talk: []said{c(get), s(many), c(get), s(hello)}, want: []told{sent(get, 200, many, 0), sent(get, 200, hello, 0)},
		},
		"chunks of many sizes": {
			talk: []said{c(get), {server: true, text: mixed, by: 4000}, c(get), s(hello)},
			want: []told{sent(get, 200, mixed, 0), sent(get, 200, hello, 0)},
		},
		"chunk without size": {
			talk: []said{c(get), s(chunkedH + "x\r\n"), s("lost"), c(get), s(hello)},
			want: []told{sent(get, 200, chunkedH+"x\r\nlost", Unframed), sent(get, 200, hello, 0)},
		},
		"chunked request": {
			talk: []said{c(chunkedPost + "4\r\nbody\r\n"), c("0\r\n\r\n"), s(hello), c(get), s(hello)},
			want: []told{sent(chunkedPost+"4\r\nbody\r\n0\r\n\r\n", 200, hello, 0), sent(get, 200, hello, 0)},
		},
		"until close": {
			end: serverCloses, talk: []said{c(get), s("HTTP/1.0 200 OK\r\n\r\nab"), s("cd")},
			want: []told{sent(get, 200, "HTTP/1.0 200 OK\r\n\r\nabcd", UntilClose)},
		},
		"long head": {
			talk: []said{c(long), s(hello), c(get), s(hello)},
			want: []told{sent(long, 200, hello, RequestCut), sent(get, 200, hello, 0)},
		},
		"long head in pieces": {
			talk: []said{c(long[:700]), c(long[700:2000]), c(long[2000:]), s(hello)},
			want: []told{sent(long, 200, hello, RequestCut)},
		},
		"head of 64 KiB": {
			talk: []said{c(longest), s(hello), c(longest + get), s(hello + hello)},
			want: []told{
				sent(longest, 200, hello, RequestCut), sent(longest, 200, hello, RequestCut|Pipelined), sent(get, 200, hello, 0),
			},
		},
		"large bodies": {
			talk: []said{c(bigPut), s(bigOK), c(get), s(hello)},
			want: []told{sent(bigPut, 200, bigOK, 0), sent(get, 200, hello, 0)},
		},
		"response before the request is complete": {
			talk: []said{c(post + "01234"), s("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"), c("56789"), c(get), s(hello)},
			want: []told{
				sent(post+"0123456789", 413, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", 0), sent(get, 200, hello, 0),
			},
		},
		"no response": {talk: []said{c(get)}, want: []told{sent(get, 0, "", NoResponse)}},
		"half a request": {
			talk: []said{c(post + "0123")}, want: []told{sent(post+"0123", 0, "", NoResponse|RequestPartial)},
		},
		"half a response": {
			end: serverCloses, talk: []said{c(get), s(hello[:len(hello)-2])},
			want: []told{sent(get, 200, hello[:len(hello)-2], ResponsePartial)},
		},
		"reset by client": {end: clientResets, talk: []said{c(get)}, want: []told{sent(get, 0, "", NoResponse|Reset)}},
		"reset by server": {
			end: serverResets, talk: []said{c(get), s(hello[:len(hello)-2])},
			want: []told{sent(get, 200, hello[:len(hello)-2], ResponsePartial|Reset)},
		},
		"upgrade": {
			talk: []said{c(get), s("HTTP/1.1 101 Switching Protocols\r\n\r\n"), c(get), s(hello)},
			want: []told{sent(get, 101, "HTTP/1.1 101 Switching Protocols\r\n\r\n", Upgraded)},
		},
		"tunnel": {
			talk: []said{c("CONNECT x:1 HTTP/1.1\r\n\r\n"), s("HTTP/1.1 200 OK\r\n\r\n"), c(get), s(hello)},
			want: []told{sent("CONNECT x:1 HTTP/1.1\r\n\r\n", 200, "HTTP/1.1 200 OK\r\n\r\n", Upgraded)},
		},
		"pipelined": {
			talk: []said{c(get + "HEAD /2 HTTP/1.1\r\n\r\n" + get), s(hello), s(headOK + hello), c(get), s(hello)},
			want: []told{
				sent(get, 200, hello, Pipelined), sent("HEAD /2 HTTP/1.1\r\n\r\n", 200, headOK, Pipelined), sent(get, 200, hello, 0),
				sent(get, 200, hello, 0),
			},
		},
		"pipelined by letters": {
			talk: append(append(letters(post+"0123456789"+get, false), letters(hello, true)...), s(chunkedH+"0\r\n\r\n")),
			want: []told{sent(post+"0123456789", 200, hello, Pipelined), sent(get, 200, chunkedH+"0\r\n\r\n", 0)},
		},
		"pipelined while answered": {
			talk: []said{c(get + post), s(hello[:20]), c("01234"), s(hello[20:]), c("56789" + get[:9]), s(hello), c(get[9:]), s(hello)},
			want: []told{sent(get, 200, hello, Pipelined), sent(post+"0123456789", 200, hello, Pipelined), sent(get, 200, hello, 0)},
		},
		"pipelined, answered before complete": {
			talk: []said{c(get + post + "01234"), s(hello + hello), c("56789"), c(get), s(hello)},
			want: []told{sent(get, 200, hello, Pipelined), sent(post+"0123456789", 200, hello, 0), sent(get, 200, hello, 0)},
		},
		"pipelined 64 deep":  {talk: []said{c(deep(64)), s(strings.Repeat(hello, 64)), c(get), s(hello)}, want: deepTold(64)},
		"pipelined 250 deep": {talk: []said{c(deep(250)), {server: true, text: strings.Repeat(hello, 250), by: 1000}, c(get), s(hello)}, want: deepTold(250)},
		"pipelined and not answered": {
			end: serverCloses, talk: []said{c(get + get + post + "0123"), s(hello)},
			want: []told{sent(get, 200, hello, Pipelined), sent(get, 0, "", NoResponse|Pipelined), sent(post+"0123", 0, "", NoResponse|RequestPartial)},
		},
		"pipelined, the last one stray": {
			talk: []said{c(get + get), s(hello), c("GET lost\r\n"), s(hello), c(get), s(hello)},
			want: []told{sent(get, 200, hello, Pipelined), sent(get, 200, hello, 0), sent(get, 200, hello, 0)},
		},
		"stray line ends": {
			talk: []said{c(post + "0123456789\r\n"), s(hello), c("\r\n" + get), s(hello), c(post + "0123456789\r\n" + get), s(hello), s(hello)},
			want: []told{
				sent(post+"0123456789", 200, hello, 0), sent(get, 200, hello, 0),
				sent(post+"0123456789", 200, hello, Pipelined), sent(get, 200, hello, 0),
			},
		},
		"rare methods": {
			talk: []said{c(propfind), s(hello), c(lower), s(hello), c(search[:5]), c(search[5:70]), c(search[70:498]), c(search[498:]), s(hello)},
			want: []told{sent(propfind, 200, hello, 0), sent(lower, 200, hello, 0), sent(search, 200, hello, 0)},
		},
		"rare methods, pipelined by letters": {
			talk: []said{{text: get + propfind + lower, by: 1}, s(hello + hello + hello)},
			want: []told{sent(get, 200, hello, Pipelined), sent(propfind, 200, hello, Pipelined), sent(lower, 200, hello, 0)},
		},
		"half a rare method": {talk: []said{c("PROPFIND /a HTT")}},
		"words": {
			talk: []said{c("hello world\r\n"), s("how are you\r\n"), c("words " + strings.Repeat("and words ", 99)), s("so many"), c(get), s(hello)},
			want: []told{sent(get, 200, hello, 0)},
		},
		"words of a server, without end": {talk: []said{s("so it is " + strings.Repeat("and words ", 99)), c(get), s(hello)}, want: []told{sent(get, 200, hello, 0)}},
		"long words, the last few apart": {
			talk: []said{c("words " + strings.Repeat("and words ", 60)), c("more\r\n\r\n"), s("?"), c(get), s(hello)},
			want: []told{sent(get, 200, hello, 0)},
		},
		"too long a method": {talk: []said{c(strings.Repeat("M", 25) + " / HTTP/1.1\r\n\r\n"), s("?"), c(get), s(hello)}, want: []told{sent(get, 200, hello, 0)}},
		"HTTP/2":            {talk: []said{c("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), s("\x00\x00\x00\x04\x00\x00\x00\x00\x00"), c(get), s(hello)}},
		"HTTP/2 in pieces": {
			talk: []said{c("PR"), c("I * H"), c("TTP/2.0\r\n\r\nSM\r\n\r\n"), s("\x00\x00\x00\x04\x00\x00\x00\x00\x00"), c(get), s(hello)},
		},
		"not HTTP":                {talk: []said{c("GETTING somewhere\r\n"), s("HELLO\r\n"), c("P"), s("x")}},
		"a method but no version": {talk: []said{c("GET key\r\n\r\n"), s("$3\r\nval\r\n")}},
		"other first": {
			talk: []said{s("220 ready\r\n"), c("HELO\r\n"), s("250 ok\r\n"), c(get), s(hello)},
			want: []told{sent(get, 200, hello, 0)},
		},
	}
}

// chunks returns n chunks, of 1 byte up to some 2 KiB, some with extensions.
func chunks(n int) string {
	var all strings.Builder
	for i := range n {
		size := 1 + i*i%2047
		fmt.Fprintf(&all, "%x%s\r\n%s\r\n", size, strings.Repeat(";a=\"b\"", i%5), strings.Repeat("c", size))
	}
	return all.String()
}

// deep returns n requests, each with another path, length, and now and then a body.
func deep(n int) string {
	var all strings.Builder
	for i := range n {
		all.WriteString(deepRequest(i))
	}
	return all.String()
}

func deepRequest(i int) string {
	if i%7 == 3 {
		return fmt.Sprintf("PUT /%d HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s", i, i, strings.Repeat("b", i))
	}
	return fmt.Sprintf("GET /%d HTTP/1.1\r\nX: %s\r\n\r\n", i, strings.Repeat("x", i))
}

// deepTold is what is told of n such requests and a plain one after them.
func deepTold(n int) []told {
	var want []told
	for i := range n {
		want = append(want, sent(deepRequest(i), 200, hello, Pipelined))
	}
	want[n-1].Flags = Keyed
	return append(want, sent(get, 200, hello, 0))
}

type conversation struct {
	talk []said
	end  int
	want []told
}

func (v conversation) hold(t *testing.T, client, server net.Conn) {
	t.Helper()
	for i, said := range v.talk {
		from, to := client, server
		if said.server {
			from, to = server, client
		}
		wrote := make(chan error, 1)
		go func() {
			_, err := io.WriteString(from, said.text)
			wrote <- err
		}()
		step := said.by
		if step == 0 {
			step = len(said.text)
		}
		for left := len(said.text); left > 0; left -= step {
			if _, err := io.ReadFull(to, make([]byte, min(step, left))); err != nil {
				t.Fatalf("read piece %d: %v", i, err)
			}
		}
		if err := <-wrote; err != nil {
			t.Fatalf("write piece %d: %v", i, err)
		}
	}
	end := map[int]net.Conn{clientCloses: client, serverCloses: server, clientResets: client, serverResets: server}[v.end]
	if end == nil {
		return
	}
	if tcp, ok := end.(*net.TCPConn); ok && (v.end == clientResets || v.end == serverResets) {
		_ = tcp.SetLinger(0)
	}
	_ = end.Close()
	other := map[bool]net.Conn{true: client, false: server}[end == server]
	_, _ = io.Copy(io.Discard, other)
	_ = other.Close()
}

func TestExchanges(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		k, r := start(t, Options{Tier: tier})
		total := 0
		for name, v := range conversations() {
			t.Run(name, func(t *testing.T) {
				client, server := pipe(t, "tcp", "127.0.0.1:0")
				v.hold(t, client, server)
				for role, conn := range map[Role]net.Conn{Client: client, Server: server} {
					got := r.wait(t, role, of(conn), len(v.want))
					checkHalves(t, role, got, v.want)
				}
				sameExchanges(t, r.on(Client, of(client)), r.on(Server, of(server)))
				total += 2 * len(v.want)
			})
		}
		client, server := pipe(t, "tcp", "127.0.0.1:0") // the last to end, so that nothing is still to come
		conversation{talk: []said{c(get), s(hello)}}.hold(t, client, server)
		r.wait(t, Server, of(server), 1)
		r.wait(t, Client, of(client), 1)
		if n := r.total(); n != total+2 {
			t.Errorf("%d exchanges, want %d: %+v", n, total+2, r.exchanges)
		}
		if drops := k.Drops(); drops["ring_full"]+drops["connection_state"]+drops["call_state"] != 0 {
			t.Errorf("drops: %v", drops)
		}
	})
}

// TestAgain checks that hooks which are there twice report everything once, and that the second one sees what the first one does not.
func TestAgain(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		firsts := []string{"on_state", "on_destroy"}
		switch tier {
		case TierBTF:
			firsts = append(firsts, "on_send", "on_receive")
		case TierFentry:
			firsts = append(firsts, "on_send", "on_sent", "on_receive", "on_copied")
		case TierSyscall:
			firsts = append(firsts, "on_enter", "on_return")
		}
		hooks := map[string][]string{"both": nil, "second": firsts}
		if preemptible() {
			delete(hooks, "second") // alone it misses here what the first one would see
		}
		for name, without := range hooks {
			t.Run(name, func(t *testing.T) {
				_, r := start(t, Options{Tier: tier, again: true, without: without})
				total := 0
				for _, v := range conversations() {
					total += 2 * len(v.want)
					client, server := pipe(t, "tcp", "127.0.0.1:0")
					v.hold(t, client, server)
					for role, conn := range map[Role]net.Conn{Client: client, Server: server} {
						checkHalves(t, role, r.wait(t, role, of(conn), len(v.want)), v.want)
					}
				}
				if n := r.total(); n != total {
					t.Errorf("%d exchanges, want %d", n, total)
				}
			})
		}
	})
}

// TestResetReason checks why a connection was aborted: this end does so without an error.
func TestResetReason(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		_, r := start(t, Options{Tier: tier})
		for end, want := range map[int][2]unix.Errno{clientResets: {0, unix.ECONNRESET}, serverResets: {unix.ECONNRESET, 0}} {
			client, server := pipe(t, "tcp", "127.0.0.1:0")
			conversation{end: end, talk: []said{c(get)}}.hold(t, client, server)
			a, b := r.wait(t, Client, of(client), 1)[0], r.wait(t, Server, of(server), 1)[0]
			if got := [2]unix.Errno{unix.Errno(a.Error), unix.Errno(b.Error)}; got != want || a.Flags&b.Flags&Reset == 0 {
				t.Errorf("client and server half say %v, want %v", got, want)
			}
		}
	})
}

// TestBrokenConnection checks the reasons that no close of an end gives: a peer that is silent for too long, and one that closed
// before it was asked.
func TestBrokenConnection(t *testing.T) {
	deaf := func(t *testing.T, client, server *net.TCPConn) {
		raw(t, server, func(fd int) bool { // what comes is dropped as if on the way
			drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
			return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]}) == nil
		})
		raw(t, client, func(fd int) bool {
			return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 300) == nil
		})
	}
	closed := func(_ *testing.T, _, server *net.TCPConn) { _ = server.Close() }
	eachTier(t, func(t *testing.T, tier string) {
		_, r := start(t, Options{Tier: tier})
		for want, happens := range map[unix.Errno]func(t *testing.T, client, server *net.TCPConn){unix.ETIMEDOUT: deaf, unix.EPIPE: closed} {
			client, server := pipe(t, "tcp", "127.0.0.1:0")
			happens(t, client, server)
			put(t, client, get)
			_, _ = io.ReadAll(client)
			_ = client.Close()
			got := r.wait(t, Client, of(client), 1)[0]
			if got.Flags != Reset|NoResponse|Keyed || unix.Errno(got.Error) != want {
				t.Errorf("flags %b, reason %v, want %v", got.Flags, unix.Errno(got.Error), want)
			}
		}
	})
}

// TestWait checks how long a request lay in the socket before the server read it, also when it was acknowledged meanwhile.
func TestWait(t *testing.T) { testWait(t, 0) }

// TestWaitAfterSuspension does so on a machine that was suspended for an hour after the programs were loaded.
func TestWaitAfterSuspension(t *testing.T) { testWait(t, -time.Hour) }

func testWait(t *testing.T, unknown time.Duration) {
	eachTier(t, func(t *testing.T, tier string) {
		_, r := start(t, Options{Tier: tier, suspended: unknown})
		for _, late := range []time.Duration{0, 20 * time.Millisecond, 200 * time.Millisecond} {
			client, server := pipe(t, "tcp", "127.0.0.1:0")
			put(t, client, get)
			sent := time.Now()
			<-time.After(late) // what is measured
			take(t, server, len(get))
			spent := time.Since(sent)
			put(t, server, hello)
			take(t, client, len(hello))
			got := time.Duration(r.wait(t, Server, of(server), 1)[0].Wait) * time.Microsecond
			const jiffies = 20 * time.Millisecond // two of the longest kind
			if got < late-jiffies || got > spent+jiffies {
				t.Errorf("waited %v, read after %v to %v", got, late, spent)
			}
			if a := r.wait(t, Client, of(client), 1)[0]; a.Wait != 0 {
				t.Errorf("client half waited %d", a.Wait)
			}
		}
	})
}

func checkHalves(t *testing.T, role Role, got []seen, want []told) {
	t.Helper()
	var have []told
	for _, e := range got {
		line, _, _ := strings.Cut(e.request, "\r\n")
		have = append(have, told{line, e.Status, e.RequestBytes, e.ResponseBytes, e.Flags})
		if e.RequestStart == 0 || e.RequestEnd < e.RequestStart || (e.ResponseStart == 0) != (e.ResponseBytes == 0) ||
			e.ResponseEnd < e.ResponseStart || e.Status != 0 && e.Status != 413 && e.ResponseEnd < e.RequestStart {
			t.Errorf("role %d: times %d %d %d %d", role, e.RequestStart, e.RequestEnd, e.ResponseStart, e.ResponseEnd)
		}
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("role %d: -want +got\n%s", role, diff)
	}
}

// sameExchanges checks that the halves name their exchange alike, and that the server half knows its parent.
func sameExchanges(t *testing.T, client, server []seen) {
	t.Helper()
	for i := range min(len(client), len(server)) {
		a, b := client[i], server[i]
		if a.OpenerISN != b.OpenerISN || a.AcceptorISN != b.AcceptorISN || a.RequestSeq != b.RequestSeq {
			t.Errorf("wire keys %x %x", []uint32{a.OpenerISN, a.AcceptorISN, a.RequestSeq}, []uint32{b.OpenerISN, b.AcceptorISN, b.RequestSeq})
		}
		if a.Local() != b.Remote() || a.Remote() != b.Local() {
			t.Errorf("addresses %v-%v, %v-%v", a.Local(), a.Remote(), b.Local(), b.Remote())
		}
		if a.TraceID != b.TraceID || b.ParentSpanID != a.SpanID || b.Context != ContextHalf {
			t.Errorf("server half %x %x<-%x (%d), client half %x %x", b.TraceID, b.SpanID, b.ParentSpanID, b.Context, a.TraceID, a.SpanID)
		}
	}
}
