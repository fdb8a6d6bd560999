// SPDX-License-Identifier: Apache-2.0
// A server that answers with what another server answers: relay.mjs LISTEN UPSTREAM. One thread serves all requests in turns.
import http from 'node:http';

const [listen, upstream] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true });

http.createServer((req, res) => {
  http.get(`http://${upstream}${req.url}`, { agent }, (answer) => {
    res.writeHead(answer.statusCode);
    answer.pipe(res);
  });
}).listen(listen.slice(listen.lastIndexOf(':') + 1), '127.0.0.1');
