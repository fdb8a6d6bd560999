// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/busbar/busbar/services/probe"
)

// nobody is the user and the group that have no privileges.
const nobody = 65534

// play is what this binary does in a role.
func play(role string, args []string) error {
	switch role {
	case "server":
		return playServer()
	case "client":
		n, err := strconv.Atoi(args[1])
		return errors.Join(err, playClient(args[0], n))
	case "exporter":
		return playExporter(args[0])
	case "probe":
		cfg := probe.Default()
		cfg.Bus.URL = args[0]
		return probe.Run(context.Background(), cfg)
	}
	return fmt.Errorf("unknown role %q", role)
}

// playServer answers with the status that the last element of the path names, and prints where it listens.
func playServer() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // of a test
		_, _ = io.Copy(io.Discard, r.Body)
		status, err := strconv.Atoi(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
		if err != nil {
			status = http.StatusOK
		}
		w.WriteHeader(status)
		if status != http.StatusNoContent {
			_, _ = io.WriteString(w, "body")
		}
	}))
}

// playExporter exports traces as an SDK does, between two requests.
func playExporter(base string) error {
	for _, path := range []string{"/app/before", "/v1/traces", "/app/after"} {
		resp, err := http.Post(base+path, "application/x-protobuf", strings.NewReader("x")) //nolint:noctx,gosec // of a test
		if err != nil {
			return err
		}
		if err := resp.Body.Close(); err != nil {
			return err
		}
	}
	return nil
}

// request returns the i-th request of a client.
func request(i int) (method string, status int) {
	methods := []string{http.MethodGet, http.MethodPost, http.MethodHead, http.MethodDelete}
	statuses := []int{http.StatusOK, http.StatusNoContent, http.StatusNotFound, http.StatusInternalServerError, http.StatusCreated}
	return methods[i%len(methods)], statuses[i%len(statuses)]
}

// playClient makes n requests, two thirds of them on kept connections.
func playClient(base string, n int) error {
	keep, closing := &http.Client{}, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for i := range n {
		method, status := request(i)
		var body io.Reader
		if method == http.MethodPost {
			body = strings.NewReader(strings.Repeat("x", i*37%5000))
		}
		req, err := http.NewRequest(method, fmt.Sprintf("%s/%d/%d?token=secret-%d", base, i, status, i), body) //nolint:noctx // of a test
		if err != nil {
			return err
		}
		req.Header.Set("User-Agent", "test/1")
		client := keep
		if i%3 == 0 {
			client = closing
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			return fmt.Errorf("%s: status %d, want %d", req.URL.Path, resp.StatusCode, status)
		}
	}
	return nil
}
