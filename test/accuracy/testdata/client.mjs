// SPDX-License-Identifier: Apache-2.0
// node:http with an agent, four requests at a time: client.mjs URL [CERTIFICATE] < requests
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";

const trap = "HTTP/1.1 500 Trap\r\n\r\n";
const filler = (n) => trap.repeat(Math.floor(n / trap.length) + 1).slice(0, n);

const [url, certificate] = process.argv.slice(2);
const workers = 4;
const module = certificate ? https : http;
const agent = new module.Agent({ keepAlive: true, maxSockets: workers, ca: certificate && readFileSync(certificate) });

function call(method, path, size, flags) {
  const headers = {};
  let body = method === "POST" ? filler(size) : "";
  if (flags.includes("close")) headers.connection = "close";
  if (flags.includes("bighead")) headers.cookie = "session=" + "c".repeat(3072);
  if (flags.includes("continue")) headers.expect = "100-continue";
  if (method === "POST" && !flags.includes("chunked")) headers["content-length"] = body.length;
  return new Promise((resolve, reject) => {
    const req = module.request(url + path, { method, headers, agent }, (res) => res.resume().on("end", resolve));
    req.on("error", (err) => (flags.includes("unanswered") ? resolve() : reject(err)));
    if (flags.includes("continue")) {
      req.on("continue", () => req.end(body)).flushHeaders();
    } else if (flags.includes("chunked")) {
      req.write(body.slice(0, 1000));
      req.end(body.slice(1000));
    } else {
      req.end(body);
    }
  });
}

const plan = readFileSync(0, "utf8").trim().split("\n");
await Promise.all(
  Array.from({ length: workers }, async (_, worker) => {
    for (let i = worker; i < plan.length; i += workers) {
      const [method, path, size, ...flags] = plan[i].trim().split(" ");
      await call(method, path, Number(size), flags);
    }
  }),
);
agent.destroy();
