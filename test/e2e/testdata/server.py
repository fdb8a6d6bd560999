# SPDX-License-Identifier: Apache-2.0
"""An HTTP server that knows nothing of Busbar: the status comes from ?code=, the body is ?size= bytes.

A certificate and a key after the address make it speak TLS.
"""
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        query = parse_qs(urlsplit(self.path).query)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        code = int(query.get("code", ["200"])[0])
        body = b"x" * int(query.get("size", ["2"])[0])
        if code in (204, 304):
            body = b""
        self.send_response(code)
        if code not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = answer

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


host, port = sys.argv[1].rsplit(":", 1)
server = Server((host, int(port)), Handler)
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[2:])
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
