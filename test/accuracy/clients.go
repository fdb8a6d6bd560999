// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// client is a program whose client side is observed, while it talks to the reference server.
type client struct {
	key, title string
	secure     string // what shows the plaintext of its TLS; empty: it has none
	encrypted  bool   // it has TLS, and nothing shows the plaintext
	// argv returns the program for requests to a URL.
	argv func(w *workshop, url string, secure bool, plan []call) []string
	// argument follows the URL.
	argument string
	stdin    bool // it reads the plan, one request a line
	slow     bool // its connections with TLS take long
	cannot   map[string]string
}

// call is a request that a client is to make.
type call struct {
	method, path string
	size         int    // of the body of a POST
	flag         string // chunked, continue, close, bighead, unanswered, or nothing
}

func (c call) String() string { return fmt.Sprintf("%s %s %d %s", c.method, c.path, c.size, c.flag) }

// errand is a shape as a client's request can bring it about.
type errand struct {
	key, title string
	share      int
	make       func(id string) call
}

func errands() []errand {
	return []errand{
		{"keepalive", "GET, kept alive", 1, func(id string) call { return call{"GET", "/bytes/700/" + id, 0, ""} }},
		{"close", "GET, closed after each", 1, func(id string) call { return call{"GET", "/bytes/700/" + id, 0, "close"} }},
		{"post", "POST", 1, func(id string) call { return call{"POST", "/echo/" + id, 3000, ""} }},
		{"chunked", "chunked both ways", 1, func(id string) call { return call{"POST", "/chunked/5000/" + id, 3000, "chunked"} }},
		{"continue", "100 Continue", 1, func(id string) call { return call{"POST", "/echo/" + id, 3000, "continue"} }},
		{"nobody", "HEAD, 204, 304", 1, func(id string) call {
			switch id[len(id)-1] % 3 {
			case 0:
				return call{"HEAD", "/bytes/700/" + id, 0, ""}
			case 1:
				return call{"GET", "/status/204/" + id, 0, ""}
			}
			return call{"GET", "/status/304/" + id, 0, ""}
		}},
		{"bighead", "head of 3 KiB", 1, func(id string) call { return call{"GET", "/bytes/700/" + id, 0, "bighead"} }},
		{"large", "10 MB both ways", 50, func(id string) call { return call{"POST", "/echo/" + id, 10_000_000, ""} }},
		{"unanswered", "never answered", 1, func(id string) call { return call{"POST", "/drop/" + id, 10, "unanswered"} }},
	}
}

// reading returns the argv of a program that takes URL and certificate as arguments and the plan from standard input.
func reading(argv ...string) func(*workshop, string, bool, []call) []string {
	return func(w *workshop, url string, secure bool, _ []call) []string {
		args := append(w.expand(argv), url)
		if secure {
			args = append(args, w.path("cert.pem"))
		}
		return args
	}
}

func clients() []client {
	const (
		noExpect = "the client does not wait for 100"
		noChunks = "the client sends bodies with their length only"
		getOnly  = "the client is used for GET"
	)
	return []client{
		{key: "go", title: "Go net/http", secure: "crypto/tls", stdin: true, argv: reading("DIR/peer", "call")},
		{key: "python", title: "Python http.client", secure: "OpenSSL", stdin: true, argv: reading("PYTHON", "DIR/client.py"), cannot: map[string]string{"continue": noExpect}},
		{key: "asyncio", title: "Python asyncio", secure: "OpenSSL", stdin: true, argv: reading("PYTHON", "DIR/aioclient.py"), cannot: map[string]string{"continue": noExpect}},
		{key: "node", title: "Node.js", secure: "OpenSSL", stdin: true, argv: reading("node", "DIR/client.mjs")},
		{key: "curl", title: "curl", secure: "OpenSSL", argv: curl},
		{key: "wget", title: "wget", secure: "GnuTLS", slow: true, argv: wget, cannot: map[string]string{
			"post": getOnly, "chunked": getOnly, "continue": getOnly, "nobody": getOnly, "large": getOnly, "unanswered": getOnly,
		}},
		{key: "java", title: "Java HttpClient", encrypted: true, stdin: true, argv: reading("java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", "DIR", "Client")},
		{key: "php", title: "PHP streams", secure: "OpenSSL", stdin: true, slow: true, argv: reading("php", "DIR/client.php"), cannot: map[string]string{
			"keepalive": "the client closes after each response", "chunked": noChunks, "continue": noExpect,
		}},
		{key: "ruby", title: "Ruby Net::HTTP", secure: "OpenSSL", stdin: true, argv: reading("ruby", "DIR/client.rb")},
		{key: "rust", title: "Rust", stdin: true, argv: reading("DIR/client-rs"), cannot: map[string]string{"continue": noExpect}},
		{key: "c", title: "C", stdin: true, argv: reading("DIR/client-c"), cannot: map[string]string{"continue": noExpect}},
	}
}

// curl has all the requests in one configuration file, so that one process makes them.
func curl(w *workshop, url string, secure bool, plan []call) []string {
	var b strings.Builder
	for i, c := range plan {
		if i > 0 {
			b.WriteString("next\n")
		}
		fmt.Fprintf(&b, "url = %q\noutput = /dev/null\nsilent\nmax-time = 60\n", url+c.path)
		if secure {
			fmt.Fprintf(&b, "cacert = %q\n", w.path("cert.pem"))
		}
		switch c.method {
		case "HEAD":
			b.WriteString("head\n")
		case "POST":
			fmt.Fprintf(&b, "data-binary = \"@%s\"\n", w.body(c.size))
		}
		switch c.flag {
		case "chunked":
			b.WriteString("header = \"Transfer-Encoding: chunked\"\n")
		case "continue":
			b.WriteString("header = \"Expect: 100-continue\"\nexpect100-timeout = 60\n")
		case "close":
			b.WriteString("header = \"Connection: close\"\n")
		case "bighead":
			fmt.Fprintf(&b, "header = \"Cookie: session=%s\"\n", strings.Repeat("c", 3072))
		}
	}
	return []string{"curl", "-q", "-K", w.write("curl.conf", b.String())}
}

func wget(w *workshop, url string, secure bool, plan []call) []string {
	var b strings.Builder
	for _, c := range plan {
		b.WriteString(url + c.path + "\n")
	}
	args := []string{"wget", "--no-config", "--no-proxy", "--quiet", "--output-document=/dev/null", "--input-file=" + w.write("wget.urls", b.String())}
	if secure {
		args = append(args, "--ca-certificate="+w.path("cert.pem"))
	}
	switch plan[0].flag {
	case "close":
		args = append(args, "--no-http-keep-alive")
	case "bighead":
		args = append(args, "--header=Cookie: session="+strings.Repeat("c", 3072))
	}
	return args
}

// body returns the path of a file with n bytes to send.
func (w *workshop) body(n int) string {
	name := fmt.Sprintf("body-%d", n)
	w.bodies.Do(func() {
		for _, e := range errands() {
			c := e.make("0")
			w.write(fmt.Sprintf("body-%d", c.size), string(filler(c.size)))
		}
	})
	return filepath.Join(w.dir, name)
}
