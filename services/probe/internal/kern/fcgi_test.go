// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fcgi makes a record of FastCGI.
func fcgi(kind, id byte, content string, padding int) string {
	head := []byte{1, kind, 0, id, byte(len(content) >> 8), byte(len(content)), byte(padding), 0}
	return string(head) + content + strings.Repeat("\xff", padding)
}

// params encodes parameters; every other length that would fit in a byte takes four all the same.
func params(pairs ...string) string {
	var b []byte
	for i := 0; i < len(pairs); i += 2 {
		for j, s := range pairs[i : i+2] {
			if len(s) < 128 && (i/2+j)%2 == 0 {
				b = append(b, byte(len(s)))
			} else {
				b = binary.BigEndian.AppendUint32(b, uint32(len(s))|1<<31) //nolint:gosec // Short.
			}
		}
		b = append(append(b, pairs[i]...), pairs[i+1]...)
	}
	return string(b)
}

// fcgiParams are what a server like nginx sends with a request, in the usual order.
func fcgiParams(path string, stdin int, more ...string) string {
	return params(append([]string{
		"SCRIPT_FILENAME", "/srv/www/index.php", "QUERY_STRING", "token=" + strings.Repeat("s3cret", 200), "REQUEST_METHOD", "POST",
		"CONTENT_TYPE", "", "CONTENT_LENGTH", fmt.Sprint(stdin), "SCRIPT_NAME", "/index.php", "REQUEST_URI", path, "DOCUMENT_ROOT", "/srv",
		"SERVER_PROTOCOL", "HTTP/1.1", "HTTP_HOST", "shop", "HTTP_COOKIE", strings.Repeat("c", 300), "HTTP_USER_AGENT", "curl/8",
	}, more...)...)
}

const (
	fcgiBegin = "\x00\x01\x01\x00\x00\x00\x00\x00"
	fcgiEnd   = "\x00\x00\x00\x00\x00\x00\x00\x00"
)

// fcgiRequest is what a server like nginx sends for one request.
func fcgiRequest(id byte, path, stdin string, more ...string) string {
	all := fcgiParams(path, len(stdin), more...)
	out := fcgi(1, id, fcgiBegin, 0) + fcgi(4, id, all, len(all)%8) + fcgi(4, id, "", 0)
	for len(stdin) > 0 {
		n := min(len(stdin), 32768)
		out += fcgi(5, id, stdin[:n], 3)
		stdin = stdin[n:]
	}
	return out + fcgi(5, id, "", 0)
}

// fcgiResponse answers it.
func fcgiResponse(id byte, head, body string) string {
	out := fcgi(7, id, "a warning", 7) + fcgi(6, id, head+"\r\n\r\n", 5)
	for len(body) > 0 {
		n := min(len(body), 65535)
		out += fcgi(6, id, body[:n], 1)
		body = body[n:]
	}
	return out + fcgi(6, id, "", 0) + fcgi(3, id, fcgiEnd, 2)
}

// captured is what is captured of fcgiRequest: numbers and values of parameters, in their order.
func captured(path string) string {
	var b strings.Builder
	for _, p := range []struct {
		id    byte
		value string
	}{{1, "POST"}, {3, "/index.php"}, {2, path}, {7, "HTTP/1.1"}, {5, "shop"}, {6, "curl/8"}} {
		if len(p.value) > 255 {
			p.id, p.value = p.id|0x80, p.value[:255]
		}
		b.WriteString(string([]byte{p.id, byte(len(p.value))}) + p.value)
	}
	return b.String()
}

// cut cuts a text into random pieces of at most n bytes.
func cut(text string, server bool, n int, random *rand.Rand) []said {
	var all []said
	for len(text) > 0 {
		k := min(len(text), 1+random.IntN(n))
		all = append(all, said{server: server, text: text[:k], by: 1 + random.IntN(n)})
		text = text[k:]
	}
	return all
}

// A fcgiTold is what both halves of a FastCGI exchange must agree on.
type fcgiTold struct {
	Params, Stdout              string
	RequestBytes, ResponseBytes uint64
	Flags                       Flags
}

func fcgiSent(request, path, response, head string, flags Flags) fcgiTold {
	return fcgiTold{captured(path), head, uint64(len(request)), uint64(len(response)), flags}
}

func fcgiConversations() map[string]struct {
	talk []said
	end  int
	want []fcgiTold
} {
	type conversation = struct {
		talk []said
		end  int
		want []fcgiTold
	}
	const path, head = "/shop/orders/7?token=s3cret", "Status: 404 Not Found\r\nContent-Type: text/html"
	small, answer := fcgiRequest(1, path, ""), fcgiResponse(1, head, "")
	stdout := head + "\r\n\r\n"
	one := fcgiSent(small, path, answer, stdout, 0)
	body := strings.Repeat("b", 200_000)
	big, bigAnswer := fcgiRequest(1, path, body), fcgiResponse(1, head, body)
	bigStdout := (stdout + body)[:256]
	long := "/" + strings.Repeat("p", 400)
	all := map[string]conversation{
		"one":        {talk: []said{c(small), s(answer)}, want: []fcgiTold{one}},
		"kept alive": {talk: []said{c(small), s(answer), c(small), s(answer), c(small), s(answer)}, want: []fcgiTold{one, one, one}},
		"stays open": {end: staysOpen, talk: []said{c(small), s(answer)}, want: []fcgiTold{one}},
		"large bodies": {
			talk: []said{c(big), s(bigAnswer), c(small), s(answer)}, want: []fcgiTold{fcgiSent(big, path, bigAnswer, bigStdout, 0), one},
		},
		"long path":   {talk: []said{c(fcgiRequest(1, long, "")), s(answer)}, want: []fcgiTold{fcgiSent(fcgiRequest(1, long, ""), long, answer, stdout, RequestCut)}},
		"no response": {talk: []said{c(small)}, want: []fcgiTold{fcgiSent(small, path, "", "", NoResponse)}},
		"half a response": {
			end: serverCloses, talk: []said{c(small), s(answer[:len(answer)-2])},
			want: []fcgiTold{fcgiSent(small, path, answer[:len(answer)-2], stdout, ResponsePartial)},
		},
		"half a request": {
			talk: []said{c(small[:len(small)-8])}, want: []fcgiTold{fcgiSent(small[:len(small)-8], path, "", "", NoResponse|RequestPartial)},
		},
		"answered early": {
			talk: []said{c(big[:len(big)-100]), s(answer), c(big[len(big)-100:]), c(small), s(answer)},
			want: []fcgiTold{fcgiSent(big[:len(big)-100], path, answer, stdout, 0), one},
		},
		"multiplexed": {
			talk: []said{c(small), c(fcgiRequest(2, "/other", "")), s(fcgiResponse(2, "X: y", "")), s(answer), c(small), s(answer)},
			want: []fcgiTold{one, one},
		},
		"question to the server": {
			talk: []said{c(small), s(answer), c(fcgi(9, 0, params("FCGI_MAX_CONNS", ""), 0)), s(fcgi(10, 0, params("FCGI_MAX_CONNS", "1"), 4)), c(small), s(answer)},
			want: []fcgiTold{one, one},
		},
		"lost": {
			talk: []said{c(small), s("no record at all"), s("nor here"), c(small), s(answer)},
			want: []fcgiTold{fcgiSent(small, path, "no record at allnor here", "", Unframed), one},
		},
		"parameters in two records": {
			talk: func() []said {
				p := params("REQUEST_METHOD", "POST", "SCRIPT_NAME", "/index.php", "REQUEST_URI", path, "SERVER_PROTOCOL", "HTTP/1.1", "HTTP_HOST", "shop", "HTTP_USER_AGENT", "curl/8")
				at := strings.Index(p, "REQUEST_URI") + 4 // inside a name
				return []said{c(fcgi(1, 1, "\x00\x01\x00\x00\x00\x00\x00\x00", 0) + fcgi(4, 1, p[:at], 0) + fcgi(4, 1, p[at:at+11], 1) + fcgi(4, 1, p[at+11:], 0) + fcgi(4, 1, "", 0) + fcgi(5, 1, "", 0)), s(answer)}
			}(),
		},
		"not FastCGI": {talk: []said{c("\x01\x01\x00\x01\x00\x09\x00\x00123456789"), s("\x01\x06\x00\x01\x00\x00\x00\x00")}},
	}
	two := all["parameters in two records"]
	two.want = []fcgiTold{fcgiSent(two.talk[0].text, path, answer, stdout, 0)}
	all["parameters in two records"] = two
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // Any numbers will do.
		var talk []said
		n := []int{1, 3, 20, 700}[seed%4]
		for range 2 {
			talk = append(append(talk, cut(small, false, n, random)...), cut(answer, true, n, random)...)
		}
		all[fmt.Sprintf("cut %d", seed)] = conversation{talk: talk, want: []fcgiTold{one, one}}
	}
	return all
}

func checkFastCGI(t *testing.T, role Role, got []seen, want []fcgiTold) {
	t.Helper()
	var have []fcgiTold
	for _, e := range got {
		have = append(have, fcgiTold{e.request, e.response, e.RequestBytes, e.ResponseBytes, e.Flags &^ Keyed})
		if e.Protocol != FastCGI || e.Status != 0 || e.RequestStart == 0 || e.RequestEnd < e.RequestStart || (e.ResponseStart == 0) != (e.ResponseBytes == 0) {
			t.Errorf("role %d: %+v", role, e.Exchange)
		}
		if strings.Contains(e.request, "s3crets3cret") {
			t.Errorf("role %d: the query is captured: %q", role, e.request)
		}
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("role %d: -want +got\n%s", role, diff)
	}
}

func TestFastCGI(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		_, r := start(t, Options{Tier: tier})
		for name, v := range fcgiConversations() {
			t.Run(name, func(t *testing.T) {
				client, server := pipe(t, "tcp", "127.0.0.1:0")
				conversation{talk: v.talk, end: v.end}.hold(t, client, server)
				a, b := r.wait(t, Client, of(client), len(v.want)), r.wait(t, Server, of(server), len(v.want))
				checkFastCGI(t, Client, a, v.want)
				checkFastCGI(t, Server, b, v.want)
				sameExchanges(t, a, b)
			})
		}
	})
}
