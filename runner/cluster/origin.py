"""The rate of an origin for one session: set, taken part in, and changed, without jobs and shards."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from runner.access import origin_of
from runner.cluster.clock import boot_time
from runner.cluster.database import Database, check_schema
from runner.cluster.grants import Grant
from runner.cluster.line import DatabaseLine, Patience
from runner.cluster.listener import CHANNEL, Listener
from runner.cluster.slots import SlotPacer, open_slots
from runner.process import utc_now
from runner.settings import Rate
from runner.stop import Stop

__all__ = ["Origin", "OriginTurns", "open_origin"]

_USE = "SELECT count, period_s FROM use_rate(%s, %s, %s, %s)"
_ALLOWED = "SELECT count * share, period_s FROM origins WHERE origin = %s"
_TAKE = """
SELECT at_s, first_s, step_s, granted, allowed, count, period_s, paused_until_s
FROM take_slots(%s, %s, %s::double precision)
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose rate is shared, and through what.

    Args:
        database: What all who share it go by.
        base_url: Its scheme, host and port are the origin.
        on_lower: Called where a lower rate than the session's is in use, with that.
    """

    database: Database
    base_url: str
    on_lower: Callable[[Rate], None]

    @property
    def name(self) -> str:
        """The origin as it stands in the database."""
        return origin_of(self.base_url)


class OriginTurns:
    """Takes turns of an origin over one connection; implements `Turns`."""

    def __init__(self, database: Database, origin: str) -> None:
        self._database = database
        self._origin = origin
        self._patience = Patience()
        self._line = DatabaseLine(database, self._patience)

    async def begin(self, rate: Rate) -> Rate:
        """Let this be the origin's rate unless a lower one is in use, and return what holds.

        Raises:
            DatabaseAway: It cannot be reached.
            Refused: It has other tables, or declines.
        """
        async with await self._database.connect() as connection:
            await check_schema(connection)
        return await self._use(rate, lower_only=True)

    async def set_rate(self, rate: Rate) -> Rate:
        """Let this be the origin's rate, and return what is allowed of it just now; raises as `begin`."""
        await self._use(rate, lower_only=False)
        return Rate(*(await self._line.ask(_ALLOWED, (self._origin,)))[0])

    async def turn(self, wanted: int, complaint: float | None) -> Grant:
        """Take a turn, again and again while the database is away; raises Refused where it declines."""
        return await self._patience.persist(lambda: self._take(wanted, complaint))

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()

    async def _use(self, rate: Rate, *, lower_only: bool) -> Rate:
        values = (self._origin, rate.count, rate.period_s, lower_only)
        return Rate(*(await self._line.ask(_USE, values))[0])

    async def _take(self, wanted: int, complaint: float | None) -> Grant:
        sent_s = boot_time()
        ((at_s, *rest),) = await self._line.ask(_TAKE, (self._origin, wanted, complaint))
        return Grant(self._line.made, sent_s, at_s, boot_time(), *rest)


@asynccontextmanager
async def open_origin(origin: Origin, rate: Rate, stop: Stop) -> AsyncIterator[SlotPacer]:
    """Open the gate of one session for as long as the context lasts.

    Raises:
        Refused: The database cannot be used.
        Stopping: The run was told to stop first.
    """
    turns = OriginTurns(origin.database, origin.name)
    try:
        with stop.interruptible():
            in_use = await turns.begin(rate)
        if in_use.per_second < rate.per_second:
            origin.on_lower(in_use)
        async with (
            open_slots(turns, stop, now=utc_now, asked=rate) as pacer,
            _listening(origin, pacer),
        ):
            yield pacer
    finally:
        await turns.close()


@asynccontextmanager
async def _listening(origin: Origin, pacer: SlotPacer) -> AsyncIterator[None]:
    """Ask anew whenever the database says that something changed, or may have."""

    def hear(words: str) -> None:
        if words == f"origin {origin.name}":
            pacer.refresh()

    listener = Listener(origin.database, [CHANNEL])
    listener.hear(CHANNEL, hear)
    listener.on_gap(pacer.refresh)
    task = asyncio.create_task(listener.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
