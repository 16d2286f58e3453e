"""What goes out on the wire: envelopes, pages, and every way in which a reply fails to arrive.

Each function ends one request and notes in its entry what was really said. The work, if any, has been done
before; nothing here touches the pool.
"""

import asyncio
import contextlib
import math
import random
import socket
import struct
import time
from dataclasses import dataclass
from email.utils import formatdate

import orjson
from aiohttp import web

from runner.sandbox.endpoints import Answer, failure
from runner.sandbox.ledger import LedgerEntry

__all__ = ["JSON", "Wire", "go_wrong", "send_answer", "send_closed", "send_page", "send_too_many"]

JSON = "application/json"

_PAGE = (
    "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>{status} {reason}</h1>"
    "</center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
_REASONS = {
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Time-out",
}
_GARBAGE = (
    b"\xff\xfe{\x00garbage",
    b"null",
    b"[]",
    b'{"code":200}',
    b'{"code":200,"status":"success","message":"ok","data":[]}',
    b'{"code":200,"status":"success","message":"ok","data":{"count":"ten"}}',
    b'{"code":200,"status":"success","message":"ok","data":{"count":-1}}',
    b'{"code":200,"status":"success","message":"ok","data":{"count":1.5}}',
    b'{"code":200,"status":"success","message":"ok","data":{"count":true}}',
    b"<html><body>It works!</body></html>",
)
_HANG_CHECK_S = 0.5


@dataclass(frozen=True, slots=True)
class Wire:
    """One request and where its reply would go.

    Args:
        headers: A gateway adds them to every reply.
        closing: Set when the sandbox ends.
        rng: Chooses between the ways to lose a reply and the kinds of garbage.
        retry_after_s: What a 429 fault asks for, in whole seconds.
        error_code: What the envelope of an `error` fault says.
    """

    request: web.BaseRequest
    entry: LedgerEntry
    headers: dict[str, str]
    closing: asyncio.Event
    rng: random.Random
    retry_after_s: int = 1
    error_code: int = 500

    def note(self, replied: str, status: int | None = None, code: int | None = None) -> None:
        """Note what was said."""
        self.entry.replied, self.entry.status, self.entry.code = replied, status, code


def send_answer(wire: Wire, answer: Answer) -> web.Response:
    """Give the answer, or raise ConnectionResetError when the client has left meanwhile."""
    transport = wire.request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError
    wire.note("envelope", answer.status, answer.code)
    body = orjson.dumps(answer.envelope)
    return web.Response(status=answer.status, body=body, headers=wire.headers, content_type=JSON)


def send_page(wire: Wire, status: int) -> web.Response:
    """Answer as a gateway does, in HTML."""
    wire.note("html", status)
    page = _PAGE.format(status=status, reason=_REASONS[status])
    return web.Response(status=status, text=page, headers=wire.headers, content_type="text/html")


def send_too_many(wire: Wire, retry_after: str, wait_s: float) -> web.Response:
    """Answer 429 with Retry-After in whole `seconds` (at least 1), as a `date`, or without."""
    headers = dict(wire.headers)
    whole_s = max(1, math.ceil(wait_s))
    if retry_after == "seconds":
        headers["Retry-After"] = str(whole_s)
    elif retry_after == "date":
        headers["Retry-After"] = formatdate(math.ceil(time.time()) + whole_s, usegmt=True)
    answer = failure(429, "请求过于频繁")
    wire.note("envelope", answer.status, answer.code)
    return web.Response(status=429, body=orjson.dumps(answer.envelope), headers=headers, content_type=JSON)


def send_closed(wire: Wire) -> web.Response:
    """Close the connection in good order, without a reply."""
    wire.note("closed")
    if wire.request.transport is not None:
        wire.request.transport.close()
    return web.Response()  # goes nowhere: aiohttp wants one, and finds the transport closed


async def go_wrong(wire: Wire, kind: str, answer: Answer) -> web.StreamResponse:
    """Do what this kind of fault (`faults.kind_of`) says instead of giving the answer."""
    if kind.startswith("429"):
        return send_too_many(wire, kind[4:], wire.retry_after_s)
    if kind.isdigit():
        return send_page(wire, int(kind))
    if kind == "hang":
        return await _hang(wire)
    if kind == "truncated":
        return await _truncate(wire, orjson.dumps(answer.envelope))
    return _SPOIL[kind](wire)


def _lose(wire: Wire) -> web.Response:
    """Let the connection go without a reply: half of them as a reset, half in good order."""
    if wire.rng.random() < 0.5:
        return send_closed(wire)
    wire.note("reset")
    transport = wire.request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


def _send_error(wire: Wire) -> web.Response:
    return send_answer(wire, failure(200, "系统繁忙", wire.error_code))


def _send_garbage(wire: Wire) -> web.Response:
    wire.note("garbage", 200)
    return web.Response(body=wire.rng.choice(_GARBAGE), headers=wire.headers, content_type=JSON)


def _send_empty(wire: Wire) -> web.Response:
    wire.note("empty", 200)
    return web.Response(body=b"", headers=wire.headers, content_type=JSON)


def _garble(wire: Wire) -> web.Response:
    """Send what no HTTP parser takes, and close."""
    wire.note("garbled")
    transport = wire.request.transport
    if transport is not None:
        transport.write(b"HTP/1,1 zwei\r\n\x00\x01\r\n\r\n")
        transport.close()
    return web.Response()


_SPOIL = {
    "lost": _lose,
    "error": _send_error,
    "garbage": _send_garbage,
    "empty": _send_empty,
    "garbled": _garble,
}


async def _hang(wire: Wire) -> web.Response:
    """Stay silent until the client leaves or the sandbox ends."""
    wire.note("hung")
    request = wire.request
    while request.transport is not None and not request.transport.is_closing():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wire.closing.wait(), _HANG_CHECK_S)
            if request.transport is not None:  # the client may have left meanwhile
                request.transport.abort()
    return web.Response()


async def _truncate(wire: Wire, whole: bytes) -> web.StreamResponse:
    """Promise a whole body, send half of it, close."""
    wire.note("truncated", 200)
    response = web.StreamResponse(headers=wire.headers)
    response.content_type = JSON
    response.content_length = len(whole)
    response.force_close()
    await response.prepare(wire.request)
    await response.write(whole[: len(whole) // 2])
    if wire.request.transport is not None:
        wire.request.transport.close()
    return response
