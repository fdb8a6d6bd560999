# SPDX-License-Identifier: Apache-2.0
"""The relay as a WSGI application, for servers of any model: UPSTREAM is in the environment."""
import http.client
import os


def app(environ, start_response):
    upstream = http.client.HTTPConnection(os.environ["UPSTREAM"], timeout=30)
    upstream.request("GET", environ["PATH_INFO"])
    answer = upstream.getresponse()
    body = answer.read()
    upstream.close()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
