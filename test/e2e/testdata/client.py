# SPDX-License-Identifier: Apache-2.0
"""Makes the HTTP requests that it reads as JSON lines from standard input."""
import http.client
import json
import sys
from urllib.parse import urlsplit

connections = {}
for line in sys.stdin:
    r = json.loads(line)
    url = urlsplit(r["url"])
    c = connections.get(url.netloc) if r["keepalive"] else None
    if c is None:
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        c = kind(url.netloc, timeout=30)
        if r["keepalive"]:
            connections[url.netloc] = c
    headers = {} if r["keepalive"] else {"Connection": "close"}
    c.request(r["method"], url.path + "?" + url.query, body=r["body"] or None, headers=headers)
    c.getresponse().read()
    if not r["keepalive"]:
        c.close()
