// SPDX-License-Identifier: Apache-2.0

package httphead_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/busbar/busbar/services/probe/internal/httphead"
)

// request is httphead.Request with strings, for tables.
type request struct {
	Method, Path, Host, UserAgent string
	Minor                         uint8
	Truncated                     bool
}

func parse(head string) (request, bool) {
	r, ok := httphead.ParseRequest([]byte(head))
	return request{string(r.Method), string(r.Path), string(r.Host), string(r.UserAgent), r.Minor, r.PathTruncated}, ok
}

func TestParseRequest(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		head string
		want request
	}{
		"origin form": {
			"GET /users/7 HTTP/1.1\r\nHost: shop:8080\r\nUser-Agent: curl/8\r\n\r\n",
			request{Method: "GET", Path: "/users/7", Host: "shop:8080", UserAgent: "curl/8", Minor: 1},
		},
		"query and fragment go": {
			"GET /a?token=secret#frag HTTP/1.1\r\nhOsT:shop\r\n\r\n",
			request{Method: "GET", Path: "/a", Host: "shop", Minor: 1},
		},
		"fragment alone": {"GET /a#frag HTTP/1.1\r\n\r\n", request{Method: "GET", Path: "/a", Minor: 1}},
		"bare newlines": {
			"PUT / HTTP/1.0\nuser-agent:  x \nhost: h\n\n",
			request{Method: "PUT", Path: "/", Host: "h", UserAgent: "x"},
		},
		"any token":        {"x-my.own~method! /a HTTP/1.1\r\n\r\n", request{Method: "x-my.own~method!", Path: "/a", Minor: 1}},
		"no version":       {"GET /old\r\n", request{Method: "GET", Path: "/old", Minor: 1}},
		"space in target":  {"GET /a b?k=v HTTP/1.1\r\n\r\n", request{Method: "GET", Path: "/a", Minor: 1}},
		"absolute form":    {"GET http://u:p@shop:81/a?b=c HTTP/1.1\r\nHost: other\r\n\r\n", request{Method: "GET", Path: "/a", Host: "shop:81", Minor: 1}},
		"absolute, bare":   {"GET http://shop HTTP/1.1\r\n\r\n", request{Method: "GET", Path: "/", Host: "shop", Minor: 1}},
		"absolute, query":  {"GET http://shop?k=v HTTP/1.1\r\n\r\n", request{Method: "GET", Path: "/", Host: "shop", Minor: 1}},
		"authority form":   {"CONNECT u:p@shop:443 HTTP/1.1\r\nHost: shop:443\r\n\r\n", request{Method: "CONNECT", Path: "shop:443", Host: "shop:443", Minor: 1}},
		"asterisk form":    {"OPTIONS * HTTP/1.1\r\n\r\n", request{Method: "OPTIONS", Path: "*", Minor: 1}},
		"no known form":    {"GET secret@host HTTP/1.1\r\n\r\n", request{Method: "GET", Minor: 1}},
		"cut in path":      {"GET /users/12", request{Method: "GET", Path: "/users/12", Minor: 1, Truncated: true}},
		"cut in query":     {"GET /users?tok", request{Method: "GET", Path: "/users", Minor: 1}},
		"cut in version":   {"GET /users HTT", request{Method: "GET", Path: "/users", Minor: 1}},
		"cut in user":      {"GET http://user:pa", request{Method: "GET", Minor: 1, Truncated: true}},
		"cut in connect":   {"CONNECT user:pa", request{Method: "CONNECT", Minor: 1, Truncated: true}},
		"cut in scheme":    {"GET htt", request{Method: "GET", Minor: 1, Truncated: true}},
		"cut in abs. path": {"GET http://u:p@shop/a/b", request{Method: "GET", Path: "/a/b", Host: "shop", Minor: 1, Truncated: true}},
		"cut in host":      {"GET / HTTP/1.1\r\nHost: shop.exam", request{Method: "GET", Path: "/", Minor: 1}},
		"host with user":   {"GET / HTTP/1.1\r\nHost: u:p@shop\r\n\r\n", request{Method: "GET", Path: "/", Host: "shop", Minor: 1}},
		"host with query":  {"GET / HTTP/1.1\r\nHost: shop/?k=v\r\n\r\n", request{Method: "GET", Path: "/", Minor: 1}},
		"first host wins":  {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", request{Method: "GET", Path: "/", Host: "a", Minor: 1}},
		"body is no field": {"POST / HTTP/1.1\r\n\r\nHost: b\r\n", request{Method: "POST", Path: "/", Minor: 1}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := parse(c.head)
			if !ok {
				t.Fatalf("ParseRequest(%q) refused", c.head)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("ParseRequest(%q) (-want +got):\n%s", c.head, d)
			}
		})
	}
}

func TestParseRequestRefuses(t *testing.T) {
	t.Parallel()
	for _, head := range []string{"", "GET", " /", "g(t / HTTP/1.1", "\x16\x03\x01", strings.Repeat("A", 40) + " /", "HTTP/1.1 200 OK"} {
		if got, ok := parse(head); ok {
			t.Errorf("ParseRequest(%q) = %+v, want refusal", head, got)
		}
	}
}

// FuzzParseRequest holds that nothing that must stay on the node is in a result, that every cut of a head gives a path that
// begins the path of the whole, and that parsing takes no memory.
func FuzzParseRequest(f *testing.F) {
	f.Add([]byte("GET http://u:p@shop:81/a?b=c#d HTTP/1.1\r\nHost: other\r\nUser-Agent: x\r\n\r\n"), uint16(14))
	f.Add([]byte("CONNECT u:p@shop:443 HTTP/1.1\r\n\r\n"), uint16(12))
	f.Add([]byte("OPTIONS * HTTP/1.0\n\n"), uint16(9))
	f.Fuzz(func(t *testing.T, head []byte, cut uint16) {
		whole, ok := httphead.ParseRequest(head)
		if bytes.ContainsAny(whole.Path, "?#") || bytes.ContainsAny(whole.Host, "?#@/") {
			t.Fatalf("%q: path %q host %q", head, whole.Path, whole.Host)
		}
		if string(whole.Method) == "CONNECT" && bytes.ContainsAny(whole.Path, "@/") {
			t.Fatalf("%q: authority %q", head, whole.Path)
		}
		part, _ := httphead.ParseRequest(head[:int(cut)%(len(head)+1)])
		if ok && part.Method != nil && !bytes.HasPrefix(whole.Path, part.Path) && !bytes.Equal(part.Path, []byte("*")) {
			t.Fatalf("%q: path %q, cut %q", head, whole.Path, part.Path)
		}
	})
}

func BenchmarkParseRequest(b *testing.B) {
	head := []byte("GET /api/v1/users/12345/orders?token=secret HTTP/1.1\r\nHost: shop.example:8080\r\nAccept: */*\r\n" +
		"Accept-Encoding: gzip, deflate\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nConnection: keep-alive\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := httphead.ParseRequest(head); !ok {
			b.Fatal("refused")
		}
	}
}
