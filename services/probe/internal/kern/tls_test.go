// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// certificate writes the certificate of localhost and its key to a folder and returns their files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
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
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TestTLSLibraries has every client talk to every server, many connections at once, and expects all exchanges of both sides with
// the same wire keys, each on its own connection.
func TestTLSLibraries(t *testing.T) {
	const connections, requests = 50, 4
	libpython := map[string][]string{
		"python sync": {"python3", "-c", pythonSync}, "python asyncio": {"python3", "-c", pythonAsync}, "node": {"node", "-e", nodeServer},
	}
	clients := map[string][]string{
		"python sync": {"python3", "-c", pythonSyncClient}, "python asyncio": {"python3", "-c", pythonAsyncClient}, "node": {"node", "-e", nodeClient},
	}
	cert, key := certificate(t)
	eachTier(t, func(tt *testing.T, tier string) {
		k, r := start(tt, Options{Tier: tier})
		hooked := map[string]bool{}
		for server, serverArgs := range libpython {
			s := k.launch(tt, serverArgs[0], append(serverArgs[1:], cert, key)...)
			k.hookMapped(tt, s, hooked)
			s.tell(tt, "go")
			port, err := strconv.Atoi(s.line(tt))
			if err != nil {
				tt.Fatal(err)
			}
			for client, clientArgs := range clients {
				for _, version := range []string{"TLSv1_2", "TLSv1_3"} {
					tt.Run(client+" to "+server+" "+version, func(t *testing.T) {
						before := len(r.exchanges)
						c := k.launch(t, clientArgs[0], append(clientArgs[1:], cert, version)...)
						k.hookMapped(tt, c, hooked)
						c.tell(t, fmt.Sprint(port, connections, requests))
						if line := c.line(t); line != "done" {
							t.Fatal(line)
						}
						checkTLS(t, r, before, uint16(port), connections, requests)
						if t.Failed() {
							t.Log(k.Drops(), k.Blemishes())
						}
					})
				}
			}
		}
	})
}

// TestTLSLarge sends large bodies, which look like requests in many places, to servers whose TLS library does not see the socket: there
// are more records in a receive than are kept, and still each exchange is right and nothing else is reported.
func TestTLSLarge(t *testing.T) {
	const connections, requests = 3, 3
	cert, key := certificate(t)
	body := strings.Repeat("GET /trap HTTP/1.1\r\nHost: x\r\n\r\n", 1<<16)
	eachTier(t, func(t *testing.T, tier string) {
		k, r := start(t, Options{Tier: tier})
		if err := k.Decide(uint32(os.Getpid()), Verdict{}); err != nil {
			t.Fatal(err)
		}
		hooked := map[string]bool{}
		for name, server := range map[string][]string{"python asyncio": {"python3", "-c", pythonAsync}, "node": {"node", "-e", nodeServer}} {
			t.Run(name, func(t *testing.T) {
				s := k.launch(t, server[0], append(server[1:], cert, key)...)
				k.hookMapped(t, s, hooked)
				s.tell(t, "go")
				address, err := netip.ParseAddrPort("127.0.0.1:" + s.line(t))
				if err != nil {
					t.Fatal(err)
				}
				var all sync.WaitGroup
				for n := range connections {
					all.Go(func() {
						client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
						defer client.CloseIdleConnections()
						for i := range requests {
							res, err := client.Post(fmt.Sprintf("https://%s/%d/%d", address, n, i), "text/plain", strings.NewReader(body))
							if err != nil {
								t.Error(err)
								return
							}
							_, _ = io.Copy(io.Discard, res.Body)
							_ = res.Body.Close()
						}
					})
				}
				all.Wait()
				got := r.wait(t, Server, ends{address}, connections*requests)
				if len(got) > connections*requests {
					t.Errorf("%d exchanges, want %d", len(got), connections*requests)
				}
				for _, e := range got {
					if e.Flags != Keyed || e.Status != 200 || e.RequestBytes != uint64(int(e.RequestHead)+len(body)) || strings.Contains(e.request[:10], "/trap") {
						t.Errorf("%.20q: %+v", e.request, e.Exchange)
					}
				}
			})
		}
	})
}

// A server and its clients that use a libssl of one's choice: they answer and send as those above, and all is over when they are.
const pythonLibrary = `
import ctypes, socket, sys, threading
cert, key, folder, version = sys.argv[1].encode(), sys.argv[2].encode(), sys.argv[3], int(sys.argv[4], 16)
ctypes.CDLL(folder + "/libcrypto.so.1.1", ctypes.RTLD_GLOBAL)
lib = ctypes.CDLL(folder + "/libssl.so.1.1")
for name in "TLS_method", "SSL_CTX_new", "SSL_new": getattr(lib, name).restype = ctypes.c_void_p
pointer = ctypes.c_void_p
context = pointer(lib.SSL_CTX_new(pointer(lib.TLS_method())))
assert lib.SSL_CTX_use_certificate_file(context, cert, 1) == 1 and lib.SSL_CTX_use_PrivateKey_file(context, key, 1) == 1
assert lib.SSL_CTX_ctrl(context, 124, ctypes.c_long(version), None) == 1 # SSL_CTRL_SET_MAX_PROTO_VERSION
class Connection:
    def __init__(self, sock, begin):
        self.sock, self.ssl = sock, pointer(lib.SSL_new(context))
        assert lib.SSL_set_fd(self.ssl, sock.fileno()) == 1 and begin(self.ssl) == 1
    def read(self):
        buffer = ctypes.create_string_buffer(4096)
        n = lib.SSL_read(self.ssl, buffer, 4096)
        return buffer.raw[:n] if n > 0 else b""
    def write(self, data): assert lib.SSL_write(self.ssl, data, len(data)) == len(data)
    def close(self):
        lib.SSL_shutdown(self.ssl); lib.SSL_free(self.ssl); self.sock.close()
def serve(sock):
    c = Connection(sock, lib.SSL_accept)
    while head := c.read():
        body = head.split(b" ")[1]
        c.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    c.close()
def talk(n, requests):
    c = Connection(socket.create_connection(listener.getsockname()), lib.SSL_connect)
    for i in range(requests):
        path = b"/%d/%d" % (n, i)
        c.write(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        assert c.read().endswith(b"\r\n\r\n" + path)
    c.close()
def run(target, *args):
    t = threading.Thread(target=target, args=args); t.start(); return t
print("loaded", flush=True)
connections, requests = map(int, sys.stdin.readline().split())
listener = socket.create_server(("127.0.0.1", 0), backlog=128)
print(listener.getsockname()[1], flush=True)
clients = [run(talk, n, requests) for n in range(connections)]
for t in clients + [run(serve, listener.accept()[0]) for _ in clients]: t.join()
print("done", flush=True); sys.stdin.readline()
`

// TestOpenSSL11 needs a folder with libssl.so.1.1 and libcrypto.so.1.1, which hack/deps openssl11 gets: they are too old for the
// systems on which tests run as a rule.
func TestOpenSSL11(t *testing.T) {
	const connections, requests = 20, 4
	folder := os.Getenv("OPENSSL11")
	if folder == "" {
		t.Skip("OPENSSL11 names no folder")
	}
	cert, key := certificate(t)
	eachTier(t, func(t *testing.T, tier string) {
		k, r := start(t, Options{Tier: tier})
		hooked := map[string]bool{}
		for name, version := range map[string]string{"1.2": "0303", "1.3": "0304"} {
			before := r.total()
			p := k.launch(t, "python3", "-c", pythonLibrary, cert, key, folder, version)
			k.hookMapped(t, p, hooked)
			p.tell(t, fmt.Sprint(connections, requests))
			port, err := strconv.Atoi(p.line(t))
			if err != nil {
				t.Fatal(err)
			}
			if line := p.line(t); line != "done" {
				t.Fatal(line)
			}
			checkTLS(t, r, before, uint16(port), connections, requests)
			if t.Failed() {
				t.Log(name, k.Drops(), k.Blemishes())
			}
		}
	})
}

// hookMapped hooks what a process has mapped, once.
func (k *Kern) hookMapped(t *testing.T, p *program, hooked map[string]bool) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		at := strings.IndexByte(line, '/')
		if at < 0 || !strings.Contains(line[:at], "r-xp") {
			continue
		}
		path := strings.TrimSpace(line[at:])
		if base := filepath.Base(path); hooked[path] || !strings.HasPrefix(base, "libssl") && !strings.HasPrefix(base, "libgnutls") && base != "node" {
			continue
		}
		hooked[path] = true
		k.hookFile(t, path)
	}
}

func checkTLS(t *testing.T, r *recorder, before int, port uint16, connections, requests int) {
	t.Helper()
	at := ends{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}
	_ = at
	var client, server map[string]seen
	until(t, func() bool {
		client, server = map[string]seen{}, map[string]seen{}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, e := range r.exchanges[before:] {
			if e.Protocol != HTTP {
				continue
			}
			line, _, _ := strings.Cut(e.request, "\r\n")
			if e.Role == Client && e.RemotePort == port {
				client[line] = e
			} else if e.Role == Server && e.LocalPort == port {
				server[line] = e
			}
		}
		return len(client) == connections*requests && len(server) == connections*requests
	}, func() {
		t.Errorf("%d client and %d server exchanges, want %d", len(client), len(server), connections*requests)
	})
	wrong, unkeyed, parentless := 0, 0, 0
	for line, c := range client {
		s, ok := server[line]
		switch {
		case !ok:
		case c.Local() != s.Remote() || c.Remote() != s.Local() || c.TLS == 0 || s.TLS == 0 || c.Status != 200 || s.Status != 200:
			wrong++
			t.Log(line, c.Local(), s.Remote(), c.Remote(), s.Local(), c.TLS, s.TLS, c.Status, s.Status)
		case c.Flags&Keyed == 0 || s.Flags&Keyed == 0:
			unkeyed++
			if unkeyed < 4 {
				t.Log("unkeyed", line, c.Flags&Keyed != 0, s.Flags&Keyed != 0)
			}
		case c.RequestSeq != s.RequestSeq:
			wrong++
			t.Log(line, "key", c.RequestSeq-c.OpenerISN, s.RequestSeq-c.OpenerISN)
		case s.ParentSpanID != c.SpanID:
			parentless++
		}
	}
	if wrong > 0 || unkeyed > 0 || parentless > 0 {
		t.Errorf("%d wrong, %d without key, %d without parent", wrong, unkeyed, parentless)
	}
}
