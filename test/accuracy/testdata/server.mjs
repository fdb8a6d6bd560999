// SPDX-License-Identifier: Apache-2.0
// node:http as everybody uses it: server.mjs PORT [TLSPORT CERTIFICATE KEY]
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";

const trap = "HTTP/1.1 500 Trap\r\n\r\n";
const filler = (n) => trap.repeat(Math.floor(n / trap.length) + 1).slice(0, n);

function answer(req, res, body) {
  const [, what, ...rest] = req.url.split("/");
  switch (what) {
    case "early":
      res.writeEarlyHints({ link: "</style.css>; rel=preload" });
    // falls through
    case "bytes":
      return res.writeHead(200, { "content-length": rest[0] }).end(filler(Number(rest[0])));
    case "stream":
    case "chunked":
    case "trailers": {
      const data = filler(Number(rest[0]));
      if (what === "trailers") {
        res.setHeader("trailer", "x-sum");
        res.addTrailers({ "x-sum": "1" });
      }
      res.write(data.slice(0, 100));
      return setImmediate(() => res.end(data.slice(100)));
    }
    case "echo":
      return res.writeHead(200, { "content-length": body.length }).end(body);
    case "status":
      return res.writeHead(Number(rest[0])).end();
    case "part":
      return res.writeHead(200, { "content-length": rest[1] }).write(filler(Number(rest[0])));
    default: // drop
      return req.socket.destroy();
  }
}

function serve(req, res) {
  const parts = [];
  req.on("data", (part) => parts.push(part));
  req.on("end", () => answer(req, res, Buffer.concat(parts)));
  req.on("error", () => {});
}

function upgrade(req, socket, head) {
  socket.on("error", () => {});
  socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  socket.unshift(head);
  socket.pipe(socket);
}

const [port, tlsPort, cert, key] = process.argv.slice(2);
const servers = [[http.createServer(serve), port]];
if (tlsPort) {
  servers.push([https.createServer({ cert: readFileSync(cert), key: readFileSync(key) }, serve), tlsPort]);
}
for (const [server, at] of servers) {
  server.on("upgrade", upgrade).listen(Number(at), "127.0.0.1");
}
