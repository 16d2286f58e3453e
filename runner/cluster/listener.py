"""What the database says by itself, heard on one connection for everybody in this process.

What is heard only hurries: whoever listens would learn the same at its next turn. So a lost connection loses
nothing; it is told of at once, for the database may be gone, and so is each new one, for something may have
gone unheard meanwhile.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from psycopg.sql import SQL, Identifier

from runner.cluster.database import Connection, Database, DatabaseAway, ask, notices

__all__ = ["CHANNEL", "Listener"]

CHANNEL: Final = "bulk_delete"
"""On which our own functions say `job NAME` and `origin ORIGIN`."""
_AGAIN_S: Final = 0.5


class Listener:
    """Hears a database, on all channels that will be asked for."""

    def __init__(self, database: Database, channels: Iterable[str]) -> None:
        self._database = database
        self._channels = tuple(channels)
        self._hearers: list[tuple[str, Callable[[str], None]]] = []
        self._on_gap: list[Callable[[], None]] = []

    def hear(self, channel: str, hearer: Callable[[str], None]) -> None:
        """Call `hearer` with whatever is said on a channel from now on."""
        self._hearers.append((channel, hearer))

    def on_gap(self, tell: Callable[[], None]) -> None:
        """Call `tell` whenever something may go unheard from now on, or may have gone unheard."""
        self._on_gap.append(tell)

    async def run(self) -> None:
        """Listen until cancelled; a lost connection is made anew.

        Raises:
            Refused: The database declines.
        """
        while True:
            with suppress(DatabaseAway):
                async with await self._database.connect() as connection:
                    await self._listen(connection)
            await asyncio.sleep(_AGAIN_S)

    async def _listen(self, connection: Connection) -> None:
        for channel in self._channels:
            await ask(connection, SQL("LISTEN {}").format(Identifier(channel)).as_string())
        self._tell_gap()
        try:
            async for channel, words in notices(connection):
                for wanted, hearer in self._hearers:
                    if wanted == channel:
                        hearer(words)
        finally:
            self._tell_gap()

    def _tell_gap(self) -> None:
        for tell in self._on_gap:
            tell()
