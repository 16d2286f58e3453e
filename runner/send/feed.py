"""Batches on their way to the workers: taken from the plan in order, announced, handed out.

Keeps the first half of promise 6 cheap and its figures true: an intent is durable before anybody waits at the
gate with its batch, and no more are announced than the gate can let leave soon, for after a kill each that
never left counts as one uncertain attempt. Announcing has a task of its own, so that no worker waits for a
disk while others can send. It never knows where batches come from, and it sends nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from runner.errors import Stopped
from runner.model import Work
from runner.send.delivery import Delivery
from runner.stop import Stop

__all__ = ["Feed"]

_UNSENT_BETWEEN_BREATHS = 256


class Feed:
    """Batches whose intent is durable, in plan order.

    Args:
        works: What is to be done, in `seq` order.
        delivery: Announces, and ends what is not to be sent.
        stop: Ends every wait.
        ahead: How many may be announced and not have left just now; at least 1.
        skipped_users: Users that an earlier session found refused: their batches end `skipped`.
    """

    def __init__(
        self,
        works: Iterator[Work],
        delivery: Delivery,
        stop: Stop,
        ahead: Callable[[], int],
        skipped_users: Iterable[str] = (),
    ) -> None:
        self._works = works
        self._delivery = delivery
        self._stop = stop
        self._ahead = ahead
        self._skipped_users = set(skipped_users)
        self._ready: deque[Work] = deque()
        self._to_leave: set[int] = set()
        """Announced, and no request of theirs has left."""
        self._refill_at = 0
        self._takers: deque[asyncio.Future[None]] = deque()
        """Those that wait for a batch, first come, first served."""
        self._exhausted = False
        self._over = False
        self._wanted = asyncio.Event()

    async def fill(self) -> None:
        """Announce batches whenever there is room for them, until there are none left.

        Raises:
            Stopped: The audit cannot be written, or the plan cannot be read.
            Stopping: The run is to stop.
        """
        while not self._exhausted:
            self._stop.check()
            if not (room := self._room()):
                self._wanted.clear()
                with self._stop.interruptible():
                    await self._wanted.wait()
                continue
            block = await self._next_block(room)
            self._to_leave.update(work.batch.seq for work in block)
            if block:
                await self._delivery.announce(block)
                self._ready.extend(block)
            self._wake(len(block))
        self._over = True
        self._wake(len(self._takers))

    async def take(self) -> Work | None:
        """Return the next batch that may be sent, or None when there is none left.

        Raises:
            Stopped: The audit cannot be written.
            Stopping: The run is to stop.
        """
        while True:
            while self._ready:
                work = self._ready.popleft()
                if not self._ends_unsent(work):
                    return work
                self.left(work.batch.seq)
            if self._over:
                return None
            taker = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            self._wanted.set()
            with self._stop.interruptible():
                await taker

    def left(self, seq: int) -> None:
        """Note that a request of this batch has left, or that none will soon."""
        if seq in self._to_leave:
            self._to_leave.remove(seq)
            if len(self._to_leave) <= self._refill_at:
                self._wanted.set()

    def skip_user(self, user_id: str) -> None:
        """Send nothing more of this user."""
        self._skipped_users.add(user_id)

    def _room(self) -> int:
        """Return how many batches to announce now: few at a time cost few syncs, half are kept in reserve."""
        ahead = self._ahead()
        self._refill_at = ahead // 2
        if len(self._to_leave) > self._refill_at or (ahead == 1 and not self._takers):
            return 0
        return ahead - len(self._to_leave)

    def _wake(self, most: int) -> None:
        """Wake so many takers that still wait."""
        while most and self._takers:
            taker = self._takers.popleft()
            if not taker.done():  # else it was told to stop
                taker.set_result(None)
                most -= 1

    async def _next_block(self, size: int) -> list[Work]:
        block: list[Work] = []
        unsent = 0
        while len(block) < size and (work := self._next()) is not None:
            if not self._ends_unsent(work):
                block.append(work)
                continue
            unsent += 1
            if unsent % _UNSENT_BETWEEN_BREATHS == 0:
                await asyncio.sleep(0)
                self._stop.check()
        return block

    def _next(self) -> Work | None:
        try:
            work = next(self._works, None)
        except OSError as error:
            raise Stopped(
                f"the plan cannot be read: {error.strerror or error}", hint="mend the disk"
            ) from error
        self._exhausted = work is None
        return work

    def _ends_unsent(self, work: Work) -> bool:
        """End a batch that is not to be sent, and tell whether it was one."""
        if work.batch.target.user_id in self._skipped_users:
            self._delivery.end_unsent(work, "skipped")
        elif work.protected and work.protected.issuperset(work.batch.phones):
            self._delivery.end_unsent(work, "protected")
        else:
            return False
        return True
