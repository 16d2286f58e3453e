"""Many batches: who takes which, how many at once, and how a run drains.

Keeps at most `concurrency` batches in hand and at most four times as many intents without an end. Takes no
new batch once the run is to stop, and lets those on the wire come home. It reads batches from an iterator in
plan order and never knows where they come from.
"""

import asyncio
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from runner.errors import RunnerError
from runner.model import Work
from runner.send.breaker import Breaker
from runner.send.delivery import Delivery, Ended
from runner.stop import Stop, Stopping

__all__ = ["Dispatch", "Feed"]

_UNSENT_BETWEEN_BREATHS = 256


class Feed:
    """Batches whose intent is durable, in plan order, announced in ranges ahead of need.

    Args:
        works: What is to be done, in `seq` order.
        delivery: Announces, and ends what is not to be sent.
        ahead: How many batches to announce at a time just now.
        skipped_users: Users whose batches end `skipped`; grows while the run goes on.
    """

    def __init__(
        self,
        works: Iterator[Work],
        delivery: Delivery,
        ahead: Callable[[], int],
        skipped_users: set[str],
    ) -> None:
        self._works = works
        self._delivery = delivery
        self._ahead = ahead
        self._skipped_users = skipped_users
        self._ready: deque[Work] = deque()
        self._exhausted = False
        self._lock = asyncio.Lock()

    def wants_more(self) -> bool:
        """Tell whether announcing ahead would save a worker a wait."""
        ahead = self._ahead()
        return (
            not self._exhausted and ahead > 1 and len(self._ready) <= ahead // 2 and not self._lock.locked()
        )

    async def take(self) -> Work | None:
        """Return the next batch that may be sent, or None when there is none left.

        Raises:
            Stopped: The audit cannot be written.
        """
        while True:
            while self._ready:
                work = self._ready.popleft()
                if not self._ends_unsent(work):
                    return work
            # While somebody fills, what is being announced is not ready yet, and still to be taken.
            if self._exhausted and not self._lock.locked():
                return None
            await self.fill()

    async def fill(self) -> None:
        """Announce the next batches, unless some are ready."""
        async with self._lock:
            ahead = self._ahead()
            if self._exhausted or len(self._ready) > ahead // 2:
                return
            block = await self._next_block(ahead)
            if block:
                await self._delivery.announce(block)
                self._ready.extend(block)

    async def _next_block(self, size: int) -> list[Work]:
        block: list[Work] = []
        unsent = 0
        while len(block) < size:
            work = next(self._works, None)
            if work is None:
                self._exhausted = True
                break
            if not self._ends_unsent(work):
                block.append(work)
                continue
            unsent += 1
            if unsent % _UNSENT_BETWEEN_BREATHS == 0:
                await asyncio.sleep(0)
        return block

    def _ends_unsent(self, work: Work) -> bool:
        """End a batch that is not to be sent, and tell whether it was one."""
        if work.batch.target.user_id in self._skipped_users:
            self._delivery.end_unsent(work, "skipped")
        elif work.batch.phones and work.protected.issuperset(work.batch.phones):
            self._delivery.end_unsent(work, "protected")
        else:
            return False
        return True


class Dispatch:
    """Runs batches through a delivery until there are none left or the run is to stop.

    Args:
        works: What is to be done, in `seq` order.
        delivery: Brings one batch to its end.
        breaker: Says who may send.
        stop: Says that nobody may.
        concurrency: Batches in hand at most.
        skipped_users: Users that an earlier session found refused.
    """

    def __init__(
        self,
        works: Iterator[Work],
        delivery: Delivery,
        breaker: Breaker,
        stop: Stop,
        *,
        concurrency: int,
        skipped_users: Iterable[str] = (),
    ) -> None:
        self._delivery = delivery
        self._breaker = breaker
        self._stop = stop
        self._concurrency = concurrency
        self._skipped_users = set(skipped_users)
        self._feed = Feed(works, delivery, self._ahead, self._skipped_users)
        self._workers: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Send everything, or stop early and leave the rest open; the reason is then in the stop.

        Returns once nothing is on the wire and every batch with an intent has its end or its `open` record.
        """
        self._stop.on_abandon = self._abandon
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._concurrency):
                    self._workers.append(group.create_task(self._work(group)))
        finally:
            self._breaker.close()
        try:
            self._delivery.leave_open()
        except RunnerError as error:
            self._stop.request(error.message, even_if_done=True)

    def _abandon(self) -> None:
        """Leave now: what is on the wire is not waited for and stays open."""
        for task in self._workers:
            task.cancel()

    def _ahead(self) -> int:
        return self._concurrency if self._breaker.clear else 1

    async def _work(self, group: asyncio.TaskGroup) -> None:
        """Take and deliver until there is nothing left; never raise, or the others would be cancelled."""
        try:
            while await self._deliver_next(group):
                pass
        except Stopping:
            pass
        except RunnerError as error:
            self._stop.request(error.message, even_if_done=True)
        except asyncio.CancelledError:
            if not self._stop:
                raise
        except Exception as error:  # noqa: BLE001 - a bug in one batch must not cut off the others
            self._stop.request(f"internal error: {_where(error)}", even_if_done=True)

    async def _deliver_next(self, group: asyncio.TaskGroup) -> bool:
        await self._breaker.admit()
        seq = None
        try:
            work = await self._feed.take()
            if work is None:
                return False
            seq = work.batch.seq
            self._fill_ahead(group)
            result = await self._delivery.deliver(work)
            if isinstance(result, Ended) and result.user_refused:
                self._skipped_users.add(result.user_id)
            return True
        finally:
            self._breaker.release(seq)

    def _fill_ahead(self, group: asyncio.TaskGroup) -> None:
        if self._feed.wants_more() and not self._stop:
            group.create_task(self._fill())

    async def _fill(self) -> None:
        try:
            await self._feed.fill()
        except RunnerError as error:
            self._stop.request(error.message, even_if_done=True)


def _where(error: Exception) -> str:
    """Return an unforeseen error's type and place, without its words: they may hold a number."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
