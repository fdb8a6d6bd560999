// SPDX-License-Identifier: Apache-2.0
// Makes the HTTP requests that it reads as JSON lines from standard input.
import http from "node:http";
import https from "node:https";
import readline from "node:readline";

const agents = (module) => ({true: new module.Agent({keepAlive: true, maxSockets: 1}), false: new module.Agent({keepAlive: false})});
const ways = {"http:": {module: http, agents: agents(http)}, "https:": {module: https, agents: agents(https)}};
const run = (r) => new Promise((resolve, reject) => {
  const way = ways[new URL(r.url).protocol];
  const req = way.module.request(r.url, {method: r.method, agent: way.agents[r.keepalive]}, (res) => {
    res.resume();
    res.on("end", resolve);
  });
  req.on("error", reject);
  req.end(r.body || undefined);
});
for await (const line of readline.createInterface({input: process.stdin})) await run(JSON.parse(line));
for (const way of Object.values(ways)) way.agents[true].destroy();
