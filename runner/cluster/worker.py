"""A worker of a cluster: takes shards of one origin, and looks after those whose worker is gone.

Keeps the promise that a shard whose owner is not heard of is on its way again within seconds: whoever is
there looks each second, and has as many places again for what is rescued as for the rest. Who was cut off
itself first waits as long as it gives others: a database that comes back finds nobody judged. It never sends
a request, and what a shard's end means is decided by whoever sends it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from procrastinate.worker import Worker

from runner.cluster.database import Database, DatabaseAway
from runner.cluster.line import DatabaseLine, Patience
from runner.cluster.listener import CHANNEL, Listener
from runner.cluster.queue import channels_of, make_workers
from runner.cluster.shard_rows import ShardKey
from runner.errors import Broken, Exit, RunnerError, Stopped
from runner.stop import Stop, Stopping

__all__ = ["GIVE_UP_S", "Post", "work"]

STALE_S: Final = 3.0
"""A shard's owner that was not heard of for so long has lost it."""
LOOK_EVERY_S: Final = 1.0
_DRAINED: Final = "no shard is left"
GIVE_UP_S: Final = 30.0
"""A clean stop waits for a database that is away for so long."""

_QUEUES: Final = "SELECT queue_of(%s, true), queue_of(%s, false)"
_RESCUE: Final = "SELECT job, shard, epoch, worker FROM rescue_shards(%s, %s)"
_LEFT: Final = """
    SELECT EXISTS (SELECT FROM shards JOIN jobs USING (job)
    WHERE origin = %s AND shards.state IN ('waiting', 'doing'))"""


@dataclass(frozen=True, slots=True)
class Post:
    """Where a worker works.

    Args:
        database: Places the work.
        patience: Ends once a stop has waited long enough for a database that is away.
        origin: Whose shards.
        concurrency: Shards at a time, and as many again that were rescued.
        drain: End when no shard of the origin is left.
        on_rescue: Told of each shard that was taken from a worker, and of that worker, if one had begun it.
    """

    database: Database
    patience: Patience
    origin: str
    concurrency: int
    drain: bool
    on_rescue: Callable[[ShardKey, str | None], None]


async def work(
    post: Post, send: Callable[[ShardKey], Awaitable[None]], meet: Callable[[Listener], None], stop: Stop
) -> None:
    """Take shards until told to stop, or until none is left where that is wanted.

    Args:
        post: Where.
        send: Brings one shard to whatever end; it must not raise.
        meet: Given who hears the database, before it does.
        stop: Ends it; what goes wrong with the database is requested there, too.

    Raises:
        DatabaseAway: It cannot be reached; no work was taken.
        Refused: It declines, likewise.
    """
    line = DatabaseLine(post.database, post.patience)
    try:
        ((rescued, ordinary),) = await line.ask(_QUEUES, (post.origin, post.origin))
        listener = Listener(post.database, [CHANNEL, *channels_of((rescued, ordinary))])
        meet(listener)

        async def send_shard(job: str, shard: int, epoch: int) -> None:
            await send(ShardKey(job, shard, epoch))

        slots = (((rescued, ordinary), post.concurrency), ((rescued,), post.concurrency))
        workers = make_workers(line, listener, send_shard, slots)
        await _serve(workers, [listener.run(), _look_after(post, line)], post.patience, stop)
    finally:
        await line.close()


async def _serve(
    workers: Sequence[Worker], beside: Sequence[Coroutine[Any, Any, None]], patience: Patience, stop: Stop
) -> None:
    """Run workers until told to stop, or until one of what runs beside them ends; let shards come home."""
    serving = [asyncio.create_task(worker.run()) for worker in workers]  # type: ignore[no-untyped-call] # the library's
    others = [asyncio.create_task(task) for task in (*beside, _stopped(stop))]
    try:
        done, _ = await asyncio.wait([*serving, *others], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            _heed(task, stop)
        if not done.isdisjoint(serving):
            stop.fail(Stopped("the queue ended by itself"))
        stop.request(_DRAINED, Exit.OK)
    finally:
        patience.end_within(GIVE_UP_S)
        for worker in workers:
            worker.stop()  # type: ignore[no-untyped-call] # the library's
        await asyncio.wait(serving)
        for task in others:
            task.cancel()
        await asyncio.gather(*serving, *others, return_exceptions=True)


def _heed(task: asyncio.Task[None], stop: Stop) -> None:
    """Stop for what ended a task, if that was an error."""
    error = task.exception()
    if error is None:
        return
    ours = error if isinstance(error, RunnerError) else Broken(error, sent=True)  # type: ignore[arg-type] # no exit is raised in a task
    stop.fail(ours)


async def _stopped(stop: Stop) -> None:
    with suppress(Stopping), stop.interruptible():
        await asyncio.Event().wait()


async def _look_after(post: Post, line: DatabaseLine) -> None:
    """Take shards from workers that are gone, each second; return when there is nothing left to wait for."""
    loop = asyncio.get_running_loop()
    made, looked_s, judges_from_s = line.made, loop.time(), loop.time() + STALE_S
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            left = await line.ask(_LEFT, (post.origin,))
            if post.drain and not left[0][0]:
                return
            if line.made != made or loop.time() - looked_s > 2 * LOOK_EVERY_S:
                # This process was stopped, or cut off: so may all the others have been.
                made, judges_from_s = line.made, loop.time() + STALE_S
            if loop.time() >= judges_from_s:
                for job, shard, epoch, worker in await line.ask(_RESCUE, (post.origin, STALE_S)):
                    post.on_rescue(ShardKey(job, shard, epoch), worker)
        except DatabaseAway:
            continue
        looked_s = loop.time()
