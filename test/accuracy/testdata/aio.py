# SPDX-License-Identifier: Apache-2.0
# A server on asyncio streams: aio.py PORT [TLSPORT CERTIFICATE KEY]
import asyncio
import ssl
import sys

TRAP = b"HTTP/1.1 500 Trap\r\n\r\n"


def filler(n):
    return (TRAP * (n // len(TRAP) + 1))[:n]


async def read_body(reader, header):
    if header.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(header.get("content-length", 0)))
    data = b""
    while size := int(await reader.readline(), 16):
        data += (await reader.readexactly(size + 2))[:-2]
    while (await reader.readline()).strip():
        pass
    return data


async def one(reader, writer):
    """Answers a request; False ends the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, version = head[0].split(" ")
    if version not in ("HTTP/1.0", "HTTP/1.1"):
        return False
    header = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
    if "expect" in header:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await read_body(reader, header)
    _, what, *rest = path.split("/")
    if what == "early":
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
    if what in ("bytes", "early", "echo"):
        body = body if what == "echo" else filler(int(rest[0]))
        writer.write(b"HTTP/1.1 200 OK\r\nServer: aio\r\nContent-Length: %d\r\n\r\n" % len(body))
        if method != "HEAD":
            writer.write(body)
    elif what == "stream":
        writer.write(b"HTTP/1.1 200 OK\r\nServer: aio\r\nConnection: close\r\n\r\n" + filler(int(rest[0])))
        return False
    elif what in ("chunked", "trailers"):
        body = filler(int(rest[0]))
        writer.write(b"HTTP/1.1 200 OK\r\nServer: aio\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(body), 777):
            piece = body[at : at + 777]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        writer.write(b"0\r\n" + (b"X-Sum: 1\r\n" if what == "trailers" else b"") + b"\r\n")
    elif what == "status":
        writer.write(b"HTTP/1.1 %b Empty\r\nServer: aio\r\n\r\n" % rest[0].encode())
    elif what == "part":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n" % rest[1].encode() + filler(int(rest[0])))
        await writer.drain()
        await reader.read(1)
        return False
    elif what == "upgrade":
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := await reader.read(4096):
            writer.write(data)
        return False
    else:  # drop
        return False
    await writer.drain()
    return header.get("connection") != "close"


async def serve(reader, writer):
    try:
        while await one(reader, writer):
            pass
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
        pass  # clients that break off, or speak something else, are part of the test
    try:
        writer.close()
        await writer.wait_closed()
    except OSError:
        pass


async def main():
    await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=128)
    if len(sys.argv) > 2:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(sys.argv[3], sys.argv[4])
        await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[2]), ssl=context, backlog=128)
    await asyncio.Event().wait()


asyncio.run(main())
