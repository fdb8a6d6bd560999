// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// noHTTP2 keeps a server at HTTP/1.1.
func noHTTP2() map[string]func(*http.Server, *tls.Conn, http.Handler) {
	return map[string]func(*http.Server, *tls.Conn, http.Handler){}
}

// call makes the requests of standard input, one a line: METHOD PATH SIZE FLAGS, one after the other.
func call(args []string) error {
	transport := &http.Transport{ExpectContinueTimeout: time.Minute, DisableCompression: true}
	if len(args) > 1 {
		pem, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool} //nolint:gosec // The default is what is tested.
	}
	client := &http.Client{Transport: transport}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if err := one(client, args[0], f[0], f[1], f[2], f[3:]); err != nil && !slices.Contains(f, "unanswered") {
			return err
		}
	}
	return lines.Err()
}

func one(client *http.Client, url, method, path, size string, flags []string) error {
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(filler(n))
	}
	r, err := http.NewRequest(method, url+path, body)
	if err != nil {
		return err
	}
	r.Close = slices.Contains(flags, "close")
	if slices.Contains(flags, "chunked") {
		r.ContentLength = -1
	}
	if slices.Contains(flags, "continue") {
		r.Header.Set("Expect", "100-continue")
	}
	if slices.Contains(flags, "bighead") {
		r.Header.Set("Cookie", "session="+strings.Repeat("c", 3072))
	}
	res, err := client.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}
