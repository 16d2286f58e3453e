"""A connection to the database that is made anew when it is lost; who uses it waits for who used it before.

Keeps the promise that a database which is away is waited for: `ask` says so at once, `ask_on` asks again for
as long as its owner has patience. After a lost answer nobody knows whether a statement was carried out: what
is asked through here may be carried out twice.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar

from runner.cluster.clock import boot_time
from runner.cluster.database import Connection, Database, DatabaseAway, ask, ask_named
from runner.errors import RunnerError

__all__ = ["DatabaseLine", "Patience"]

AGAIN_S: Final = 0.1
"""Before something is tried again at first; each time twice that."""
LONGEST_S: Final = 1.0
"""Before something is tried again at most."""
LAST_TRY_S: Final = 5.0
"""What is asked when the patience is over, or nearly, has so long for its answer."""

_SILENT: Final = "the database does not answer"
_Answer = TypeVar("_Answer")


class Patience:
    """For how long a database that is away is waited for: until somebody says that it is enough.

    One that is there and does not answer is away, too.
    """

    def __init__(self) -> None:
        self._end_s: float | None = None
        self._tries: set[asyncio.Timeout] = set()

    def end_within(self, seconds: float) -> None:
        """Wait for so long from now on, and no longer; the shortest that was said holds."""
        end_s = asyncio.get_running_loop().time() + seconds
        self._end_s = end_s if self._end_s is None else min(end_s, self._end_s)
        for under_way in self._tries:
            if not under_way.expired():
                under_way.reschedule(self._until_s())

    async def persist(self, work: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Return what `work` returns, tried again while it raises `DatabaseAway`; the last one is raised.

        From the end on it is tried once, and dropped where no answer comes: then it is cancelled.
        """
        pause_s = AGAIN_S
        while True:
            try:
                async with self._one_try():
                    return await work()
            except DatabaseAway:
                if self._end_s is not None and asyncio.get_running_loop().time() >= self._end_s:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_S, pause_s * 2)

    @asynccontextmanager
    async def _one_try(self) -> AsyncIterator[None]:
        limit = asyncio.timeout_at(self._until_s())
        self._tries.add(limit)
        try:
            async with limit:
                yield
        except TimeoutError:
            raise DatabaseAway(_SILENT, hint="see what it does; then type the command again") from None
        finally:
            self._tries.discard(limit)

    def _until_s(self) -> float | None:
        """Return when a try that is under way is dropped; None: not at all."""
        if self._end_s is None:
            return None
        return max(self._end_s, asyncio.get_running_loop().time() + LAST_TRY_S)


class DatabaseLine:
    """One connection at a time; `patience` is that of `ask_on`."""

    def __init__(self, database: Database, patience: Patience) -> None:
        self._database = database
        self._patience = patience
        self._connection: Connection | None = None
        self._one_at_a_time = asyncio.Lock()
        self.made = 0
        """How many connections there were: another number says that one was lost meanwhile."""
        self.since_s = math.inf
        """Our clock, as of `boot_time`: when the last of them was made."""

    async def ask(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows.

        Raises:
            DatabaseAway: Nobody knows whether it was carried out.
            Refused: It was not.
        """
        return await self._do(lambda connection: ask(connection, statement, values))

    async def ask_on(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement, again and again while the database is away.

        Raises:
            DatabaseAway: It was away for longer than the patience lasts.
            Refused: It was not carried out.
        """
        return await self._patience.persist(partial(self.ask, statement, values))

    async def ask_named(self, statement: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Run one statement with named values, as `ask_on` does; rows by the columns' names."""
        work = partial(self._do, lambda connection: ask_named(connection, statement, values))
        return await self._patience.persist(work)

    async def close(self) -> None:
        """Close the connection; another question would make one anew."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):  # it is of no use any more, however it ends
                await connection.close()

    async def _do(self, work: Callable[[Connection], Awaitable[_Answer]]) -> _Answer:
        async with self._one_at_a_time:
            if self._connection is None:
                self._connection = await self._database.connect()
                self.made, self.since_s = self.made + 1, boot_time()
            try:
                return await work(self._connection)
            except RunnerError:
                if self._connection is not None and self._connection.closed:
                    await self.close()
                raise
            except BaseException:  # cancelled, perhaps: whose answer would the next one be?
                await self.close()
                raise
