// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	elffile "github.com/busbar/busbar/services/probe/internal/hook"
	"github.com/busbar/busbar/services/probe/internal/tlshead"
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

// program starts a program that is observed and has its TLS libraries hooked before it does anything of interest: it must print
// a line when it has loaded them, and then wait for one. It returns what else it prints.
type program struct {
	cmd    *exec.Cmd
	stdin  *os.File
	lines  *bufio.Reader
	stderr bytes.Buffer
}

func (k *Kern) launch(t *testing.T, name string, args ...string) *program {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(err)
	}
	p := &program{cmd: exec.CommandContext(context.WithoutCancel(t.Context()), path, args...)}
	in, stdin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	p.cmd.Stdin, p.cmd.Stderr = in, &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	p.line(t)
	pid := uint32(p.cmd.Process.Pid)
	if err := k.Decide(pid, Verdict{Observe: true, TLS: true}); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *program) line(t *testing.T) string {
	t.Helper()
	line, err := p.lines.ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %v\n%s", p.cmd.Args, err, p.stderr.String())
	}
	return strings.TrimSpace(line)
}

func (p *program) tell(t *testing.T, line string) {
	t.Helper()
	if _, err := fmt.Fprintln(p.stdin, line); err != nil {
		t.Fatal(err)
	}
}

// hookFile hooks the TLS functions of a file for the length of the test.
func (k *Kern) hookFile(t *testing.T, path string) {
	t.Helper()
	found, err := elffile.Places(path, TLSFunctions())
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: %v %v", path, found, err)
	}
	c, err := k.AttachTLS(path, found)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// The servers answer requests on kept-alive connections with their own path as body; they print their port.
const pythonSync = `
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
print("loaded", flush=True); sys.stdin.readline()
http.server.ThreadingHTTPServer.request_queue_size = 128
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_address[1], flush=True)
server.serve_forever()
`

const pythonAsync = `
import asyncio, re, ssl, sys
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            if length: await reader.readexactly(int(length[1]))
            body = head.split(b" ")[1]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
print("loaded", flush=True); sys.stdin.readline()
asyncio.run(main())
`

const nodeServer = `
const https = require("https"), fs = require("fs");
console.log("loaded");
process.stdin.once("data", () => {
  const server = https.createServer({cert: fs.readFileSync(process.argv[1]), key: fs.readFileSync(process.argv[2])},
    (req, res) => { res.setHeader("Content-Length", req.url.length); req.resume().on("end", () => res.end(req.url)); });
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
});
`

// The clients send to the port a number of requests one after the other on as many connections at once.
const pythonSyncClient = `
import http.client, ssl, sys, threading
context = ssl.create_default_context(cafile=sys.argv[1])
version = getattr(ssl.TLSVersion, sys.argv[2])
context.minimum_version = context.maximum_version = version
print("loaded", flush=True)
port, connections, requests = map(int, sys.stdin.readline().split())
def talk(n):
    c = http.client.HTTPSConnection("localhost", port, context=context)
    for i in range(requests):
        c.request("GET", "/%d/%d" % (n, i))
        assert c.getresponse().read() == b"/%d/%d" % (n, i)
    c.close()
threads = [threading.Thread(target=talk, args=(n,)) for n in range(connections)]
for t in threads: t.start()
for t in threads: t.join()
print("done", flush=True); sys.stdin.readline()
`

const pythonAsyncClient = `
import asyncio, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
version = getattr(ssl.TLSVersion, sys.argv[2])
context.minimum_version = context.maximum_version = version
print("loaded", flush=True)
port, connections, requests = map(int, sys.stdin.readline().split())
async def talk(n):
    reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
    for i in range(requests):
        writer.write(b"GET /%d/%d HTTP/1.1\r\nHost: x\r\n\r\n" % (n, i))
        head = await reader.readuntil(b"\r\n\r\n")
        body = b"/%d/%d" % (n, i)
        assert await reader.readexactly(len(body)) == body
    writer.close()
    await writer.wait_closed()
async def main(): await asyncio.gather(*(talk(n) for n in range(connections)))
asyncio.run(main())
print("done", flush=True); sys.stdin.readline()
`

const nodeClient = `
const https = require("https"), fs = require("fs");
const version = {TLSv1_2: "TLSv1.2", TLSv1_3: "TLSv1.3"}[process.argv[2]];
const ca = fs.readFileSync(process.argv[1]);
console.log("loaded");
process.stdin.once("data", async (line) => {
  const [port, connections, requests] = line.toString().trim().split(" ").map(Number);
  const get = (agent, path) => new Promise((done, fail) => {
    https.get({host: "localhost", port, path, agent, ca, minVersion: version, maxVersion: version}, (res) => {
      let body = ""; res.on("data", (d) => body += d); res.on("end", () => body === path ? done() : fail(new Error(body)));
    }).on("error", fail);
  });
  await Promise.all([...Array(connections).keys()].map(async (n) => {
    const agent = new https.Agent({keepAlive: true, maxSockets: 1});
    for (let i = 0; i < requests; i++) await get(agent, ` + "`/${n}/${i}`" + `);
    agent.destroy();
  }));
  console.log("done");
});
`

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

// Both ends of three connections, whose last words cross the end of the connection: the server goes while what the client says to end
// TLS is still unread, so that it resets the connection; the client says it to a server that is gone, which resets it as well; the
// server aborts in the middle of a response.
const pythonEnds = `
import select, socket, ssl, struct, sys, threading
server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server_context.load_cert_chain(sys.argv[1], sys.argv[2])
client_context = ssl.create_default_context(cafile=sys.argv[1])
def shutdown(s, answered=None):
    s.setblocking(False)
    try: s.unwrap()
    except ssl.SSLWantReadError: pass
def connection(path, serve, gone):
    def work():
        s = server_context.wrap_socket(listener.accept()[0], server_side=True)
        while not s.recv(4096).endswith(b"\r\n\r\n"): pass
        serve(s, answered)
        s.close()
    listener, answered = socket.create_server(("127.0.0.1", 0)), threading.Event()
    thread = threading.Thread(target=work)
    thread.start()
    c = client_context.wrap_socket(socket.create_connection(listener.getsockname()), server_hostname="localhost")
    c.sendall(b"GET %s HTTP/1.0\r\n\r\n" % path)
    try:
        while c.recv(4096): answered.set()
    except ConnectionResetError: pass
    if gone: thread.join()
    try: shutdown(c)
    except OSError: pass
    thread.join()
    poll = select.poll()
    poll.register(c, 0)
    poll.poll() # until it has been reset
    c.close()
def unread(s, answered):
    s.sendall(b"HTTP/1.0 200 OK\r\n\r\nbody")
    shutdown(s)
    select.select([s], [], [])
def abort(s, answered):
    s.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nbody")
    answered.wait()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
print("loaded", flush=True); sys.stdin.readline()
for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
    client_context.minimum_version = client_context.maximum_version = version
    connection(b"/unread", unread, False)
    connection(b"/refused", shutdown, True)
    connection(b"/aborted", abort, True)
print("done", flush=True); sys.stdin.readline()
`

// TestTLSEnds tells connections that were reset with nothing left to be said from those that were reset before.
func TestTLSEnds(t *testing.T) {
	cert, key := certificate(t)
	want := map[string]Flags{"/unread": UntilClose, "/refused": NoResponse, "/aborted": Reset | ResponsePartial}
	eachTier(t, func(t *testing.T, tier string) {
		k, r := start(t, Options{Tier: tier})
		p := k.launch(t, "python3", "-c", pythonEnds, cert, key)
		k.hookMapped(t, p, map[string]bool{})
		p.tell(t, "go")
		p.line(t)
		for _, role := range []Role{Client, Server} {
			for i, e := range r.wait(t, role, ends{}, 2*len(want)) {
				path, _, _ := strings.Cut(strings.TrimPrefix(e.request, "GET "), " ")
				if flags, ok := want[path]; !ok || e.Flags&^Keyed != flags || e.TLS != OpenSSL {
					t.Errorf("%d, role %d, %s: flags %x, error %d, want %x", i, role, path, e.Flags, e.Error, flags)
				}
			}
		}
	})
}

// A client and a server that speak HTTP/2 over TLS, and say in it what looks like HTTP/1.
const nodeHTTP2 = `
const http2 = require("http2"), fs = require("fs"), trap = "GET /trap HTTP/1.1\r\n\r\n";
console.log("loaded");
process.stdin.once("data", () => {
  const server = http2.createSecureServer({cert: fs.readFileSync(process.argv[1]), key: fs.readFileSync(process.argv[2])});
  server.on("stream", (stream) => { stream.respond(); stream.end(trap); });
  server.listen(0, "127.0.0.1", () => {
    const client = http2.connect("https://localhost:" + server.address().port, {ca: fs.readFileSync(process.argv[1])});
    const stream = client.request({":method": "POST"});
    stream.resume(); stream.end(trap);
    stream.on("close", () => { client.close(() => console.log("done")); server.close(); });
  });
});
`

// TestTLSHTTP2 expects nothing of HTTP/2 but its connection.
func TestTLSHTTP2(t *testing.T) {
	cert, key := certificate(t)
	eachTier(t, func(t *testing.T, tier string) {
		k, r := start(t, Options{Tier: tier})
		p := k.launch(t, "node", "-e", nodeHTTP2, cert, key)
		k.hookMapped(t, p, map[string]bool{})
		p.tell(t, "go")
		p.line(t)
		for _, role := range []Role{Client, Server} {
			for _, e := range r.wait(t, role, ends{}, 1) {
				name, version, ok := tlshead.Parse([]byte(e.request), []byte(e.response))
				if e.Protocol != TLS || string(name) != "localhost" || version != tls.VersionTLS13 || !ok {
					t.Errorf("role %d: %+v %q", role, e.Exchange, e.request)
				}
			}
		}
		if n := r.total(); n != 2 {
			t.Errorf("%d records, want 2", n)
		}
	})
}

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
