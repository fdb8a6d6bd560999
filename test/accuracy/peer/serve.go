// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net/http"
	"strconv"
	"strings"
)

// serve answers by path: /what/arguments…/id.
func serve(args []string) error {
	server := &http.Server{Handler: http.HandlerFunc(answer)} //nolint:gosec // Its clients are tests.
	server.Addr = "127.0.0.1:" + args[0]
	if len(args) < 4 {
		return server.ListenAndServe()
	}
	secure := &http.Server{Addr: "127.0.0.1:" + args[1], Handler: server.Handler, TLSNextProto: noHTTP2()} //nolint:gosec // The same.
	failed := make(chan error)
	go func() { failed <- secure.ListenAndServeTLS(args[2], args[3]) }()
	go func() { failed <- server.ListenAndServe() }()
	return <-failed
}

const trap = "HTTP/1.1 500 Trap\r\n\r\n"

func filler(n int) string { return strings.Repeat(trap, n/len(trap)+1)[:n] }

func answer(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(r.URL.Path, "/")
	number, _ := strconv.Atoi(path[2]) // where it is none, it is not asked for
	switch path[1] {
	case "early":
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		fallthrough
	case "bytes":
		w.Header().Set("Content-Length", path[2])
		_, _ = io.WriteString(w, filler(number))
	case "stream", "chunked", "trailers":
		body := filler(number)
		_, _ = io.Copy(io.Discard, r.Body)
		if path[1] == "trailers" {
			w.Header().Set("Trailer", "X-Sum")
			defer w.Header().Set("X-Sum", "1")
		}
		half := len(body) / 2
		_, _ = io.WriteString(w, body[:half])
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, body[half:])
	case "echo":
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	case "status":
		w.WriteHeader(number)
	case "part":
		w.Header().Set("Content-Length", path[3])
		_, _ = io.WriteString(w, filler(number))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case "upgrade":
		upgrade(w)
	default: // drop
		panic(http.ErrAbortHandler)
	}
}

func upgrade(w http.ResponseWriter) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer c.Close()
	_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	_ = rw.Flush()
	_, _ = io.Copy(c, rw)
}
