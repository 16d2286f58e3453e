"""Messages about a run's end: each to its robot, webhook or command, all at once, within one time.

Keeps the promise that a message changes nothing: whatever goes wrong with it comes back as words, without a
secret in them, and after ten seconds it is left.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from runner.access import Token
from runner.errors import Refused
from runner.tell.command import run_command
from runner.tell.ending import Ending, as_object, as_text
from runner.tell.post import HttpReply, Unsent, post, why_unsent
from runner.tell.quota import take_turn
from runner.tell.robots import ROBOTS, Call, Robot
from runner.text import printable

__all__ = ["KINDS", "MESSAGES_S", "Recipient", "send_messages"]

KINDS: Final = (*ROBOTS, "webhook", "command")
MESSAGES_S: Final = 10.0
"""What all messages together may cost."""
_MOST_WORDS: Final = 200


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody who is told.

    Args:
        kind: One of `KINDS`.
        on: The ends that are told, in the words of `ENDS`.
        place: Where the configuration says so, for messages about messages.
        url: Of a robot or a webhook.
        secret: With which a robot's messages are signed.
        command: Words of a command.
    """

    kind: str
    on: frozenset[str]
    place: str
    url: Token | None = None
    secret: Token | None = None
    command: tuple[str, ...] = ()


async def send_messages(
    notify: Sequence[Recipient],
    ending: Ending,
    session: aiohttp.ClientSession,
    state: Path | None,
    *,
    within_s: float = MESSAGES_S,
) -> list[str]:
    """Tell everybody who wants to hear of such an end; return in words what could not be told.

    Args:
        notify: Who may want to hear.
        ending: Of what.
        session: Open.
        state: The folder of what is kept between runs; None: nothing can be kept.
        within_s: What all of it may take.
    """
    wanted = [one for one in notify if ending.end in one.on]
    found = await asyncio.gather(*(_told(one, ending, session, state, within_s) for one in wanted))
    return [words for words in found if words]


async def _told(
    one: Recipient, ending: Ending, session: aiohttp.ClientSession, state: Path | None, within_s: float
) -> str:
    why = await why_unsent(_send(one, ending, session, state), within_s)
    if not why:
        return ""
    return f"{one.place}: the message ({one.kind}) was not sent: {_without_secrets(why, one)}"


async def _send(one: Recipient, ending: Ending, session: aiohttp.ClientSession, state: Path | None) -> None:
    """Send one message; raises Unsent."""
    if one.kind == "command":
        await run_command(one.command, as_object(ending))
        return
    assert one.url is not None  # noqa: S101 - the configuration was checked
    url = one.url.reveal()
    robot = ROBOTS.get(one.kind)
    if robot is None:
        _check_http(await post(session, Call(url, as_object(ending))))
        return
    await _turn(robot, url, state)
    secret = one.secret.reveal() if one.secret is not None else None
    _check_robot(robot, await post(session, robot.dress(url, secret, as_text(ending), time.time())))


async def _turn(robot: Robot, url: str, state: Path | None) -> None:
    """Wait until one more message is allowed."""
    if state is None:
        return
    with suppress(OSError, Refused):  # where nothing can be kept, nothing is known against sending
        while wait_s := take_turn(state, url, robot.limits):
            if wait_s > MESSAGES_S:
                raise Unsent(f"it takes no more messages for {wait_s:.0f} s (its rate limit)")
            await asyncio.sleep(wait_s)


def _check_http(answer: HttpReply) -> None:
    if not 200 <= answer.status < 300:
        raise Unsent(f"HTTP {answer.status}: {_words(answer.body.decode('utf-8', 'replace'))}")


def _check_robot(robot: Robot, answer: HttpReply) -> None:
    """Raise Unsent where a robot did not take a message: its own words go over the HTTP status."""
    body: Any = None
    with suppress(orjson.JSONDecodeError):
        body = orjson.loads(answer.body)
    if not isinstance(body, dict):
        _check_http(answer)
        raise Unsent("its reply is no JSON object")
    complaint = robot.complaint(body)
    if complaint is not None:
        raise Unsent(complaint)
    _check_http(answer)


def _without_secrets(text: str, one: Recipient) -> str:
    """Return somebody's words as they may be shown: what was sent is not echoed."""
    for secret in (one.url, one.secret):
        if secret is not None:
            value = secret.reveal()
            for part in (value, *value.partition("?")[2].split("&"), value.rpartition("=")[2]):
                text = text.replace(part, "***") if len(part) > _SHORTEST_SECRET else text
    return _words(text)


_SHORTEST_SECRET: Final = 7


def _words(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= _MOST_WORDS else f"{line[: _MOST_WORDS - 1]}…"
