"""One attempt over one owned HTTP session: connection, gate, wire, reply.

Keeps its part of promises 3 and 5: one `send` is at most one request on the wire, written whole in one go at
the moment the gate opens, and every way in which it can end is classed by the outcome table, here and nowhere
else. The order is fixed: near the gate, then a connection in hand, then the gate, then the wire; nothing
queues between gate and wire. It must never follow a redirect, keep a cookie, repeat a request by itself,
unpack a reply, read one without a bound, or show the token.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest, ClientResponse, RequestInfo
from aiohttp.connector import Connection
from aiohttp.http_writer import StreamWriter
from aiohttp.tracing import Trace
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from runner.api.replies import (
    Clean,
    RawReply,
    check_envelope,
    cleaner,
    parse_quota_reset,
    parse_retry_after,
    read_reply,
    read_total,
)
from runner.errors import Refused, Stopped
from runner.model import DeleteRequest, Gate, Reply, Target, WallClock
from runner.outcomes import BAD_REPLY, CUT, NOT_CONNECTED, TIMEOUT, AttemptFailed
from runner.settings import Token
from runner.stop import Interruptible, Stop

__all__ = ["Client", "open_client"]

CONNECT_TIMEOUT_S: Final = 10.0
IDLE_S: Final = 4.0
"""A kept connection is not used again after that: shorter than the 5 s after which many servers close it."""
IN_HAND_S: Final = 10.0
"""Nor is one that waited longer at the gate; something on the way may have forgotten it."""
MOST_BODY: Final = 64 * 1024
OPENING_S: Final = 0.15
"""All connections of a client open over this time, one by one: the handshakes of many at once would hold up
the requests on those that are open already, at the server as well as here."""
_MOST_STALE = 5

_USER_AGENT = "bulk-delete"


class _Stale(aiohttp.ClientError):
    """The connection in hand closed while it waited for its turn; nothing was written."""


class _Lost(aiohttp.ClientError):
    """The connection broke; of a kind that aiohttp does not answer by sending again."""


@dataclass(slots=True, eq=False)
class _Attempt:
    """What one wire request needs to know, and what became of it."""

    gate: Gate
    stop: Stop
    wait: Interruptible
    timeout_s: float
    body: bytes
    on_left: Callable[[], None]
    left: bool = False
    response: ClientResponse | None = None
    """Set as soon as the headers of a reply are in; its body follows."""

    async def over(self, request: ClientRequest, handler: aiohttp.ClientHandlerType) -> ClientResponse:
        """Send once, as aiohttp's middleware: its own repetition of idempotent requests sees no cause.

        A connection that went stale before it was written to is replaced; that is no attempt.
        """
        assert isinstance(request, _GatedRequest)  # noqa: S101 - the session was opened with that class
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


class _GatedRequest(ClientRequest):
    """A request that is written at once, headers and body, when the gate opens."""

    attempt: _Attempt

    async def send(self, conn: Connection) -> ClientResponse:
        """Pass the gate with this connection in hand, write, and return the response that is to come."""
        attempt, protocol = self.attempt, conn.protocol
        assert protocol is not None  # noqa: S101 - it is in hand
        wire = self._wire()
        in_hand_since_s = self.loop.time()

        def depart() -> bool:
            transport = protocol.transport
            if transport is None or transport.is_closing():
                return False
            # should_close: something came in unasked, perhaps a second reply to the request before.
            if protocol.should_close or self.loop.time() - in_hand_since_s > IN_HAND_S:
                return False
            attempt.stop.check()
            attempt.wait.arm(attempt.timeout_s)
            attempt.left = True
            transport.write(wire)
            return True

        if not await attempt.gate.leave(depart):
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
            stream_writer=StreamWriter(protocol, self.loop),
        )

    def _wire(self) -> bytes:
        first = f"{self.method} {self.url.raw_path_qs} HTTP/1.1"
        lines = [first, *(f"{name}: {value}" for name, value in self.headers.items())]
        head = "\r\n".join(lines)
        if head.count("\n") != len(self.headers) or head.count("\r") != len(self.headers):
            raise AssertionError("a header holds a line break")
        return head.encode("ascii") + b"\r\n\r\n" + self.attempt.body


_NO_HEADERS = CIMultiDictProxy[str](CIMultiDict())


class _Headers:
    """The headers of every request, made once; without a repr, for the token is in them.

    They are no default of the session: aiohttp would send those to a proxy as well, in its CONNECT.
    """

    __slots__ = ("revealed",)

    def __init__(self, token: Token) -> None:
        self.revealed = {
            "Authorization": f"Bearer {token.reveal()}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": _USER_AGENT,
        }


@dataclass(frozen=True, slots=True)
class _Wiring:
    """What a client is opened with."""

    session: aiohttp.ClientSession
    headers: _Headers
    base_url: str
    gate: Gate
    stop: Stop
    timeout_s: float
    now: WallClock
    clean: Clean
    proxy: str | None


class _Connector(aiohttp.TCPConnector):
    """Opens new connections evenly spaced, `OPENING_S` for as many as there may be."""

    _next_s = 0.0
    """Loop time before which no further connection is begun."""

    async def _create_connection(
        self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        now_s = self._loop.time()
        at_s = max(now_s, self._next_s)
        self._next_s = at_s + OPENING_S / self.limit
        if at_s > now_s:
            await asyncio.sleep(at_s - now_s)
        return await super()._create_connection(req, traces, timeout)


class Client:
    """The vendor's API; implements `model.Sender`. Open it with `open_client`."""

    def __init__(self, wiring: _Wiring) -> None:
        self._wiring = wiring

    def __repr__(self) -> str:
        return f"Client({self._wiring.base_url!r})"

    async def send(self, request: DeleteRequest, on_left: Callable[[], None]) -> Reply:
        """Make exactly one attempt to delete, through the gate (see `model.Sender`)."""
        url = self._url(f"/agent-api/user/{request.target.user_id}/del_customer")
        answer = await self._attempt("DELETE", url, request.body, on_left)
        reply = read_reply(answer, self._wiring.clean)
        if answer.quota_reset_s:
            # An audit that cannot be written says so again at the next record; this reply is not lost for it.
            with suppress(Stopped):
                self._wiring.gate.quota_exhausted(answer.quota_reset_s)
        return reply

    async def check_token(self) -> str:
        """Ask, without deleting, whether the token is valid; return the vendor's words, if any.

        Raises:
            AttemptFailed: It is not, or nobody could be asked; its `kind` and `message` say which.
            Stopping: The run was told to stop first.
        """
        answer = await self._attempt("GET", self._url("/agent-api/token"), b"", _nothing)
        return check_envelope(answer, self._wiring.clean)

    async def list_total(self, target: Target, phone: str | None = None) -> int:
        """Return how many rows the vendor lists for a target just now (its listing's `meta.total`).

        Args:
            target: Whose pool, and which window of it.
            phone: Only the rows of this number.

        Raises:
            AttemptFailed: It could not be read.
            Stopping: The run was told to stop first.
        """
        query = [("page", "1"), ("per_page", "1")]
        # The page does not say how a list is written. Both common ways together are read right by either kind
        # of server; one that ignores them lists more, and the window is refused.
        for name in ("created_at", "created_at[]"):
            query += [(name, moment) for moment in target.created_at or ()]
        if phone is not None:
            query.append(("phone", phone))
        if target.encryption:
            query.append(("encryption", "true"))
        url = self._url(f"/agent-api/user/{target.user_id}/get_customer", urlencode(query))
        return read_total(await self._attempt("GET", url, b"", _nothing), self._wiring.clean)

    def _url(self, path: str, query: str = "") -> URL:
        """Return the URL exactly as written; a path that would be sent as another is a bug."""
        written = self._wiring.base_url + path
        url = URL(f"{written}?{query}" if query else written, encoded=True)
        as_written = url.raw_path.endswith(path) and url.raw_query_string == query and not url.raw_fragment
        if not as_written or not {".", ".."}.isdisjoint(path.split("/")):
            raise AssertionError(f"{path!r} would be sent as {url.raw_path_qs!r}")
        return url

    async def _attempt(self, method: str, url: URL, body: bytes, on_left: Callable[[], None]) -> RawReply:
        wiring = self._wiring
        attempt: _Attempt | None = None
        try:
            async with wiring.stop.interruptible() as wait:
                await wiring.gate.approach()
                attempt = _Attempt(wiring.gate, wiring.stop, wait, wiring.timeout_s, body, on_left)
                return await self._exchange(attempt, method, url)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if attempt is None:
                raise
            return self._end(attempt, error)
        finally:
            if attempt is not None:
                wiring.gate.attempt_over(left=attempt.left)

    async def _exchange(self, attempt: _Attempt, method: str, url: URL) -> RawReply:
        headers = self._wiring.headers.revealed
        if attempt.body:
            headers = {**headers, "Content-Length": str(len(attempt.body))}
        async with self._wiring.session.request(
            method,
            url,
            headers=headers,
            allow_redirects=False,
            proxy=self._wiring.proxy,
            middlewares=(attempt.over,),
        ) as response:
            attempt.response = response
            return self._answer(response, *await _read_bounded(response))

    def _answer(self, response: ClientResponse, body: bytes = b"", flaw: str = "") -> RawReply:
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {"identity", ""}:
            flaw = "the body is encoded, which was not asked for"
        return RawReply(
            response.status,
            b"" if flaw else body,
            retry_after_s=parse_retry_after(response.headers.get("Retry-After"), self._wiring.now),
            quota_reset_s=parse_quota_reset(response.headers, self._wiring.now),
            flaw=flaw,
        )

    def _end(self, attempt: _Attempt, error: Exception) -> RawReply:
        """Class a broken exchange; a status other than 200 that came in whole still decides alone."""
        status = attempt.response.status if attempt.response is not None else None
        if attempt.response is not None and status != 200:
            return self._answer(attempt.response)
        kind, words = CUT, f"the connection broke: {error}"
        if not attempt.left:
            kind, words = NOT_CONNECTED, _why_not_connected(error)
        elif isinstance(error, TimeoutError):
            kind, words = TIMEOUT, f"no whole reply within {self._wiring.timeout_s:g} s"
        elif isinstance(error, aiohttp.ClientResponseError | ValueError):
            # Its status 400 is aiohttp's own: the server may well have processed the request.
            kind, words = BAD_REPLY, f"the reply is not HTTP: {error}"
        raise AttemptFailed(
            kind, left=attempt.left, http_status=status, message=self._wiring.clean(words)
        ) from error


def _nothing() -> None:
    """Be told that a request left, and need not know."""


async def _read_bounded(response: ClientResponse) -> tuple[bytes, str]:
    """Return a body of at most `MOST_BODY` bytes, or what is wrong with it."""
    chunks: list[bytes] = []
    length = 0
    while chunk := await response.content.readany():
        chunks.append(chunk)
        length += len(chunk)
        if length > MOST_BODY:
            response.close()
            return b"", f"the body is longer than {MOST_BODY} bytes"
    return b"".join(chunks), ""


def _why_not_connected(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        return f"TLS: the server's certificate is not trusted: {getattr(cause, 'verify_message', cause)}"
    if isinstance(error, TimeoutError):
        return "no connection in time"
    return f"no connection: {error}"


@asynccontextmanager
async def open_client(
    base_url: str,
    token: Token,
    gate: Gate,
    stop: Stop,
    *,
    timeout_s: float,
    concurrency: int,
    ca_file: str | None = None,
    proxy_from_env: bool = False,
    now: WallClock = lambda: datetime.now(UTC),
) -> AsyncIterator[Client]:
    """Open the API at a checked base URL (`parse_base_url`), for as long as the context lasts.

    Args:
        base_url: Without a slash at its end.
        token: Goes into the one header, and out of every message.
        gate: Every request passes it.
        stop: Ends every wait before a request leaves.
        timeout_s: Of one attempt, from the moment its headers leave.
        concurrency: At most that many connections.
        ca_file: Certificates to trust instead of the system's.
        proxy_from_env: Use the proxy that the environment names, if it does.
        now: For the dates in `Retry-After`.

    Raises:
        Refused: The CA file cannot be used.
    """
    connector = _Connector(
        ssl=_trust(ca_file) if base_url.startswith("https:") else True,
        limit=concurrency,
        keepalive_timeout=IDLE_S,
        ttl_dns_cache=60,
    )
    connect_s = min(CONNECT_TIMEOUT_S, timeout_s)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(connect=connect_s, sock_connect=connect_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        request_class=_GatedRequest,
        auto_decompress=False,
        trust_env=False,
    ) as session:
        proxy = _proxy(base_url) if proxy_from_env else None
        yield Client(
            _Wiring(session, _Headers(token), base_url, gate, stop, timeout_s, now, cleaner(token), proxy)
        )


def _trust(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Refused(
            f"CA file {ca_file}: {error.strerror or error}", hint="give a file with certificates in PEM form"
        ) from error


def _proxy(base_url: str) -> str | None:
    """Return the environment's proxy for this URL; aiohttp's own look-up would read .netrc as well.

    Plain http is for this machine alone: through a proxy the token would leave it unencrypted.
    """
    url = URL(base_url)
    if url.scheme != "https" or proxy_bypass(url.host or ""):
        return None
    proxy = getproxies().get(url.scheme)
    if proxy is not None and not re.match(r"https?://[^/]", proxy):
        raise Refused("https_proxy is no http:// or https:// URL", hint="mend or unset it")
    return proxy
