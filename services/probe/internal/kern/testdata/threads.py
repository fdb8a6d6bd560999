# SPDX-License-Identifier: Apache-2.0
"""A server with a thread per connection that answers /<way>/<id> by making requests /<way>/<id>/<n> to the one whose port is
its argument, on its own thread and on others. It prints its own port."""

import concurrent.futures
import http.client
import http.server
import sys
import threading

UPSTREAM = int(sys.argv[1])
pool = concurrent.futures.ThreadPoolExecutor(max_workers=4)


def call(path, *numbers):
    upstream = http.client.HTTPConnection("127.0.0.1", UPSTREAM)
    for n in numbers:
        upstream.request("GET", f"{path}/{n}")
        upstream.getresponse().read()
    upstream.close()


def joined(target, *args):
    thread = threading.Thread(target=target, args=args)
    thread.start()
    thread.join()


WAYS = {
    "direct": lambda path: call(path, 0, 1),
    "thread": lambda path: joined(call, path, 0, 1),
    "nested": lambda path: joined(joined, call, path, 0),
    "pool": lambda path: pool.submit(call, path, 0).result(),
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        WAYS[self.path.split("/")[1]](self.path)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
server.shutdown()
