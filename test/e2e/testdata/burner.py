# SPDX-License-Identifier: Apache-2.0
"""Serves on ADDRESS PORT; /burn uses CPU time, memory and storage (the file FILE), and answers with the process id."""
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

kept = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/burn":
            kept.append(b"x" * (48 << 20))
            with open(sys.argv[3], "wb") as f:
                f.write(os.urandom(16 << 20))
                f.flush()
                os.fsync(f.fileno())
            until = time.process_time() + 1.5
            while time.process_time() < until:
                pass
        body = str(os.getpid()).encode() + b"\n" * 100000
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


HTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
