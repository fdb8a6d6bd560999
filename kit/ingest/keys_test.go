// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/busbar/busbar/kit/bus/bustest"
)

// log is a log that can be read while it is written.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestKeysAreFollowed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	write(t, path, "# of the shop\nsecret-1 shop\n\n  secret-2\tshop\r\nsecret-3 bank\n")
	var said log
	k, err := ReadKeys(path, "test", nil, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- k.Run(ctx) }()
	whose := func(key string) string {
		tenant, _ := k.Tenant(key)
		return tenant
	}
	if whose("secret-1") != "shop" || whose("secret-2") != "shop" || whose("secret-3") != "bank" || whose("secret-4") != "" || whose("") != "" {
		t.Error("keys are not whose they are")
	}
	write(t, path, "secret-1 shop\nsecret-4 bank\nsecret-5\n")
	bustest.Eventually(t, "a fault is refused", func() bool { return testutil.ToFloat64(k.refused) == 1 })
	if whose("secret-3") != "bank" || whose("secret-4") != "" {
		t.Error("a file with a fault is in force")
	}
	write(t, path, "secret-4 bank\n")
	bustest.Eventually(t, "a rotated key is known", func() bool { return whose("secret-4") == "bank" })
	if whose("secret-1") != "" || testutil.ToFloat64(k.refused) != 0 {
		t.Error("a key that was taken away is good still")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if text := said.String(); strings.Contains(text, "secret-") || !strings.Contains(text, "keys:3: want a key and a tenant") {
		t.Errorf("logged: %s", text)
	}
}

func TestFaultsOfKeys(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                  "no key",
		"# none\n":                          "no key",
		"secret\n":                          "keys:1: want a key and a tenant",
		"a b\nsecret x y\n":                 "keys:2: want a key and a tenant",
		"secret a.b\n":                      "keys:1: a tenant is named by",
		"secret a\nsecret b\n":              "keys:2: the key belongs to tenant a already",
		"secret " + strings.Repeat("x", 65): "keys:1: a tenant is named by",
	} {
		path := filepath.Join(t.TempDir(), "keys")
		write(t, path, text)
		_, err := ReadKeys(path, "test", nil, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := ReadKeys(filepath.Join(t.TempDir(), "keys"), "test", nil, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no file is no error")
	}
}

func TestTenants(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	write(t, path, "secret shop\n")
	keys, err := ReadKeys(path, "test", nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name        string
		of          Tenants
		key, header string
		tenant      string
		status      int
	}{
		{"nobody asks", Tenants{Default: "all", Header: ""}, "secret", "bank", "all", 0},
		{"a header", Tenants{Default: "all", Header: "X-Scope-OrgID"}, "", "bank", "bank", 0},
		{"no header", Tenants{Default: "all", Header: "X-Scope-OrgID"}, "", "", "all", 0},
		{"a bad header", Tenants{Default: "all", Header: "X-Scope-OrgID"}, "", "a.b", "", 400},
		{"a key", Tenants{Default: "all", Header: "X-Scope-OrgID", Keys: keys}, "secret", "bank", "shop", 0},
		{"another key", Tenants{Default: "all", Keys: keys}, "secret2", "", "", 403},
		{"no key", Tenants{Default: "all", Keys: keys}, "", "", "", 401},
	} {
		h := http.Header{}
		if tc.header != "" {
			h.Set("X-Scope-OrgID", tc.header)
		}
		tenant, err := tc.of.Of(tc.key, h)
		if tenant != tc.tenant || (err == nil) != (tc.status == 0) || err != nil && AsRefusal(err).Status != tc.status {
			t.Errorf("%s: %q, %v", tc.name, tenant, err)
		}
	}
}
