// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/busbar/busbar/kit/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, ctx context.Context, a *admin.Admin) string { //nolint:revive // t comes first in tests
	t.Helper()
	port, err := a.Open(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(port.Close)
	return port.Addr()
}

func get(t *testing.T, addr, path string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	a := admin.New()
	ctx, stop := context.WithCancel(t.Context())
	addr := open(t, ctx, a)
	expect := func(status int, body string) {
		t.Helper()
		if gotStatus, got := get(t, addr, "/readyz"); gotStatus != status || got != body {
			t.Errorf("got %d %q, want %d %q", gotStatus, got, status, body)
		}
	}
	expect(503, "process: starting\n")
	removeBus := a.Check("bus", func() error { return errors.New("not connected") })
	a.Check("config", func() error { return errors.New("none read") })
	a.Check("probe", func() error { return nil })
	expect(503, "bus: not connected\nconfig: none read\n")
	removeBus()
	a.Check("config", func() error { return nil })
	expect(200, "ok\n")
	stop()
	expect(503, "process: stopping\n")
	if status, _ := get(t, addr, "/livez"); status != 200 {
		t.Errorf("livez: %d", status)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	a := admin.New()
	a.Drops().Add("router", "sampled", 3)
	a.Drops().Add("router", "sampled", -1)
	addr := open(t, t.Context(), a)
	for path, want := range map[string]string{
		"/livez":                    "ok",
		"/metrics":                  `busbar_dropped_records_total{reason="sampled",stage="router"} 3`,
		"/debug/pprof/":             "goroutine",
		"/debug/pprof/heap?debug=1": "heap profile",
		"/debug/pprof/cmdline":      "admin.test",
	} {
		if status, body := get(t, addr, path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d, without %q", path, status, want)
		}
	}
	if status, _ := get(t, addr, "/"); status != 404 {
		t.Errorf("/: %d", status)
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	addr := open(t, t.Context(), admin.New())
	_, err := admin.New().Open(t.Context(), addr)
	if err == nil || !strings.Contains(err.Error(), "open admin port: ") || !strings.Contains(err.Error(), addr) {
		t.Errorf("got %v", err)
	}
}

func TestLogger(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ format, want string }{
		{"json", `"level":"WARN","msg":"seen","n":1}`},
		{"text", "level=WARN msg=seen n=1"},
	} {
		var out bytes.Buffer
		log := admin.Logger(&out, slog.LevelWarn, tt.format)
		log.Info("not seen")
		log.Warn("seen", "n", 1)
		if got := out.String(); !strings.Contains(got, tt.want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: %q", tt.format, got)
		}
	}
}
