"""One POST over the network, within a time: what came back, or in words why nothing did.

Keeps the promise that no message of an error holds a URL: it may be a secret. Names are looked up in threads
that the end of the process does not wait for: a resolver that hangs must not hold it up.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from runner.process import left_behind
from runner.tell.robots import Call
from runner.version import __version__

__all__ = ["HttpReply", "Unsent", "open_http", "post", "why_unsent"]

_MOST_BYTES: Final = 64 * 1024
_PAUSES_S: Final = (1.0, 2.0)
"""Before each further attempt, where the one before surely was not heard."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A reply: its HTTP status, and the first 64 KiB of its body."""

    status: int
    body: bytes


class Unsent(Exception):
    """What was to be sent was not taken, or nobody knows; its words may be shown."""


class _Resolver(AbstractResolver):
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        def look() -> list[Any]:
            try:
                return socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
            except UnicodeError:
                raise OSError("no name of a host") from None

        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=port,
                family=family_found,
                proto=proto,
                flags=socket.AI_NUMERICHOST,
            )
            for family_found, _, proto, _, address in await left_behind(look)
        ]

    async def close(self) -> None:
        """Nothing is held."""


@asynccontextmanager
async def open_http(*, proxy_from_env: bool) -> AsyncIterator[aiohttp.ClientSession]:
    """Give a session for `post`.

    Args:
        proxy_from_env: Go through the proxy that the environment names.
    """
    connector = aiohttp.TCPConnector(resolver=_Resolver(), force_close=True)
    async with aiohttp.ClientSession(
        connector=connector,
        trust_env=proxy_from_env,
        timeout=aiohttp.ClientTimeout(total=None),
        headers={"User-Agent": f"bulk-delete/{__version__}"},
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield session


async def why_unsent(sending: Awaitable[None], within_s: float) -> str:
    """Return in words why something could not be sent within a time, or an empty text."""
    try:
        async with asyncio.timeout(within_s):
            await sending
    except TimeoutError:
        return f"no answer within {within_s:g} s"
    except Unsent as unsent:
        return str(unsent)
    except Exception as error:  # noqa: BLE001 - whatever it is, the run has ended as it has
        return f"internal: {type(error).__name__}"
    return ""


async def post(session: aiohttp.ClientSession, call: Call) -> HttpReply:
    """Return the reply to a POST; what surely was not heard (no connection, 5xx) is sent again, twice.

    Raises:
        Unsent: It was not heard, or nobody knows.
    """
    for pause_s in (*_PAUSES_S, None):
        try:
            answer = await _post_once(session, call)
        except aiohttp.ClientConnectorError as error:
            why = error.os_error.strerror or type(error.os_error).__name__
            words = f"no connection to {error.host}: {why}"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unsent(f"the connection failed: {type(error).__name__}") from error
        else:
            if answer.status < 500:
                return answer
            words = f"HTTP {answer.status}"
        if pause_s is None:
            break
        await asyncio.sleep(pause_s)
    raise Unsent(words)


async def _post_once(session: aiohttp.ClientSession, call: Call) -> HttpReply:
    async with session.post(
        call.url, data=call.body, headers={"Content-Type": call.content_type}, allow_redirects=False
    ) as reply:
        body = bytearray()
        while len(body) < _MOST_BYTES and (chunk := await reply.content.read(_MOST_BYTES - len(body))):
            body += chunk
        return HttpReply(reply.status, bytes(body))
