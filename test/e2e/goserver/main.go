// SPDX-License-Identifier: Apache-2.0

// Command goserver is an HTTP server that knows nothing of Busbar. It answers any path with the status that the query
// asks for (?code=404) and a body of ?size= bytes.
package main

import (
	"bytes"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
)

func main() {
	addr := flag.String("listen", "127.0.0.1:0", "`address` to listen on")
	flag.Parse()
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(l, http.HandlerFunc(answer))) //nolint:gosec // A test server without time-outs is what is wanted.
}

func answer(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	code := number(r, "code", http.StatusOK)
	w.WriteHeader(code)
	if code != http.StatusNoContent && code != http.StatusNotModified && r.Method != http.MethodHead {
		_, _ = w.Write(bytes.Repeat([]byte("x"), number(r, "size", 2)))
	}
}

func number(r *http.Request, key string, otherwise int) int {
	n, err := strconv.Atoi(r.URL.Query().Get(key))
	if err != nil {
		return otherwise
	}
	return n
}
