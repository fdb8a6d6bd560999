// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/busbar/busbar/kit/bus/bustest"
)

func TestHelp(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	err := program(t.Context(), []string{"--help"}, func(string) string { return "" }, &out, io.Discard)
	if !errors.Is(err, flag.ErrHelp) || !strings.Contains(out.String(), "BUSBAR_WORKERS") || !strings.Contains(out.String(), "BUSBAR_STORE") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// log collects what a program writes.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestLife(t *testing.T) {
	t.Parallel()
	server := bustest.Listen(t)
	var stderr log
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	address := freeAddress(t)
	env := map[string]string{"BUSBAR_NATS_URL": server.URL(), "BUSBAR_ADMIN": address}
	go func() {
		ended <- program(ctx, []string{"--log-format=json"}, func(k string) string { return env[k] }, io.Discard, &stderr)
	}()
	bustest.Eventually(t, "plan in force", func() bool { return strings.Contains(stderr.String(), "plan in force") })
	bustest.Eventually(t, "ready", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }()
		page, err := io.ReadAll(res.Body)
		return err == nil && regexp.MustCompile(`busbar_bus_connected\{client="busbar-router"\} 1`).Match(page)
	})
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("%v\n%s", err, stderr.String())
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
