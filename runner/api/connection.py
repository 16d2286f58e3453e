"""One connection at a time: what was asked on it, what came in, and the request that is written to it.

Keeps its part of promises 3 and 5: a request is written whole in one go at the moment the gate opens, and no
reply confirms a request that was written after it. HTTP/1.1 numbers nothing, so a reply belongs to a request
only by its place. A peer that once sent bytes nobody had asked for has lost that place: from then on each
connection carries one request, and the reply to a later request of an older one proves nothing. It must never
follow a redirect, send a request by itself, or say which error of the outcome table something is.
"""

import asyncio
import functools
import select
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest, ClientResponse, ConnectionKey, RequestInfo
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.http_writer import StreamWriter
from aiohttp.streams import StreamReader
from aiohttp.tracing import Trace
from multidict import CIMultiDict, CIMultiDictProxy

from runner.model import Gate
from runner.stop import Interruptible, Stop

__all__ = ["IN_HAND_S", "MOST_INTERIM", "OPENING_S", "Attempt", "Connector", "GatedRequest", "Peer"]

IN_HAND_S: Final = 10.0
"""A connection that waited longer at the gate is not used; something on the way may have forgotten it."""
OPENING_S: Final = 0.15
"""All connections of a client open over this time, one by one: the handshakes of many at once would hold up
the requests on those that are open already, at the server as well as here."""
MOST_INTERIM: Final = 20
"""Replies with a status of 1xx that may come before the one that counts."""

_MOST_STALE = 5
_MOST_LOOKS = 10
_NO_HEADERS = CIMultiDictProxy[str](CIMultiDict())
_REQUEST_TIMEOUT = 408
"""What some servers say unasked before they close an idle connection (RFC 9110, 15.5.9): no lost place."""
_CLOSING = (b"HTTP/1.1 408", b"HTTP/1.0 408")


class _Stale(aiohttp.ClientError):
    """The connection in hand is no good for one more request; nothing was written."""


class _Lost(aiohttp.ClientError):
    """The connection broke; of a kind that aiohttp does not answer by sending again."""


@dataclass(slots=True)
class Peer:
    """What is known of whoever answers: the server, or a proxy before it."""

    out_of_step: bool = False
    """It sent bytes that nobody had asked for."""
    in_doubt: int = 0
    """Replies that were believed before on the connection where this showed, and may be late ones."""

    def lost_place(self, asked: int) -> None:
        """Note that it did so on a connection that has carried that many requests."""
        self.out_of_step, self.in_doubt = True, max(self.in_doubt, asked - 1)


class _Wire(ResponseHandler):
    """A connection that counts what was asked on it and what was answered."""

    def __init__(self, loop: asyncio.AbstractEventLoop, peer: Peer) -> None:
        super().__init__(loop)
        self.peer = peer
        self.asked = 0
        self._answered = 0
        self._interim = 0

    def ask(self, request: bytes) -> None:
        """Write a request."""
        assert self.transport is not None  # noqa: S101 - looked at by whoever calls, a moment ago
        if self.peer.out_of_step:
            self.force_close()
        self.asked += 1
        self._interim = 0
        self.transport.write(request)

    @property
    def usable(self) -> bool:
        """Whether one more request may be written, as far as the loop has read."""
        spent = self.asked > 0 and self.peer.out_of_step
        return self.is_connected() and not self.should_close and not spent

    def has_unread(self) -> bool:
        """Tell whether something came in that the loop has not read yet: it answers nothing to come."""
        assert self.transport is not None  # noqa: S101 - `usable` a moment ago
        look = select.poll()
        look.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(look.poll(0))

    def data_received(self, data: bytes) -> None:
        """Read on, and notice what comes in while nothing is asked."""
        # A line break after a body is a common slip, and no reply. Before its first request a connection may
        # carry what is said to others (a proxy's word on CONNECT); it is not used, and proves nothing.
        if self._is_idle() and data.strip(b"\r\n"):
            self.force_close()
            if self.asked and not data.startswith(_CLOSING):
                self.peer.lost_place(self.asked)
        super().data_received(data)

    def _is_idle(self) -> bool:
        in_body = self._payload is not None and not self._payload.is_eof()
        return self._answered >= self.asked and not in_body

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take a reply in; interim ones are passed over here, for they would pile up."""
        status = data[0].code
        if 100 <= status < 200 and status != 101:
            self._interim += 1
            if self._interim > MOST_INTERIM:
                self.set_exception(BadHttpMessage(f"more than {MOST_INTERIM} interim replies"))
                if self.transport is not None:
                    self.transport.abort()
            return
        self._answered += 1
        if self._answered > self.asked > 0 and status != _REQUEST_TIMEOUT:
            self.peer.lost_place(self.asked)
        super().feed_data(data, size)


@dataclass(slots=True, eq=False)
class Attempt:
    """What one wire request needs to know, and what became of it."""

    gate: Gate
    stop: Stop
    wait: Interruptible
    timeout_s: float
    body: bytes
    on_left: Callable[[], None]
    wire: _Wire | None = None
    """Set when the request left, with the connection that it went over."""
    place: int = 0
    """Which request of its connection it was, counted from 1."""
    response: ClientResponse | None = None
    """Set as soon as the headers of a reply are in; its body follows."""

    @property
    def left(self) -> bool:
        """Whether the request was written."""
        return self.wire is not None

    @property
    def proven(self) -> bool:
        """Whether what came back can only be the reply to this request, for all that is known by now."""
        return self.wire is None or self.place == 1 or not self.wire.peer.out_of_step

    async def over(self, request: ClientRequest, handler: aiohttp.ClientHandlerType) -> ClientResponse:
        """Send once, as aiohttp's middleware: its own repetition of idempotent requests sees no cause.

        A connection that went stale before it was written to is replaced; that is no attempt.
        """
        assert isinstance(request, GatedRequest)  # noqa: S101 - the session was opened with that class
        request.attempt = self
        for _ in range(_MOST_STALE):
            try:
                return await handler(request)
            except _Stale:
                continue
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                raise
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
                raise _Lost(str(error)) from error
        raise _Lost("the server closes connections before a request can be written")


class GatedRequest(ClientRequest):
    """A request that is written at once, headers and body, when the gate opens."""

    attempt: Attempt

    async def send(self, conn: Connection) -> ClientResponse:
        """Pass the gate with this connection in hand, write, and return the response that is to come."""
        attempt, wire = self.attempt, conn.protocol
        assert isinstance(wire, _Wire)  # noqa: S101 - the connector makes no others
        request = self._bytes()
        in_hand_since_s = self.loop.time()
        unread = False

        def depart() -> bool:
            nonlocal unread
            if not wire.usable or self.loop.time() - in_hand_since_s > IN_HAND_S:
                return False
            # Past this moment nobody can tell a reply that came before the request from one that answers it.
            unread = wire.has_unread()
            if unread:
                return False
            attempt.stop.check()
            attempt.wait.arm(attempt.timeout_s)
            wire.ask(request)
            attempt.wire, attempt.place = wire, wire.asked
            return True

        for _ in range(_MOST_LOOKS):
            if await attempt.gate.leave(depart):
                break
            if not unread:
                raise _Stale
            # Over TLS it may be a session's ticket, which says nothing: the loop reads it first.
            unread = False
            await _read_what_is_there()
        else:
            raise _Stale
        attempt.on_left()
        return ClientResponse(
            self.method,
            self.original_url,
            writer=None,
            continue100=None,
            timer=self._timer,
            # Without the request's headers: this ends up in the repr of aiohttp's errors.
            request_info=RequestInfo(self.url, self.method, _NO_HEADERS),
            traces=[],
            loop=self.loop,
            session=self.session,
            stream_writer=StreamWriter(wire, self.loop),
        )

    def _bytes(self) -> bytes:
        first = f"{self.method} {self.url.raw_path_qs} HTTP/1.1"
        lines = [first, *(f"{name}: {value}" for name, value in self.headers.items())]
        head = "\r\n".join(lines)
        if head.count("\n") != len(self.headers) or head.count("\r") != len(self.headers):
            raise AssertionError("a header holds a line break")
        return head.encode("ascii") + b"\r\n\r\n" + self.attempt.body


async def _read_what_is_there() -> None:
    """Let the loop look at its sockets once: what was ready before comes first, then they do."""
    for _ in range(3):
        await asyncio.sleep(0)


def _new_wire(loop: asyncio.AbstractEventLoop, peer: Peer) -> ResponseHandler:
    """Return the protocol of one more connection, in the type that aiohttp keeps its factory in."""
    return _Wire(loop, peer)


class Connector(aiohttp.TCPConnector):
    """Opens new connections evenly spaced, `OPENING_S` for as many as there may be, and counts on each.

    Args:
        peer: Where is noted what its connections find out.
        options: Those of aiohttp's connector.
    """

    _next_s = 0.0
    """Loop time before which no further connection is begun."""

    def __init__(self, peer: Peer, **options: Any) -> None:
        super().__init__(**options)
        self._peer = peer
        self._factory = functools.partial(_new_wire, self._loop, peer)

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        if self._peer.out_of_step:
            return None
        return await super()._get(key, traces)

    async def _create_connection(
        self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        now_s = self._loop.time()
        at_s = max(now_s, self._next_s)
        self._next_s = at_s + OPENING_S / self.limit
        if at_s > now_s and not self._peer.out_of_step:
            await asyncio.sleep(at_s - now_s)
        return await super()._create_connection(req, traces, timeout)
