"""All that is told of one call, at its start and at its end; what could not be told comes back as words.

Keeps the promise that telling changes nothing: it has its own times, whatever the network does, and the exit
code, standard output and the audit are what they were.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession

from runner.errors import Refused
from runner.locks import state_directory
from runner.tell.ending import Ending, as_text
from runner.tell.messages import Recipient, send_messages
from runner.tell.ping import END_S, START_S, ping
from runner.tell.post import open_http

__all__ = ["Audience", "tell_end", "tell_start"]


@dataclass(frozen=True, slots=True)
class Audience:
    """Who is told, as the operator's configuration says.

    Args:
        ping_url: Of the check that is pinged.
        textfile: Where metrics go.
        notify: Who gets messages.
    """

    ping_url: str | None = None
    textfile: Path | None = None
    notify: tuple[Recipient, ...] = ()


def tell_start(audience: Audience, rid: str, *, proxy_from_env: bool = False) -> list[str]:
    """Tell that a call starts; return in words what could not be told.

    Args:
        audience: Who is told.
        rid: A UUID of the call.
        proxy_from_env: Go through the proxy that the environment names.
    """
    if audience.ping_url is None:
        return []
    words = asyncio.run(_start(audience.ping_url, rid, proxy_from_env=proxy_from_env))
    return [words] if words else []


async def _start(url: str, rid: str, *, proxy_from_env: bool) -> str:
    async with open_http(proxy_from_env=proxy_from_env) as session:
        return await ping(url, "start", rid, session, within_s=START_S)


def tell_end(audience: Audience, ending: Ending, rid: str, *, proxy_from_env: bool = False) -> list[str]:
    """Tell how a call ended; return in words what could not be told.

    Args:
        audience: Who is told.
        ending: How.
        rid: The UUID that its start was told with.
        proxy_from_env: As of the start.
    """
    problems: list[str] = []
    if audience.textfile is not None:
        from runner.tell.metrics import write_metrics  # noqa: PLC0415 - only where metrics are wanted

        problems.append(write_metrics(audience.textfile, ending))
    if audience.ping_url is not None or audience.notify:
        problems += asyncio.run(_end(audience, ending, rid, proxy_from_env=proxy_from_env))
    return [words for words in problems if words]


async def _end(audience: Audience, ending: Ending, rid: str, *, proxy_from_env: bool) -> list[str]:
    async with open_http(proxy_from_env=proxy_from_env) as session:
        unsent, unheard = await asyncio.gather(
            send_messages(audience.notify, ending, session, _state()),
            _ping_end(audience.ping_url, ending, rid, session),
        )
        return [*unsent, unheard]


async def _ping_end(url: str | None, ending: Ending, rid: str, session: ClientSession) -> str:
    if url is None:
        return ""
    return await ping(url, str(ending.exit_code), rid, session, within_s=END_S, text=as_text(ending))


def _state() -> Path | None:
    """Return the folder of what is kept between runs, if there is one."""
    try:
        return state_directory()
    except Refused:
        return None
