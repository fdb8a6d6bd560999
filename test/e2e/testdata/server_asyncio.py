# SPDX-License-Identifier: Apache-2.0
"""An HTTPS server on one event loop that knows nothing of Busbar: the body is ?size= bytes."""
import asyncio
import ssl
import sys
from urllib.parse import parse_qs, urlsplit


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            size = int(parse_qs(urlsplit(head.split(" ")[1]).query)["size"][0])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            writer.write(b"x" * size)
            await writer.drain()
            if "\r\nconnection: close" in head.lower():
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


async def main():
    host, port = sys.argv[1].rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[2:])
    server = await asyncio.start_server(serve, host, int(port), ssl=context, backlog=128)
    await server.serve_forever()


asyncio.run(main())
