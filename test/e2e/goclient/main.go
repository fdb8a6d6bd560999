// SPDX-License-Identifier: Apache-2.0

// Command goclient makes the HTTP requests that it reads as JSON lines from standard input: {"method", "url", "body",
// "keepalive"}. It exits with 1 when a request has no answer.
package main

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
)

type request struct {
	Method    string `json:"method"`
	URL       string `json:"url"`
	Body      string `json:"body"`
	KeepAlive bool   `json:"keepalive"`
}

func main() {
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	in := json.NewDecoder(os.Stdin)
	for {
		var r request
		if err := in.Decode(&r); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		if err := do(client, r); err != nil {
			log.Fatal(err)
		}
	}
}

func do(client *http.Client, r request) error {
	req, err := http.NewRequest(r.Method, r.URL, strings.NewReader(r.Body)) //nolint:noctx // The program is the context.
	if err != nil {
		return err
	}
	req.Close = !r.KeepAlive
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}
