"""One attempt over the connections of one client: connection, gate, wire, reply.

Keeps its part of promises 3 and 5: one `send` is at most one request on the wire, and every way in which it
can end is classed by the outcome table, here and nowhere else. The order is fixed: near the gate, then a
connection in hand, then the gate, then the wire; nothing queues between gate and wire. It must never follow a
redirect, keep a cookie, repeat a request by itself, unpack a reply, read one without a bound, believe one
that may belong to another request, or show the token.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.client_reqrep import ClientRequest
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from yarl import URL

from runner.access import Token
from runner.api.connection import IDLE_S, Attempt, Connector, Line, Peer
from runner.api.replies import (
    Clean,
    RawReply,
    check_envelope,
    cleaner,
    read_advice,
    read_reply,
    read_total,
)
from runner.errors import Refused, Stopped
from runner.model import DeleteRequest, Gate, Reply, Target, WallClock
from runner.outcomes import (
    BAD_REPLY,
    CUT,
    NOT_CONNECTED,
    TIMEOUT,
    UNTRUSTED,
    AttemptFailed,
    FailureKind,
)
from runner.stop import Stop

__all__ = ["Client", "open_client"]

CONNECT_TIMEOUT_S: Final = 10.0
MOST_BODY: Final = 64 * 1024

_USER_AGENT = "bulk-delete"
_PATH = re.compile(r"(/(?!\.{1,2}(/|\Z))[A-Za-z0-9._~-]+)+")


@dataclass(frozen=True, slots=True)
class _Wiring:
    """What a client is opened with."""

    line: Line
    peer: Peer
    base_url: str
    base_path: str
    headers: str = field(repr=False)
    """Of every request, each with its line's end: the token is in them."""
    stop: Stop
    timeout_s: float
    now: WallClock
    on_note: Callable[[str], None]
    clean: Clean


class Client:
    """The vendor's API; implements `model.Sender`. Open it with `open_client`."""

    def __init__(self, wiring: _Wiring) -> None:
        self._wiring = wiring
        self._noted = False
        self._user_id, self._head_of_user = "", b""
        """Of the last deletion: most are of the same user."""

    def __repr__(self) -> str:
        return f"Client({self._wiring.base_url!r})"

    async def send(self, request: DeleteRequest, on_left: Callable[[], None]) -> Reply:
        """Make exactly one attempt to delete, through the gate (see `model.Sender`)."""
        user_id = request.target.user_id
        if user_id != self._user_id:
            self._user_id, self._head_of_user = (
                user_id,
                self._head("DELETE", f"/agent-api/user/{user_id}/del_customer"),
            )
        answer = await self._attempt(self._head_of_user, request.body, on_left)
        reply = read_reply(answer, self._wiring.clean)
        if answer.quota_reset_s:
            # An audit that cannot be written says so again at the next record; this reply is not lost for it.
            with suppress(Stopped):
                self._wiring.line.gate.quota_exhausted(answer.quota_reset_s)
        return reply

    async def check_token(self) -> str:
        """Ask, without deleting, whether the token is valid; return the vendor's words, if any.

        Raises:
            AttemptFailed: It is not, or nobody could be asked; its `kind` and `message` say which.
            Stopping: The run was told to stop first.
        """
        answer = await self._attempt(self._head("GET", "/agent-api/token"), b"", _nothing)
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
        head = self._head("GET", f"/agent-api/user/{target.user_id}/get_customer", urlencode(query))
        return read_total(await self._attempt(head, b"", _nothing), self._wiring.clean)

    def _head(self, method: str, path: str, query: str = "") -> bytes:
        """Return a request up to its body's length; a path that a server might read as another is a bug."""
        if not _PATH.fullmatch(path):
            raise AssertionError(f"{path!r} would be sent as another path")
        wiring = self._wiring
        line = f"{method} {wiring.base_path}{path}{query and '?'}{query} HTTP/1.1\r\n"
        return (line + wiring.headers).encode("ascii")

    async def _attempt(self, head: bytes, body: bytes, on_left: Callable[[], None]) -> RawReply:
        line, attempt = self._wiring.line, None
        request = b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body) if body else head + b"\r\n"
        try:
            with self._wiring.stop.interruptible(recallable=True) as wait:
                await line.gate.approach()
                attempt = Attempt(line, wait, self._wiring.timeout_s, request)
                wire = await attempt.leave()
                try:
                    on_left()
                    attempt.reply, content = await wire.read()
                    answer = self._answer(attempt.reply, *await _read_bounded(content))
                except BaseException:
                    line.drop(wire)
                    raise
                line.give_back(wire)
                return self._if_proven(attempt, answer)
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            if attempt is None:
                raise
            return self._if_proven(attempt, self._end(attempt, error))
        finally:
            if attempt is not None:
                line.gate.attempt_over(left=attempt.left)
            if self._wiring.peer.out_of_step and not self._noted:
                self._note_peer()

    def _if_proven(self, attempt: Attempt, answer: RawReply) -> RawReply:
        """Return a reply unless it may as well be a late one to the request before, whatever it says."""
        if attempt.proven:
            return answer
        raise AttemptFailed(
            BAD_REPLY,
            left=True,
            http_status=answer.status,
            message="a reply, but the server also sends replies that nobody asked for",
        )

    def _note_peer(self) -> None:
        """Say once that the server is out of step."""
        self._noted = True
        words = "the server sends replies that nobody asked for: from now on one request a connection"
        if in_doubt := self._wiring.peer.in_doubt:
            words += f" ({in_doubt} replies before, over the one where it showed, may be late ones)"
        # An audit that cannot be written says so again at the next record; this reply is not lost for it.
        with suppress(Stopped):
            self._wiring.on_note(words)

    def _answer(self, reply: RawResponseMessage, body: bytes = b"", flaw: str = "") -> RawReply:
        encoding = reply.headers.get("Content-Encoding")
        if encoding is not None and encoding.strip().lower() not in {"identity", ""}:
            flaw = "the body is encoded, which was not asked for"
        retry_after_s, quota_reset_s = read_advice(reply.headers, self._wiring.now)
        return RawReply(reply.code, b"" if flaw else body, retry_after_s, quota_reset_s, flaw)

    def _end(self, attempt: Attempt, error: Exception) -> RawReply:
        """Class a broken exchange; a status other than 200 that came in whole still decides alone."""
        status = None if attempt.reply is None else attempt.reply.code
        if attempt.reply is not None and status != 200:
            return self._answer(attempt.reply)
        kind, words = CUT, f"the connection broke: {error}"
        if not attempt.left:
            kind, words = _why_not_connected(error)
        elif isinstance(error, TimeoutError):
            kind, words = TIMEOUT, f"no whole reply within {self._wiring.timeout_s:g} s"
        elif isinstance(error, HttpProcessingError | ValueError):
            # Its status 400 is aiohttp's own: the server may well have processed the request.
            kind, words = BAD_REPLY, f"the reply is not HTTP: {error}"
        raise AttemptFailed(
            kind, left=attempt.left, http_status=status, message=self._wiring.clean(words)
        ) from error


def _nothing(_words: str = "") -> None:
    """Be told, and need not know."""


async def _read_bounded(content: StreamReader) -> tuple[bytes, str]:
    """Return a body of at most `MOST_BODY` bytes, or what is wrong with it: it was not read to its end."""
    body = await content.readany()
    while not content.at_eof() and len(body) <= MOST_BODY:
        body += await content.readany()
    return (body, "") if len(body) <= MOST_BODY else (b"", f"the body is longer than {MOST_BODY} bytes")


def _why_not_connected(error: Exception) -> tuple[FailureKind, str]:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        words = f"TLS: the server's certificate is not trusted: {getattr(cause, 'verify_message', cause)}"
        return UNTRUSTED, words
    if isinstance(error, TimeoutError):
        return NOT_CONNECTED, "no connection in time"
    return NOT_CONNECTED, f"no connection: {error}"


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
    on_note: Callable[[str], None] = _nothing,
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
        now: For the dates in `Retry-After`, where a reply bears none of its own.
        on_note: Told, once, that the server is out of step; what it raises as `Stopped` is said elsewhere.

    Raises:
        Refused: The CA file cannot be used.
    """
    loop, peer = asyncio.get_running_loop(), Peer()
    trust = _trust(ca_file) if base_url.startswith("https:") else True
    proxy = _proxy(base_url) if proxy_from_env else None
    origin = ClientRequest("GET", URL(base_url), loop=loop, ssl=trust, proxy=URL(proxy) if proxy else None)
    connect_s = min(CONNECT_TIMEOUT_S, timeout_s)
    timeout = aiohttp.ClientTimeout(connect=connect_s, sock_connect=connect_s)
    connector = Connector(peer, limit=concurrency, keepalive_timeout=IDLE_S, ttl_dns_cache=60)
    line = Line(connector, origin, timeout, gate, loop.time)
    client = Client(
        _Wiring(
            line=line,
            peer=peer,
            base_url=base_url,
            base_path=URL(base_url, encoded=True).raw_path.rstrip("/"),
            headers=_headers(origin.headers["Host"], token),
            stop=stop,
            timeout_s=timeout_s,
            now=now,
            on_note=on_note,
            clean=cleaner(token),
        )
    )
    try:
        async with connector:  # which closes them all and waits for that
            yield client
    finally:
        line.forget()


def _headers(host: str, token: Token) -> str:
    """Return the headers of every request; a proxy's CONNECT has others, and no token."""
    lines = (
        f"Host: {host}",
        f"Authorization: Bearer {token.reveal()}",
        "Content-Type: application/json",
        "Accept: application/json",
        "Accept-Encoding: identity",
        f"User-Agent: {_USER_AGENT}",
    )
    if any("\r" in line or "\n" in line for line in lines):
        raise AssertionError("a header holds a line break")
    return "".join(f"{line}\r\n" for line in lines)


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
