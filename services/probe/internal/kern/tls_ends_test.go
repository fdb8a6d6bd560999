// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/busbar/busbar/services/probe/internal/tlshead"
)

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
