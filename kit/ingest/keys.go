// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/busbar/busbar/kit/metric"
)

const (
	lookAtKeys   = 500 * time.Millisecond
	maxTenant    = 64
	maxKeysBytes = 16 << 20
)

// Keys are the keys that senders show, and whose they are. They come from a file of lines "key tenant", in which empty lines and those
// that begin with # say nothing; a key may be given twice for the same tenant only. The file is read again when it changes, however it
// is replaced; one with a fault is refused as a whole, and the last good one stays. Keys are neither kept nor logged: what is kept is their
// HMAC under a secret of this process, so that neither the memory nor the time of a comparison tells anything of them.
type Keys struct {
	path    string
	secret  []byte
	tenants atomic.Pointer[map[[sha256.Size]byte]string]
	seen    [sha256.Size]byte // of the file that was tried last
	refused prometheus.Gauge
	log     *slog.Logger
}

// ReadKeys reads the file. Faults are named by line.
func ReadKeys(path, service string, reg prometheus.Registerer, log *slog.Logger) (*Keys, error) {
	k := &Keys{path: path, secret: make([]byte, sha256.Size), log: log}
	k.refused = metric.Register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "busbar_ingest_keys_refused", Help: "1 while the file of keys has a fault, and an earlier one is in force.",
	}, []string{"service"})).WithLabelValues(service)
	_, _ = rand.Read(k.secret) // never fails
	data, err := os.ReadFile(path)
	if err == nil {
		err = k.apply(data)
	}
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	return k, nil
}

// Run follows the file until ctx ends; then it returns nil.
func (k *Keys) Run(ctx context.Context) error {
	tick := time.NewTicker(lookAtKeys)
	defer tick.Stop()
	var before [sha256.Size]byte
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		data, err := os.ReadFile(k.path)
		now := sha256.Sum256(data)
		if err != nil || now != before || now == k.seen { // a change is taken once it has been seen twice: it is complete
			before = now
			continue
		}
		if err := k.apply(data); err != nil {
			k.refused.Set(1)
			k.log.Error("keys refused, the last good ones stay", "error", err)
			continue
		}
		k.refused.Set(0)
		k.log.Info("keys read", "keys", k.Len())
	}
}

func (k *Keys) apply(data []byte) error {
	k.seen = sha256.Sum256(data)
	if len(data) > maxKeysBytes {
		return fmt.Errorf("%s: longer than %d bytes", k.path, maxKeysBytes)
	}
	tenants := map[[sha256.Size]byte]string{}
	line := 0
	for text := range bytes.Lines(data) {
		line++
		fields := strings.Fields(string(text))
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 2 {
			return fmt.Errorf("%s:%d: want a key and a tenant, parted by spaces", k.path, line)
		}
		if err := checkTenant(fields[1]); err != nil {
			return fmt.Errorf("%s:%d: %w", k.path, line, err)
		}
		id := k.digest(fields[0])
		if other, ok := tenants[id]; ok && other != fields[1] {
			return fmt.Errorf("%s:%d: the key belongs to tenant %s already", k.path, line, other)
		}
		tenants[id] = fields[1]
	}
	if len(tenants) == 0 {
		return fmt.Errorf("%s: no key: nobody could send anything", k.path)
	}
	k.tenants.Store(&tenants)
	return nil
}

func (k *Keys) digest(key string) [sha256.Size]byte {
	h := hmac.New(sha256.New, k.secret)
	_, _ = h.Write([]byte(key))
	return [sha256.Size]byte(h.Sum(nil))
}

// Len returns how many keys there are.
func (k *Keys) Len() int { return len(*k.tenants.Load()) }

// Tenant returns whose a key is.
func (k *Keys) Tenant(key string) (tenant string, ok bool) {
	tenant, ok = (*k.tenants.Load())[k.digest(key)]
	return tenant, ok
}

// checkTenant says what is wrong with the name of a tenant. It becomes a token of subjects, and no two may share one.
func checkTenant(name string) error {
	if name == "" || len(name) > maxTenant ||
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return fmt.Errorf("a tenant is named by at most %d letters, digits, '-' and '_'", maxTenant)
	}
	return nil
}

// Tenants tells whose a request is.
type Tenants struct {
	Default string // of whoever shows no key, where none is asked for
	Header  string // names the header that senders may name their tenant in; empty: they may not. It means nothing where there are keys
	Keys    *Keys  // nil: none is asked for
}

// Of returns the tenant of a request, by the key it shows, which is empty if it shows none. It returns a Refusal: 401 without a key where one is
// asked for, 403 if nobody has it, 400 if the tenant that the header names cannot be.
func (t *Tenants) Of(key string, h http.Header) (tenant string, err error) {
	if t.Keys != nil {
		if key == "" {
			return "", Refuse(http.StatusUnauthorized, "no_key", "a key is asked for")
		}
		tenant, ok := t.Keys.Tenant(key)
		if !ok {
			return "", Refuse(http.StatusForbidden, "bad_key", "the key is not known")
		}
		return tenant, nil
	}
	if t.Header != "" {
		if tenant = h.Get(t.Header); tenant != "" {
			if err := checkTenant(tenant); err != nil {
				return "", Refuse(http.StatusBadRequest, "bad_tenant", "header %s: %w", t.Header, err)
			}
			return tenant, nil
		}
	}
	return t.Default, nil
}
