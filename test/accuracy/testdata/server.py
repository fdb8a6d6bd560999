# SPDX-License-Identifier: Apache-2.0
# http.server as everybody uses it: server.py PORT [TLSPORT CERTIFICATE KEY]
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TRAP = b"HTTP/1.1 500 Trap\r\n\r\n"


def filler(n):
    return (TRAP * (n // len(TRAP) + 1))[:n]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return data

    def answer(self, status, body=b"", header=()):
        self.send_response(status)
        for name, value in header:
            self.send_header(name, value)
        if status >= 200 and status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def stream(self, body, trailer):
        chunked = self.request_version == "HTTP/1.1"
        self.send_response(200)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
            if trailer:
                self.send_header("Trailer", "X-Sum")
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        for piece in body[: len(body) // 3], body[len(body) // 3 :]:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            self.wfile.write(b"0\r\n" + (b"X-Sum: 1\r\n" if trailer else b"") + b"\r\n")

    def handle_one(self):
        _, what, *rest = self.path.split("/")
        body = self.body()
        if what == "early":
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
        if what in ("bytes", "early"):
            self.answer(200, filler(int(rest[0])))
        elif what in ("stream", "chunked", "trailers"):
            self.stream(filler(int(rest[0])), what == "trailers")
        elif what == "echo":
            self.answer(200, body)
        elif what == "status":
            self.answer(int(rest[0]))
        elif what == "part":
            self.send_response(200)
            self.send_header("Content-Length", rest[1])
            self.end_headers()
            self.wfile.write(filler(int(rest[0])))
            self.wait()
        elif what == "upgrade":
            self.answer(101, header=[("Connection", "Upgrade"), ("Upgrade", "websocket")])
            while data := self.rfile.read1(4096):
                self.wfile.write(data)
            self.close_connection = True
        else:  # drop
            self.close_connection = True

    def wait(self):
        self.close_connection = True
        try:
            self.rfile.read(1)
        except OSError:
            pass

    do_GET = do_POST = do_HEAD = handle_one


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    context = None

    # The handshake is done by the connection's thread, so that one client delays no other.
    def finish_request(self, request, address):
        if self.context:
            request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, address)

    def handle_error(self, request, address):
        pass  # clients that break off are part of the test


class Secure(Server):
    def shutdown_request(self, request):
        pass  # the socket belongs to its TLS object since


def serve(port, context=None):
    server = Server(("127.0.0.1", port), Handler)
    server.context = context
    server.serve_forever()


if len(sys.argv) > 2:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    threading.Thread(target=serve, args=(int(sys.argv[2]), context), daemon=True).start()
serve(int(sys.argv[1]))
