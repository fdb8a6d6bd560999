// SPDX-License-Identifier: Apache-2.0
// An HTTP server that knows nothing of Busbar: the status comes from ?code=, the body is ?size= bytes. A certificate and a key after
// the address make it speak TLS.
import fs from "node:fs";
import http from "node:http";
import https from "node:https";

const [address, cert, key] = process.argv.slice(2);
const [host, port] = address.split(":");
const create = cert ? (f) => https.createServer({cert: fs.readFileSync(cert), key: fs.readFileSync(key)}, f) : http.createServer;
create((req, res) => {
  req.resume();
  req.on("end", () => {
    const query = new URL(req.url, "http://x").searchParams;
    const code = Number(query.get("code") ?? 200);
    res.writeHead(code);
    res.end(code === 204 || code === 304 || req.method === "HEAD" ? undefined : "x".repeat(Number(query.get("size") ?? 2)));
  });
}).listen(Number(port), host);
