// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"flag"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Settings are what services that take data let their users choose. Begin with DefaultSettings.
type Settings struct {
	Tenant       string        // of whoever shows no key
	TenantHeader string        // names the header in which senders name their tenant; empty: none
	Keys         string        // file of keys; empty: none is asked for
	TLS          TLS           // without files: none
	QueueDir     string        // folder of the queue on disk; empty: none
	QueueBytes   int64         // its size
	Within       time.Duration // in which a request is answered, once it was received
	Limits       Limits
}

// DefaultSettings returns what holds without flags, for the tenant of that name.
func DefaultSettings(tenant string) Settings {
	s := Settings{Tenant: tenant, QueueBytes: defaultQueue, Within: defaultWithin}
	s.Limits.complete()
	return s
}

// Register adds the flags to fs.
func (s *Settings) Register(fs *flag.FlagSet) {
	fs.StringVar(&s.Tenant, "tenant", s.Tenant, "`NAME` of the tenant to whom belongs what comes without a key")
	fs.StringVar(&s.TenantHeader, "tenant-header", s.TenantHeader, "`NAME` of the header in which senders name their tenant, where there are no keys; none if empty")
	fs.StringVar(&s.Keys, "keys", s.Keys, "`FILE` of lines \"key tenant\": who shows none of these keys is refused; read again when it changes")
	fs.StringVar(&s.TLS.Cert, "tls-cert", s.TLS.Cert, "`FILE` with the server's certificate, PEM; read again when it changes")
	fs.StringVar(&s.TLS.Key, "tls-key", s.TLS.Key, "`FILE` with its key, PEM")
	fs.StringVar(&s.TLS.ClientCA, "tls-client-ca", s.TLS.ClientCA, "`FILE` with the authorities of which clients must show a certificate, PEM")
	fs.StringVar(&s.QueueDir, "queue-dir", s.QueueDir, "`FOLDER` of the queue on disk, for what comes while the bus is away; none if empty")
	fs.Var((*size)(&s.QueueBytes), "queue-size", "`SIZE` of that queue")
	fs.DurationVar(&s.Within, "answer-within", s.Within, "`DURATION` in which a request that was received is stored or refused")
	fs.Var((*size)(&s.Limits.Received), "max-body", "`SIZE` of a body as it comes")
	fs.Var((*size)(&s.Limits.Decoded), "max-decoded", "`SIZE` of a body after decompression")
	fs.Var((*size)(&s.Limits.Held), "max-held", "`SIZE` of the memory that all bodies may hold together")
	fs.Var((*size)(&s.Limits.TenantHeld), "max-held-tenant", "`SIZE` of the memory that bodies of one tenant may hold together")
	fs.IntVar(&s.Limits.Working, "max-requests", s.Limits.Working, "`NUMBER` of requests that are worked on at a time")
	fs.IntVar(&s.Limits.TenantWorking, "max-requests-tenant", s.Limits.TenantWorking, "`NUMBER` of those of one tenant")
}

// size is a flag in bytes: 512, 64KiB, 32MiB, 2GiB.
type size int64

func units() []struct {
	name  string
	bytes int64
} {
	return []struct {
		name  string
		bytes int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}
}

// String shows the size in the largest unit that it is a multiple of.
func (s *size) String() string {
	for _, u := range units() {
		if n := int64(*s); n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Set parses a size.
func (s *size) Set(text string) error {
	unit := int64(1)
	number := text
	for _, u := range units() {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			number, unit = rest, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/unit {
		return fmt.Errorf("want a size such as 64KiB, 32MiB or 2GiB")
	}
	*s = size(n * unit)
	return nil
}
