# SPDX-License-Identifier: Apache-2.0
"""The relay on asyncio: relay_asyncio.py LISTEN UPSTREAM. One thread serves all requests in turns."""
import asyncio
import sys


async def ask(path):
    host, port = sys.argv[2].rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
    answer = await reader.read()
    writer.close()
    return answer.split(b"\r\n\r\n", 1)[1]


async def serve(reader, writer):
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        body = await ask(head.split(b" ")[1])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()


async def handle(reader, writer):
    try:
        await serve(reader, writer)
    except asyncio.IncompleteReadError:
        writer.close()


async def main():
    host, port = sys.argv[1].rsplit(":", 1)
    server = await asyncio.start_server(handle, host, int(port), backlog=512)
    await server.serve_forever()


asyncio.run(main())
