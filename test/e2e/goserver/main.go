// SPDX-License-Identifier: Apache-2.0

// Command goserver is an HTTP server that knows nothing of Busbar. It answers any path with the status that the query
// asks for (?code=404) and a body of ?size= bytes. With -forward it asks another server first, with -cert and -key it speaks TLS.
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
	forward := flag.String("forward", "", "`URL` to get before each answer")
	cert := flag.String("cert", "", "`file` with the certificate")
	key := flag.String("key", "", "`file` with its key")
	flag.Parse()
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: handler(*forward)} //nolint:gosec // A test server without time-outs is what is wanted.
	if *cert != "" {
		log.Fatal(server.ServeTLS(l, *cert, *key))
	}
	log.Fatal(server.Serve(l))
}

func handler(forward string) http.HandlerFunc {
	if forward == "" {
		return answer
	}
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 100
	return func(w http.ResponseWriter, r *http.Request) {
		ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, forward, nil)
		if err != nil {
			log.Fatal(err)
		}
		res, err := http.DefaultClient.Do(ask)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		answer(w, r)
	}
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
