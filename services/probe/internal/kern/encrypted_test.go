// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/busbar/busbar/services/probe/internal/tlshead"
)

// TestEncrypted has connections whose plaintext nobody sees: each becomes one record at its end, with what both ends began with.
func TestEncrypted(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		_, r := start(t, Options{Tier: tier})
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			client, server := pipe(t, "tcp", "127.0.0.1:0")
			sent, received := converse(t, client, server, version)
			var halves []seen
			for role, conn := range map[Role]net.Conn{Client: client, Server: server} {
				e := r.wait(t, role, of(conn), 1)[0]
				halves = append(halves, e)
				name, chosen, ok := tlshead.Parse([]byte(e.request), []byte(e.response))
				if e.Protocol != TLS || e.TLS != NoLibrary || !ok || string(name) != "shop.example" || chosen != version {
					t.Errorf("%+v: %q %x %v", e.Exchange, name, chosen, ok)
				}
				if e.RequestBytes != sent || e.ResponseBytes != received || e.Flags&^(RequestCut|ResponseCut) != Keyed {
					t.Errorf("role %d: %d and %d bytes, want %d and %d; flags %x", role, e.RequestBytes, e.ResponseBytes, sent, received, e.Flags)
				}
				if e.RequestStart == 0 || e.ResponseStart < e.RequestStart || e.RequestEnd < e.ResponseStart || e.ResponseEnd < e.ResponseStart {
					t.Errorf("role %d: times %d %d %d %d", role, e.RequestStart, e.RequestEnd, e.ResponseStart, e.ResponseEnd)
				}
			}
			if halves[0].RequestSeq != halves[1].RequestSeq || halves[0].TraceID != halves[1].TraceID {
				t.Errorf("halves of %d %x and %d %x", halves[0].RequestSeq, halves[0].TraceID, halves[1].RequestSeq, halves[1].TraceID)
			}
		}
	})
}

// TestEncryptedReports has a connection that is reported whenever something passes: each record has what passed since the one before,
// and what the connection began with.
func TestEncryptedReports(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		_, r := start(t, Options{Tier: tier, tlsReport: 1})
		client, server := pipe(t, "tcp", "127.0.0.1:0")
		sent, received := converse(t, client, server, tls.VersionTLS13)
		for role, conn := range map[Role]net.Conn{Client: client, Server: server} {
			var all []seen
			until(t, func() bool {
				all = r.on(role, of(conn))
				var request, response uint64
				for _, e := range all {
					request, response = request+e.RequestBytes, response+e.ResponseBytes
				}
				return request == sent && response == received
			}, func() { t.Fatalf("role %d: %d and %d bytes do not add up from %+v", role, sent, received, all) })
			if len(all) < 10 {
				t.Errorf("role %d: %d records", role, len(all))
			}
			checkReports(t, all)
		}
	})
}

func checkReports(t *testing.T, all []seen) {
	t.Helper()
	ids := map[[8]byte]bool{}
	var before uint64 // the end of the record before
	for i, e := range all {
		name, _, ok := tlshead.Parse([]byte(e.request), []byte(e.response))
		if e.Protocol != TLS || i > 0 && (!ok || string(name) != "shop.example") {
			t.Errorf("record %d: %q %+v", i, name, e.Exchange)
		}
		if want := Keyed; i == 0 && e.Flags&want == 0 || i > 0 && e.Flags&^(RequestCut|ResponseCut|NoResponse) != 0 || e.response != "" && e.Flags&NoResponse != 0 {
			t.Errorf("record %d has flags %x", i, e.Flags)
		}
		if e.RequestStart < before || ids[e.SpanID] {
			t.Errorf("record %d begins at %d, before %d, or has a known id: %x", i, e.RequestStart, before, e.SpanID)
		}
		before, ids[e.SpanID] = max(e.RequestStart, e.RequestEnd, e.ResponseEnd), true
	}
}

// converse shakes hands, sends some bytes both ways and closes. It returns how many bytes of ciphertext each end sent.
func converse(t *testing.T, client, server net.Conn, version uint16) (sent, received uint64) {
	t.Helper()
	certFile, keyFile := certificate(t)
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	countC, countS := &counted{Conn: client}, &counted{Conn: server}
	c := tls.Client(countC, &tls.Config{ServerName: "shop.example", InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
	s := tls.Server(countS, &tls.Config{Certificates: []tls.Certificate{pair}})
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(s, s)
		done <- errors.Join(err, s.Close())
	}()
	for range 5 {
		text := bytes.Repeat([]byte("x"), 40_000)
		if _, err := c.Write(text); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-done, c.Close()); err != nil {
		t.Fatal(err)
	}
	return countC.sent, countS.sent
}

type counted struct {
	net.Conn
	sent uint64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.sent += uint64(n)
	return n, err
}
