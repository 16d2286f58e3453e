"""A ping in healthchecks' dialect: that a run starts, and with which exit code it ended.

Whoever watches the pings learns what nobody else can say: that a run did **not** start. Both pings of a call
carry the same `rid`, so that the watcher knows which end belongs to which start.
"""

from typing import Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from runner.tell.post import Unsent, post, why_unsent
from runner.tell.robots import Call, with_query
from runner.text import printable

__all__ = ["END_S", "START_S", "ping"]

START_S: Final = 2.0
END_S: Final = 3.0
"""What each of the two may cost: five seconds together."""
_MOST_WORDS: Final = 200


async def ping(
    url: str, signal: str, rid: str, session: aiohttp.ClientSession, *, within_s: float, text: str = ""
) -> str:
    """Send one ping; return in words what went wrong, or an empty text.

    Args:
        url: Of the check.
        signal: `start`, or an exit code.
        rid: A UUID, the same for the start and the end of one call.
        session: Open.
        within_s: What it may take.
        text: What the watcher shows beside it.
    """
    parts = urlsplit(url)
    whole = urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{signal}"))
    call = Call(with_query(whole, rid=rid), text.encode(), "text/plain; charset=utf-8")
    why = await why_unsent(_take(session, call), within_s)
    return f"[ping]: the ping ({signal}) was not taken: {why}" if why else ""


async def _take(session: aiohttp.ClientSession, call: Call) -> None:
    answer = await post(session, call)
    said = printable(answer.body.decode("utf-8", "replace"))[:_MOST_WORDS]
    if not 200 <= answer.status < 300:
        raise Unsent(f"HTTP {answer.status}: {said}")
    # Healthchecks' own way to say that it knows no such check, or hears it too often.
    if said.startswith("OK ("):
        raise Unsent(said)
