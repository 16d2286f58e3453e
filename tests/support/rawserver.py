"""A server that says exactly the bytes it is told to, over real sockets; of HTTP it knows requests only."""

import asyncio
import contextlib
import fcntl
import json
import socket
import struct
import termios
import time
from contextlib import asynccontextmanager

__all__ = [
    "PATIENCE_S",
    "RawServer",
    "arrived",
    "cut",
    "envelope",
    "http",
    "raw_server",
    "success",
    "until",
    "wait_arrived",
]

PATIENCE_S = 60.0
"""Nothing here takes so long."""

REASONS = {200: "OK", 204: "No Content", 302: "Found"}


def http(body=b"", status=200, headers=(), *, length=None):
    """A whole reply; `length` lies about the body's."""
    if isinstance(body, str):
        body = body.encode()
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Whatever')}", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in lines):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def envelope(code=200, message="", data=None):
    return json.dumps(
        {
            "code": code,
            "status": "success" if code == 200 else "error",
            "message": message,
            "data": data or [],
        },
        ensure_ascii=False,
    )


def success(count=1, headers=()):
    return http(envelope(200, "删除客户公海数据成功", {"count": count}), headers=headers)


def cut(reply=b"", *, reset=False):
    """Say that much and break the connection."""

    async def script(_reader, writer):
        writer.write(reply)
        await writer.drain()
        if reset:
            writer.transport.abort()
        else:
            writer.close()

    return script


def _on_the_way(writer):
    """How many bytes (an end counts as one) of a writer or socket the other end has not acknowledged yet."""
    descriptor = (writer if isinstance(writer, socket.socket) else writer.get_extra_info("socket")).fileno()
    if descriptor < 0:  # closed, since the other end has answered what came by closing
        return 0
    return struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0]


async def until(condition):
    """Wait until `condition` gives something true, however slow the network is."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.001)


async def arrived(writer):
    """Wait until all that was written there has come to the client, which has had turns to read it."""
    await until(lambda: not _on_the_way(writer))
    for _ in range(5):
        await asyncio.sleep(0)


def wait_arrived(writer):
    """The same while the loop stands still: it has come to the client's system and was not read."""
    give_up = time.monotonic() + PATIENCE_S
    while _on_the_way(writer):
        assert time.monotonic() < give_up
        time.sleep(0.001)


class RawServer:
    """Answers the n-th request with the n-th reply (the last one again and again): bytes, or a coroutine."""

    def __init__(self, replies, greeting=b""):
        self.replies = list(replies)
        self.greeting = greeting
        self.requests = []
        self.connections = 0
        self.on_of_request = []
        self.base_url = ""
        self.readers, self.writers = [], []

    async def serve(self, reader, writer):
        self.connections += 1
        nth = self.connections
        self.readers.append(reader)
        self.writers.append(writer)
        writer.write(self.greeting)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not writer.is_closing():
                self.requests.append(await self.read_request(reader))
                self.on_of_request.append(nth)
                reply = self.replies[min(len(self.requests), len(self.replies)) - 1]
                if isinstance(reply, bytes):
                    writer.write(reply)
                    await writer.drain()
                else:
                    await reply(reader, writer)
        writer.close()

    async def read_request(self, reader):
        head = await reader.readuntil(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                return head + await reader.readexactly(int(line[15:]))
        return head


@asynccontextmanager
async def raw_server(*replies, ssl=None, greeting=b""):
    raw = RawServer(replies, greeting)
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0, ssl=ssl)
    port = server.sockets[0].getsockname()[1]
    raw.base_url = f"https://localhost:{port}" if ssl else f"http://127.0.0.1:{port}"
    try:
        yield raw
    finally:
        server.close()
        for writer in raw.writers:
            writer.transport.abort()
        # The handlers end at the next turns; only then is nothing left to warn about.
        for _ in range(5):
            await asyncio.sleep(0)
