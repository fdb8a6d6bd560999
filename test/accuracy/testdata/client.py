# SPDX-License-Identifier: Apache-2.0
# http.client as everybody uses it: client.py URL [CERTIFICATE] < requests
import http.client
import ssl
import sys
from urllib.parse import urlsplit

TRAP = b"HTTP/1.1 500 Trap\r\n\r\n"


def filler(n):
    return (TRAP * (n // len(TRAP) + 1))[:n]


def connect():
    if len(sys.argv) > 2:
        return http.client.HTTPSConnection(at.hostname, at.port, context=ssl.create_default_context(cafile=sys.argv[2]))
    return http.client.HTTPConnection(at.hostname, at.port)


def call(connection, method, path, size, flags):
    header = {}
    body = filler(size) if method == "POST" else None
    if "close" in flags:
        header["Connection"] = "close"
    if "bighead" in flags:
        header["Cookie"] = "session=" + "c" * 3072
    if "chunked" in flags:
        body = iter([body[:1000], body[1000:]])
    connection.request(method, path, body, header, encode_chunked="chunked" in flags)
    connection.getresponse().read()


at = urlsplit(sys.argv[1])
connection = connect()
for line in sys.stdin:
    method, path, size, *flags = line.split()
    try:
        call(connection, method, path, int(size), flags)
    except (http.client.RemoteDisconnected, ConnectionResetError):
        if "unanswered" not in flags:
            raise
        connection.close()
