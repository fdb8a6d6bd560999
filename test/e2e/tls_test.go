// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
)

// tlsPerPair is the number of requests of each client to each of the four servers.
const tlsPerPair = 250

// TestTLS: every client makes 1,000 requests by https to unmodified servers of four kinds. The plaintext of each is seen on both
// sides, once, through the right library and with the same wire key, for each version of TLS.
func TestTLS(t *testing.T) {
	needRoot(t)
	for _, version := range []string{"TLSv1.2", "TLSv1.3"} {
		t.Run(version, func(t *testing.T) {
			cert, key := certificate(t)
			s := allInOne(t)
			raw := listenRaw(t, s.nats)
			servers := startTLSServers(t, version, cert, key)
			for _, c := range tlsClients(cert) {
				t.Run(c.service, func(t *testing.T) {
					warmUp(t, raw, c, servers[0])
					sent := map[string]bool{}
					var rs []request
					for _, s := range servers {
						for _, r := range tlsPlan(s, c, tlsPerPair) {
							rs = append(rs, r)
							sent[r.path] = true
						}
					}
					c.run(t, rs)
					checkTLS(t, raw, "/"+c.service+"/", sent, c.library)
				})
			}
		})
	}
}

// certificate writes the certificate of 127.0.0.1 and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})))
	return cert, key
}

// startTLSServers starts an HTTPS server of each kind. Those that do not take the version from elsewhere leave it to nginx and to
// OpenSSL's configuration.
func startTLSServers(t *testing.T, version, cert, key string) []server {
	t.Helper()
	dir := t.TempDir()
	openssl := filepath.Join(dir, "openssl.cnf")
	write(t, openssl, "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = system\n[system]\nMaxProtocol = "+version+"\n")
	env := []string{"OPENSSL_CONF=" + openssl}
	nginx, err := os.ReadFile("testdata/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	servers := []server{
		{"python", freeAddress(t)}, {"asyncio", freeAddress(t)}, {"node", freeAddress(t)}, {"nginx", freeAddress(t)},
	}
	conf := filepath.Join(dir, "nginx.conf")
	listen := fmt.Sprintf("%s ssl; ssl_certificate %s; ssl_certificate_key %s; ssl_protocols %s", servers[3].address, cert, key, version)
	write(t, conf, strings.NewReplacer("DIR", dir, "LISTEN", listen, `return 200 "xx"`, `return 200 "`+strings.Repeat("x", 3000)+`"`).Replace(string(nginx)))
	start(t, env, "python3", "testdata/server.py", servers[0].address, cert, key)
	start(t, env, "python3", "testdata/server_asyncio.py", servers[1].address, cert, key)
	start(t, nil, "node", "--tls-max-"+strings.ToLower(strings.TrimPrefix(version, "TLS")), "testdata/server.mjs", servers[2].address, cert, key)
	start(t, nil, "/usr/sbin/nginx", "-c", conf)
	for _, s := range servers {
		wait(t, 30*time.Second, s.service+" to listen", func() bool { return dials(s.address) })
	}
	return servers
}

// tlsClient makes requests through a TLS library.
type tlsClient struct {
	httpClient
	library eventv1.TlsLibrary
}

func tlsClients(cert string) []tlsClient {
	trust := []string{"SSL_CERT_FILE=" + cert, "NODE_EXTRA_CA_CERTS=" + cert, "CURL_CA_BUNDLE=" + cert}
	json := func(service string, program ...string) tlsClient {
		return tlsClient{httpClient{service, func(t *testing.T, rs []request) {
			t.Helper()
			jsonClient(service, append([]string{"env"}, append(trust, program...)...)...)(t, rs)
		}}, eventv1.TlsLibrary_TLS_LIBRARY_OPENSSL}
	}
	return []tlsClient{
		json("client-python", "python3", "testdata/client.py"),
		json("client-node", "node", "testdata/client.mjs"),
		json("client-ruby", "ruby", "testdata/client.rb"),
		json("client-php", "php", "-d", "openssl.cafile="+cert, "testdata/client.php"),
		{httpClient{"curl", func(t *testing.T, rs []request) { t.Helper(); curlTLS(t, cert, rs) }}, eventv1.TlsLibrary_TLS_LIBRARY_OPENSSL},
		{httpClient{"wget", func(t *testing.T, rs []request) { t.Helper(); wget(t, cert, rs) }}, eventv1.TlsLibrary_TLS_LIBRARY_GNUTLS},
	}
}

// curlTLS makes ten requests in each process.
func curlTLS(t *testing.T, cert string, rs []request) {
	t.Helper()
	for len(rs) > 0 {
		n := min(10, len(rs))
		args := []string{"--silent", "--show-error", "--cacert", cert}
		for _, r := range rs[:n] {
			args = append(args, "--output", "/dev/null", r.URL)
		}
		run(t, "curl", args...)
		rs = rs[n:]
	}
}

// wget makes all requests in one process.
func wget(t *testing.T, cert string, rs []request) {
	t.Helper()
	var urls strings.Builder
	for _, r := range rs {
		fmt.Fprintln(&urls, r.URL)
	}
	cmd := exec.CommandContext(t.Context(), "wget", "--quiet", "--output-document=/dev/null", "--ca-certificate="+cert, "--input-file=-")
	cmd.Stdin = strings.NewReader(urls.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("wget: %v\n%s", err, out)
	}
}

func tlsPlan(s server, c tlsClient, n int) []request {
	rs := make([]request, n)
	for i := range rs {
		path := fmt.Sprintf("/%s/%s/%d", c.service, s.service, i)
		rs[i] = request{Method: "GET", KeepAlive: i%4 != 0, path: path, URL: fmt.Sprintf("https://%s%s?size=%d", s.address, path, []int{2, 700, 40_000}[i%3])}
	}
	return rs
}

// warmUp makes requests until both sides of one are seen: the first process that uses a library may come before the library is
// hooked.
func warmUp(t *testing.T, raw *rawTap, c tlsClient, s server) {
	t.Helper()
	prefix, n := "/warm-up/"+c.service+"/"+s.service, 0
	wait(t, 30*time.Second, "the libraries of "+c.service+" and "+s.service+" to be hooked", func() bool {
		n++
		c.run(t, []request{{Method: "GET", URL: fmt.Sprintf("https://%s%s/%d?size=2", s.address, prefix, n)}})
		clients, servers := raw.halves(prefix)
		return len(clients) > 0 && len(servers) > 0
	})
}

func checkTLS(t *testing.T, raw *rawTap, prefix string, sent map[string]bool, library eventv1.TlsLibrary) {
	t.Helper()
	settle(t, func() int {
		clients, servers := raw.halves(prefix)
		return len(clients) + len(servers)
	})
	clients, servers := raw.halves(prefix)
	if len(clients) != len(sent) || len(servers) != len(sent) {
		t.Errorf("%d client halves and %d server halves of %d exchanges", len(clients), len(servers), len(sent))
	}
	wrong := 0
	for path := range sent {
		c, s := clients[path], servers[path]
		if c.key == s.key && c.key != "" && c.peer == s.local && c.library == library && s.library == eventv1.TlsLibrary_TLS_LIBRARY_OPENSSL {
			continue
		}
		if wrong++; wrong < 10 {
			t.Errorf("%s: client %s %v %v, server %s %v %v", path, c.key, c.peer, c.library, s.key, s.local, s.library)
		}
	}
	for _, path := range raw.twice {
		if sent[path] {
			t.Errorf("%s: a half came twice", path)
		}
	}
	if wrong > 0 {
		t.Errorf("%d exchanges are not the same on both sides", wrong)
	}
}
