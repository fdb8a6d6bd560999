// SPDX-License-Identifier: Apache-2.0
//
// A server that answers /<way>/<id> by making requests /<way>/<id>/<n> to the one whose port is its argument, in every way
// that a program on an event loop has. It prints its own port.
'use strict';
const http = require('node:http');
const timers = require('node:timers/promises');
const upstream = Number(process.argv[2]);

function agent(options) {
  return new http.Agent({ keepAlive: true, ...options });
}

function call(path, agent, host = '127.0.0.1') {
  return new Promise((resolve, reject) => {
    http.get({ host, port: upstream, path, agent }, (res) => {
      res.on('data', () => {});
      res.on('end', resolve);
    }).on('error', reject);
  });
}

const plain = agent({}), named = agent({}), few = agent({ maxSockets: 3 }), one = agent({ maxSockets: 1 });
const fresh = new http.Agent({ keepAlive: false });
let shared;

const ways = {
  async chain(path) {
    for (let i = 0; i < 3; i++) await call(`${path}/${i}`, plain);
  },
  async all(path) {
    await Promise.all([0, 1, 2].map((i) => call(`${path}/${i}`, plain)));
  },
  async after(path) {
    await call(`${path}/0`, plain);
    await Promise.all([1, 2].map((i) => call(`${path}/${i}`, plain)));
  },
  async fresh(path) {
    for (let i = 0; i < 2; i++) await call(`${path}/${i}`, fresh);
  },
  async timeout(path) {
    await timers.setTimeout(2);
    await call(`${path}/0`, plain);
  },
  async immediate(path) {
    await timers.setImmediate();
    await call(`${path}/0`, plain);
  },
  async lookup(path) {
    await call(`${path}/0`, named, 'localhost');
  },
  async few(path) {
    for (let i = 0; i < 2; i++) await call(`${path}/${i}`, few);
  },
  async one(path) {
    await call(`${path}/0`, one);
  },
  async fetch(path) {
    for (let i = 0; i < 2; i++) await (await fetch(`http://127.0.0.1:${upstream}${path}/${i}`)).text();
  },
  // What several wait for, one of them asks.
  async shared(path) {
    shared ??= call(`${path}/0`, plain).finally(() => { shared = undefined; });
    await shared;
    await call(`${path}/1`, plain);
  },
};

const background = setInterval(() => call('/background/0/0', plain).catch(() => {}), 3);
const server = http.createServer(async (req, res) => {
  await ways[req.url.split('/')[1]](req.url);
  res.end('done');
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.resume().on('end', () => { clearInterval(background); process.exit(); });
