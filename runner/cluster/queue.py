"""The queue that places the work, Procrastinate, on connections of ours.

Keeps two promises. A database that is away ends no worker: what the queue asks is asked again. And the
queue's own book-keeping decides nothing: what it has to say of a task that is another worker's by now is let
pass, because what has become of a shard stands in the shard's row alone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from procrastinate import App
from procrastinate.connector import BaseAsyncConnector, BaseConnector, Notify
from procrastinate.exceptions import NoResult
from procrastinate.manager import get_channel_for_queues
from procrastinate.worker import Worker

from runner.cluster.line import DatabaseLine
from runner.cluster.listener import Listener
from runner.errors import Refused

__all__ = ["channels_of", "make_workers"]

_POLL_S: Final = 5.0
"""Tasks are looked for so often although nobody said that there are any."""
_LONG_S: Final = 7 * 86400.0
"""Before the queue forgets a worker that it does not hear of: a shard's beat says sooner what matters."""

SendShard = Callable[[str, int, int], Awaitable[None]]


def channels_of(queues: Iterable[str]) -> list[str]:
    """Return the channels on which the queue says that there is a task."""
    return list(get_channel_for_queues(queues))


class _Connector(BaseAsyncConnector):
    """Procrastinate's questions, on a line of ours and a listener of ours."""

    def __init__(self, line: DatabaseLine, listener: Listener) -> None:
        self._line = line
        self._listener = listener

    def get_sync_connector(self) -> BaseConnector:
        return self

    async def open_async(self, pool: Any = None) -> None:
        """Do nothing: a line opens by itself."""

    async def close_async(self) -> None:
        """Do nothing: the line's end is its owner's."""

    async def execute_query_async(self, query: str, **arguments: Any) -> None:
        with suppress(Refused):  # the end of a task that is another's by now
            await self._line.ask_named(query, arguments)

    async def execute_query_one_async(self, query: str, **arguments: Any) -> dict[str, Any]:
        rows = await self._line.ask_named(query, arguments)
        if not rows:
            raise NoResult
        return rows[0]

    async def execute_query_all_async(self, query: str, **arguments: Any) -> list[dict[str, Any]]:
        return await self._line.ask_named(query, arguments)

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        """Hand on what is said on these channels, until cancelled."""
        said: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        for channel in channels:
            self._listener.hear(channel, partial(_put, said, channel))
        while True:
            channel, words = await said.get()
            await on_notification(channel=channel, payload=words)


def _put(said: asyncio.Queue[tuple[str, str]], channel: str, words: str) -> None:
    said.put_nowait((channel, words))


def make_workers(
    line: DatabaseLine, listener: Listener, send_shard: SendShard, slots: Sequence[tuple[Sequence[str], int]]
) -> list[Worker]:
    """Return the queue's workers, to be run on this loop.

    Args:
        line: For the queue alone.
        listener: Of the queues' channels, too.
        send_shard: Does a task: of a job, one shard, in one epoch. It must not raise.
        slots: Queues, the first before the others, and how many of their tasks are done at a time.
    """
    for name in ("procrastinate", "psycopg"):  # what they say of a lost connection is said in our words
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
    app = App(connector=_Connector(line, listener))
    app.task(name="send_shard")(send_shard)
    return [
        Worker(
            app,
            queues=list(queues),  # a tuple is no array to the database
            concurrency=number,
            fetch_job_polling_interval=_POLL_S,
            delete_jobs="always",
            install_signal_handlers=False,
            stalled_worker_timeout=_LONG_S,
        )
        for queues, number in slots
    ]
