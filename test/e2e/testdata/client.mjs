// SPDX-License-Identifier: Apache-2.0
// Makes the HTTP requests that it reads as JSON lines from standard input.
import http from "node:http";
import readline from "node:readline";

const agents = {true: new http.Agent({keepAlive: true, maxSockets: 1}), false: new http.Agent({keepAlive: false})};
const run = (r) => new Promise((resolve, reject) => {
  const req = http.request(r.url, {method: r.method, agent: agents[r.keepalive]}, (res) => {
    res.resume();
    res.on("end", resolve);
  });
  req.on("error", reject);
  req.end(r.body || undefined);
});
for await (const line of readline.createInterface({input: process.stdin})) await run(JSON.parse(line));
agents[true].destroy();
