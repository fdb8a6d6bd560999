# SPDX-License-Identifier: Apache-2.0
# A client on asyncio streams, with four connections at a time: aioclient.py URL [CERTIFICATE] < requests
import asyncio
import ssl
import sys
from urllib.parse import urlsplit

TRAP = b"HTTP/1.1 500 Trap\r\n\r\n"
WORKERS = 4


def filler(n):
    return (TRAP * (n // len(TRAP) + 1))[:n]


async def read_response(reader, method):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    header = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
    if method == "HEAD" or head[0].split()[1] in ("204", "304"):
        return
    if header.get("transfer-encoding") != "chunked":
        await reader.readexactly(int(header["content-length"]))
        return
    while size := int(await reader.readline(), 16):
        await reader.readexactly(size + 2)
    await reader.readline()


async def call(reader, writer, method, path, size, flags):
    head = [f"{method} {path} HTTP/1.1", f"Host: {at.netloc}"]
    body = filler(size) if method == "POST" else b""
    if "close" in flags:
        head.append("Connection: close")
    if "bighead" in flags:
        head.append("Cookie: session=" + "c" * 3072)
    if "chunked" in flags:
        head.append("Transfer-Encoding: chunked")
        body = b"".join(b"%x\r\n%b\r\n" % (len(s), s) for s in (body[:1000], body[1000:])) + b"0\r\n\r\n"
    elif method == "POST":
        head.append(f"Content-Length: {len(body)}")
    writer.write("\r\n".join([*head, "", ""]).encode())
    writer.write(body)
    await writer.drain()
    await read_response(reader, method)


async def work(plan):
    context = ssl.create_default_context(cafile=sys.argv[2]) if len(sys.argv) > 2 else None
    writer = None
    for line in plan:
        method, path, size, *flags = line.split()
        if not writer:
            reader, writer = await asyncio.open_connection(at.hostname, at.port, ssl=context)
        try:
            await call(reader, writer, method, path, int(size), flags)
        except (EOFError, ConnectionResetError):
            if "unanswered" not in flags:
                raise
        if "close" in flags or "unanswered" in flags:
            writer.close()
            try:
                await writer.wait_closed()
            except OSError:
                pass
            writer = None
    if writer:
        writer.close()


async def main():
    plan = sys.stdin.readlines()
    await asyncio.gather(*(work(plan[i::WORKERS]) for i in range(WORKERS)))


at = urlsplit(sys.argv[1])
asyncio.run(main())
