"""`cluster worker`: takes shards of one origin and sends them, until told to stop."""

import asyncio
import os
import secrets
import socket
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

from runner.access import Access, origin_of
from runner.cluster.database import Database, check_schema
from runner.cluster.listener import CHANNEL, Listener
from runner.cluster.scratch import clear_abandoned
from runner.cluster.shard_rows import ShardKey
from runner.cluster.worker import Post, work
from runner.commands.command_call import CommandResult
from runner.commands.shard import ShardSender
from runner.commands.vendor import stoppable
from runner.locks import origin_lock
from runner.options import WorkerOptions
from runner.output.cluster_results import ClusterWorkerResult
from runner.output.console import Console
from runner.process import ensure_descriptors, use_loop
from runner.stop import Stop
from runner.text import many

__all__ = ["worker"]

_FILES_A_SHARD = 64
"""Connections, plan, and what the libraries open."""


def worker(
    database: Database, options: WorkerOptions, access: Access, screen: Console
) -> CommandResult[ClusterWorkerResult]:
    """Work until a signal comes, or until no shard is left where that is wanted.

    Raises:
        DatabaseAway: The database cannot be reached; nothing was taken.
        Refused: It has no tables, or those of another version.
    """
    ensure_descriptors((2 * options.concurrency + 1) * _FILES_A_SHARD)
    with asyncio.Runner(loop_factory=use_loop()) as runner:
        return runner.run(_work(database, options, access, screen))


async def _work(
    database: Database, options: WorkerOptions, access: Access, screen: Console
) -> CommandResult[ClusterWorkerResult]:
    origin = origin_of(access.base_url)

    def on_first(name: str) -> None:
        screen.note(f"{name}: giving the shards back; again to leave now")

    async with stoppable(screen, on_first) as stop, AsyncExitStack() as stack:
        async with await database.connect() as connection:
            await check_schema(connection)
        await stack.enter_async_context(_beside_no_plain_run(access, screen, stop))
        sender = ShardSender(database, access, screen, _name(), stop)

        def on_rescue(key: ShardKey, former: str | None) -> None:
            gone = f"{former} is not heard of" if former else "whoever took it never began it"
            screen.note(f"{key}: {gone}; it is placed anew")

        def meet(listener: Listener) -> None:
            listener.hear(CHANNEL, sender.heard)
            listener.on_gap(sender.look_at_all)

        if cleared := await asyncio.to_thread(clear_abandoned):
            screen.note(f"{many(cleared, 'private folder')} of workers that were killed here: removed")
        screen.note(f"a worker for {origin}: {many(options.concurrency, 'shard')} at a time")
        post = Post(database, sender.patience, origin, options.concurrency, options.drain, on_rescue)
        following = asyncio.create_task(sender.follow())
        try:
            await sender.open(options.concurrency + 1)
            await work(post, sender.send, meet, stop)
        finally:
            stop.request("the worker is over")
            await following
            await sender.close()
    return _result(stop, sender, access, screen)


def _beside_no_plain_run(access: Access, screen: Console, stop: Stop) -> AbstractAsyncContextManager[Path]:
    """Hold the origin together with all who share its rate; a run that does not is waited for."""
    return origin_lock(
        access.base_url,
        wait=True,
        shared=True,
        sleep=stop.sleep,
        on_wait=lambda holder: screen.note(f"waiting for the run of {holder}, which shares no rate"),
    )


def _name() -> str:
    """Return how this worker is called: for people, and never twice."""
    return f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(4)}"


def _result(
    stop: Stop, sender: ShardSender, access: Access, screen: Console
) -> CommandResult[ClusterWorkerResult]:
    reason = stop.reason
    assert reason is not None  # noqa: S101 - work ends with one
    screen.settle(reason.exit_code)
    result = ClusterWorkerResult(
        exit_code=int(reason.exit_code),
        message=reason.why,
        hint=reason.remedy or None,
        base_url=access.base_url,
        done=sender.ended["done"],
        stopped=sender.ended["stopped"],
        given_back=sender.ended["waiting"],
    )
    return CommandResult(result, lambda: _text(result))


def _text(result: ClusterWorkerResult) -> str:
    shards = f"{many(result.done, 'shard')} done, {result.stopped} stopped, {result.given_back} given back"
    if not result.exit_code:
        return shards
    hint = f"\n-> {result.hint}" if result.hint else ""
    return f"{result.message}: {shards}{hint}"
