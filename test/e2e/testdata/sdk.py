# SPDX-License-Identifier: Apache-2.0
# An HTTP server on ADDRESS with a telemetry SDK, as far as that shows: asked for /export it posts traces to COLLECTOR, and answers.
import http.client
import http.server
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/export":
            c = http.client.HTTPConnection(sys.argv[2])
            c.request("POST", "/v1/traces", b"x", {"Content-Type": "application/x-protobuf"})
            c.getresponse().read()
            c.close()
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args):
        pass


host, port = sys.argv[1].rsplit(":", 1)
http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
