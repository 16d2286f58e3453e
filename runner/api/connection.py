"""One connection at a time: what was asked on it, what came in, and the request that is written to it.

Keeps its part of promises 3 and 5: a request is written whole in one go at the moment the gate opens, and no
reply confirms a request that was written after it. HTTP/1.1 numbers nothing, so a reply belongs to a request
only by its place. A peer that once sent bytes nobody had asked for has lost that place: from then on each
connection carries one request, and the reply to a later request of an older one proves nothing. Connections
are aiohttp's (names, TLS, proxies, limits, its parser), without the session that would repeat requests,
follow redirects and keep cookies. Nothing here says which error of the outcome table something is.
"""

import asyncio
import functools
import select
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.streams import StreamReader
from aiohttp.tracing import Trace

from runner.model import Gate
from runner.stop import Interruptible

__all__ = ["IDLE_S", "IN_HAND_S", "MOST_INTERIM", "Attempt", "Connector", "Line", "Peer"]

IDLE_S: Final = 4.0
"""A kept connection is not used again after that: shorter than the 5 s after which many servers close it."""
IN_HAND_S: Final = 10.0
"""A connection that waited longer at the gate is not used; something on the way may have forgotten it."""
OPENING_S: Final = 0.15
"""All connections of a client open over this time, one by one: the handshakes of many at once would hold up
the requests on those that are open already, at the server as well as here."""
MOST_INTERIM: Final = 20
"""Replies with a status of 1xx that may come before the one that counts."""

_MOST_STALE = 5
_MOST_LOOKS = 10
_REQUEST_TIMEOUT = 408
"""What some servers say unasked before they close an idle connection (RFC 9110, 15.5.9): no lost place."""
_CLOSING = (b"HTTP/1.1 408", b"HTTP/1.0 408")


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
        self._look = select.poll()
        self.held: Connection | None = None
        """What aiohttp's connector gave this out as; closed with it."""
        self.kept_since_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready for replies: none is unpacked, and each may end with the connection."""
        super().connection_made(transport)
        self._look.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self.set_response_params(read_until_eof=True, auto_decompress=False)

    def ask(self, request: bytes) -> None:
        """Write a request."""
        assert self.transport is not None  # noqa: S101 - looked at by whoever calls, a moment ago
        if self.peer.out_of_step:
            self.force_close()
        self.asked += 1
        self._interim = 0
        self.transport.write(request)

    def close(self) -> None:
        """Close it at once, for the connector too.

        What is not sent yet shall not leave any more, and a TLS server is not waited for to say goodbye: that
        may take it half a minute, and the connection would be one more than there may be.
        """
        held, self.held = self.held, None
        if held is not None:
            held.close()
        super().abort()

    def release(self) -> None:
        """Let the connector give it to another, if it is good for one."""
        held, self.held = self.held, None
        if held is not None:
            held.release()

    @property
    def usable(self) -> bool:
        """Whether one more request may be written, as far as the loop has read."""
        if self.transport is None or self.transport.is_closing() or self.should_close:
            return False
        return not (self.asked and self.peer.out_of_step)

    def has_unread(self) -> bool:
        """Tell whether something came in that the loop has not read yet: it answers nothing to come."""
        return bool(self._look.poll(0))

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Read on after a pause; aiohttp says so at every piece that is taken out, paused or not."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def data_received(self, data: bytes) -> None:
        """Read on, and notice what comes in while nothing is asked."""
        # A line break after a body is a common slip, and no reply. Before its first request a connection may
        # carry what is said to others (a proxy's word on CONNECT); it is not used, and proves nothing.
        if self._answered >= self.asked and self._is_idle() and data.strip(b"\r\n"):
            self.force_close()
            if self.asked and not data.startswith(_CLOSING):
                self.peer.lost_place(self.asked)
        super().data_received(data)

    def _is_idle(self) -> bool:
        return self._payload is None or self._payload.is_eof()

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

    async def _create_connection(
        self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        now_s = self._loop.time()
        at_s = max(now_s, self._next_s)
        self._next_s = at_s + OPENING_S / self.limit
        if at_s > now_s and not self._peer.out_of_step:
            await asyncio.sleep(at_s - now_s)
        return await super()._create_connection(req, traces, timeout)


@dataclass(slots=True)
class Line:
    """The way to one origin, behind one gate, and its kept connections: the one used last goes first."""

    connector: Connector
    origin: ClientRequest
    """What the connector is asked with; it is never sent, and knows no token."""
    timeout: aiohttp.ClientTimeout
    gate: Gate
    now_s: Callable[[], float]
    """The loop's time."""
    _kept: list[_Wire] = field(default_factory=list)
    _taken: int = 0
    """Connections in hand, and those waited for."""

    async def take(self) -> _Wire:
        """Return a connection that seems to be good; give it back, or drop it."""
        self._taken += 1
        while self._kept:
            wire = self._kept.pop()
            if wire.usable and self.now_s() - wire.kept_since_s <= IDLE_S:
                return wire
            wire.close()
        try:
            connection = await self.connector.connect(self.origin, [], self.timeout)
        except BaseException:
            self._taken -= 1
            raise
        made = connection.protocol
        assert isinstance(made, _Wire)  # noqa: S101 - the connector makes no others
        made.held = connection
        return made

    def give_back(self, wire: _Wire) -> None:
        """Keep a connection whose reply was read, if it is good for another."""
        self._taken -= 1
        if self._taken >= self.connector.limit:
            wire.release()  # somebody waits for it there
        elif not wire.should_close:
            wire.kept_since_s = self.now_s()
            self._kept.append(wire)
        else:
            wire.close()

    def drop(self, wire: _Wire) -> None:
        """Close a connection that nothing more is to be read from."""
        self._taken -= 1
        wire.close()

    def forget(self) -> None:
        """Let go of what is kept, when the connector has closed it."""
        while self._kept:
            self._kept.pop().close()


@dataclass(slots=True, eq=False)
class Attempt:
    """One request on its way to the wire, and what became of it; `wait` is armed when it leaves."""

    line: Line
    wait: Interruptible
    timeout_s: float
    request: bytes = field(repr=False)
    wire: _Wire | None = None
    """Set when the request left, with the connection that it went over."""
    place: int = 0
    """Which request of its connection it was, counted from 1."""
    reply: RawResponseMessage | None = None
    """Set as soon as the headers of a reply are in; its body follows."""
    _in_hand: _Wire | None = None
    _since_s: float = 0.0
    """Loop time at which it was taken in hand."""
    _unread: bool = False

    @property
    def left(self) -> bool:
        """Whether the request was written."""
        return self.wire is not None

    @property
    def proven(self) -> bool:
        """Whether what came back can only be the reply to this request, for all that is known by now."""
        return self.wire is None or self.place == 1 or not self.wire.peer.out_of_step

    async def leave(self) -> _Wire:
        """Pass the gate with a connection in hand, write the request, and return the connection.

        A connection that went stale before it was written to is replaced; that is no attempt.
        """
        line = self.line
        # Whoever has a reply ends its batch first: then many leave in a row, and wake the server once.
        await asyncio.sleep(0)
        for _ in range(_MOST_STALE):
            wire = self._in_hand = await line.take()
            self._since_s = line.now_s()
            try:
                for _ in range(_MOST_LOOKS):
                    if await line.gate.leave(self._depart):
                        return wire
                    if not self._unread:
                        break
                    # Over TLS it may be a session's ticket, which says nothing: the loop reads it first.
                    self._unread = False
                    await _read_what_is_there()
            except BaseException:
                line.drop(wire)
                raise
            line.drop(wire)
        raise aiohttp.ClientConnectionError("the server closes connections before a request can be written")

    def _depart(self) -> bool:
        """Write the request; False: this connection is no good for it, and nothing was written."""
        wire = self._in_hand
        assert wire is not None  # noqa: S101 - it is taken before the gate
        if not wire.usable or self.line.now_s() - self._since_s > IN_HAND_S:
            return False
        # Past this moment nobody can tell a reply that came before the request from one that answers it.
        self._unread = wire.has_unread()
        if self._unread:
            return False
        self.wait.arm(self.timeout_s)
        wire.ask(self.request)
        self.wire, self.place = wire, wire.asked
        return True


async def _read_what_is_there() -> None:
    """Let the loop look at its sockets once: what was ready before comes first, then they do."""
    for _ in range(3):
        await asyncio.sleep(0)
