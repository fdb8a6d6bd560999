// SPDX-License-Identifier: Apache-2.0
// A service with the OpenTelemetry SDK of Node.js as its users set it up: everything by environment. Requests to / have a server span with one
// below it, and are counted and logged.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const require = createRequire(process.env.OTEL_JS + '/');
const { NodeSDK } = require('@opentelemetry/sdk-node');
const { context, metrics, propagation, trace, SpanKind } = require('@opentelemetry/api');

const sdk = new NodeSDK();
sdk.start();
const tracer = trace.getTracer('shop');
const orders = metrics.getMeter('shop').createCounter('orders', { unit: '{order}' });

const server = createServer((request, response) => {
  const from = propagation.extract(context.active(), request.headers);
  tracer.startActiveSpan('GET /', { kind: SpanKind.SERVER, attributes: { 'http.request.method': 'GET' } }, from, (span) => {
    tracer.startActiveSpan('look up', (inner) => {
      orders.add(2, { 'order.kind': 'book' });
      inner.end();
    });
    response.end('ok\n');
    span.end();
  });
});
server.listen(Number(process.argv[2]), '127.0.0.1');
process.on('SIGTERM', () => {
  server.close();
  sdk.shutdown().then(() => process.exit(0), (error) => {
    console.error(error);
    process.exit(1);
  });
});
