// SPDX-License-Identifier: Apache-2.0

package tlshead

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/http/httptest"
	"testing"
)

// tap keeps what is written through it.
type tap struct {
	net.Conn
	said bytes.Buffer
}

func (t *tap) Write(b []byte) (int, error) {
	t.said.Write(b)
	return t.Conn.Write(b)
}

// talk has a real client and a real server shake hands, and returns what each began with.
func talk(t testing.TB, name string, version uint16) (client, server []byte) {
	t.Helper()
	helper := httptest.NewUnstartedServer(nil)
	helper.StartTLS()
	defer helper.Close()
	a, b := net.Pipe()
	c, s := &tap{Conn: a}, &tap{Conn: b}
	done := make(chan error, 1)
	go func() {
		done <- tls.Server(s, &tls.Config{Certificates: helper.TLS.Certificates, MaxVersion: version, SessionTicketsDisabled: true}).Handshake()
	}()
	err := tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: true, MaxVersion: tls.VersionTLS13}).Handshake() //nolint:gosec // of a test
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c.said.Bytes(), s.said.Bytes()
}

func TestParse(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client, server := talk(t, "shop.example", version)
		if name, got, ok := Parse(client, server); string(name) != "shop.example" || got != version || !ok {
			t.Errorf("%x: %q %x %v", version, name, got, ok)
		}
		if name, got, ok := Parse(client, nil); string(name) != "shop.example" || got != 0 || !ok {
			t.Errorf("%x without a server: %q %x %v", version, name, got, ok)
		}
		if _, _, ok := Parse(server, client); ok {
			t.Errorf("%x: a ServerHello is taken for a ClientHello", version)
		}
		for n := range client { // an end anywhere gives the name or none, never a part of it
			if name, _, _ := Parse(client[:n], server[:min(n, len(server))]); len(name) > 0 && string(name) != "shop.example" {
				t.Fatalf("%x: %q of %d bytes", version, name, n)
			}
		}
	}
	client, _ := talk(t, "10.0.0.1", tls.VersionTLS13) // addresses are not sent
	if name, _, ok := Parse(client, nil); len(name) > 0 || !ok {
		t.Errorf("%q %v", name, ok)
	}
}

func FuzzParse(f *testing.F) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client, server := talk(f, "shop.example", version)
		f.Add(client, server)
	}
	f.Fuzz(func(t *testing.T, client, server []byte) {
		if name, _, ok := Parse(client, server); !ok && len(name) > 0 || len(name) > maxName || !bytes.Contains(client, name) {
			t.Errorf("%q %v", name, ok)
		}
	})
}
