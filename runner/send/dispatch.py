"""Many batches at once: how many, and how a run drains.

Keeps at most `concurrency` batches in hand. Takes no new batch once the run is to stop, and lets those on the
wire come home. What goes wrong in one of its tasks, whichever it is, stops the run and cuts off no other.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

from runner.errors import RunnerError
from runner.send.breaker import Breaker
from runner.send.delivery import Delivery, Ended
from runner.send.feed import Feed
from runner.stop import Stop, Stopping

__all__ = ["Dispatch"]


class Dispatch:
    """Runs batches through a delivery until there are none left or the run is to stop.

    Args:
        feed: Hands out what is to be sent.
        delivery: Brings one batch to its end.
        breaker: Says who may send.
        stop: Says that nobody may.
        concurrency: Batches in hand at most.
    """

    def __init__(
        self, feed: Feed, delivery: Delivery, breaker: Breaker, stop: Stop, *, concurrency: int
    ) -> None:
        self._feed = feed
        self._delivery = delivery
        self._breaker = breaker
        self._stop = stop
        self._concurrency = concurrency
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Send everything, or stop early and leave the rest open; the reason is then in the stop.

        Returns once nothing is on the wire and every batch with an intent has its end or its `open` record.
        """
        self._stop.on_abandon = self._abandon
        try:
            async with asyncio.TaskGroup() as group:
                for work in (self._feed.fill, *[self._work] * self._concurrency):
                    self._tasks.append(group.create_task(self._survive(work)))
        finally:
            self._breaker.close()
        try:
            self._delivery.leave_open()
        except RunnerError as error:
            self._stop.fail(error)

    def _abandon(self) -> None:
        """Leave now: what is on the wire is not waited for and stays open."""
        for task in self._tasks:
            task.cancel()

    async def _survive(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do one task's work; whatever ends it asks for a stop, for an error would cancel all the others."""
        try:
            await work()
        except Stopping:
            pass
        except RunnerError as error:
            self._stop.fail(error)
        except asyncio.CancelledError:
            if not self._stop:
                raise
        except Exception as error:  # noqa: BLE001 - a bug in one batch must not cut off the others
            self._stop.request(f"internal error: {_where(error)}", even_if_done=True)

    async def _work(self) -> None:
        """Take and deliver until there is nothing left."""
        while True:
            await self._breaker.admit()
            seq = None
            try:
                work = await self._feed.take()
                if work is None:
                    return
                seq = work.batch.seq
                result = await self._delivery.deliver(work, self._feed.left)
                if isinstance(result, Ended) and result.user_refused:
                    self._feed.skip_user(result.user_id)
            finally:
                self._breaker.release(seq)


def _where(error: Exception) -> str:
    """Return an unforeseen error's type and place, without its words: they may hold a number."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
