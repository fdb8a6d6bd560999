// SPDX-License-Identifier: Apache-2.0

package kern

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
