// SPDX-License-Identifier: Apache-2.0
// An HTTP server that knows nothing of Busbar: the status comes from ?code=, the body is ?size= bytes.
import http from "node:http";

const [host, port] = process.argv[2].split(":");
http.createServer((req, res) => {
  req.resume();
  req.on("end", () => {
    const query = new URL(req.url, "http://x").searchParams;
    const code = Number(query.get("code") ?? 200);
    res.writeHead(code);
    res.end(code === 204 || code === 304 || req.method === "HEAD" ? undefined : "x".repeat(Number(query.get("size") ?? 2)));
  });
}).listen(Number(port), host);
