"""The running side of `pace`: answers what the run is doing, and hands an operator's orders to its session.

Keeps the promise that no client touches the run: few are heard at a time and few a second, each for a short
while and a short line, and whatever goes wrong with one stays in here. A run that cannot be listened for goes
on without.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson

from runner.commands.control_socket import is_own_peer, listen, socket_of
from runner.errors import Refused, RunnerError, in_our_words
from runner.output.progress import Progress, Snapshot
from runner.output.results import as_json, error_result
from runner.output.run_results import PaceResult
from runner.send.orders import Order
from runner.send.session import Session
from runner.settings import parse_rate
from runner.text import printable

__all__ = ["SteeredRun", "open_to_orders"]

PATIENCE_S: Final = 2.0
"""How long a client may take to say its line, and again to take its answer."""
LONGEST_LINE: Final = 1 << 16
AT_A_TIME: Final = 4
"""Clients that are heard at once; others wait in the kernel."""
_BREATH_S: Final = 0.02
"""Between two clients: a flood of them takes nothing from the run."""
_LOOK_EVERY_S: Final = 1.0
_LONGEST_WORDS: Final = 4000


@dataclass(frozen=True, slots=True)
class SteeredRun:
    """The run that is spoken to."""

    session: Session
    audit: Path
    plan: Path
    snapshot: Callable[[], Snapshot]


@asynccontextmanager
async def open_to_orders(run: SteeredRun, warn: Callable[[str], None]) -> AsyncIterator[None]:
    """Listen for as long as the context lasts; where that cannot be, say so and do without."""
    try:
        path = socket_of(run.audit)
        listener = listen(path)
    except (OSError, Refused) as error:
        why = error.message if isinstance(error, Refused) else error.strerror or error
        warn(f"`pace` cannot reach this run: {why}")
        yield
        return
    mine = path.lstat()
    task = asyncio.create_task(_Listener(listener, run).serve())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        listener.close()
        with suppress(OSError):
            if os.path.samestat(path.lstat(), mine):
                path.unlink()
        if not task.cancelled() and task.exception() is not None:
            warn("`pace` could not reach this run to its end")


class _Listener:
    def __init__(self, listener: socket.socket, run: SteeredRun) -> None:
        self._listener = listener
        self._run = run
        self._slots = asyncio.Semaphore(AT_A_TIME)
        self._loop = asyncio.get_running_loop()
        self._progress = Progress(self._loop.time())

    async def serve(self) -> None:
        """Hear one client after the other, few at a time, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look())
            while True:
                await self._slots.acquire()
                group.create_task(self._hear(await self._next_client()))
                await asyncio.sleep(_BREATH_S)

    async def _look(self) -> None:
        """Look at the run now and then, so that its rate is known when somebody asks."""
        while True:
            self._progress.see(self._run.snapshot(), self._loop.time())
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _next_client(self) -> socket.socket:
        while True:
            try:
                return (await self._loop.sock_accept(self._listener))[0]
            except OSError:  # no descriptor is left just now, or the client has gone
                await asyncio.sleep(_LOOK_EVERY_S)

    async def _hear(self, client: socket.socket) -> None:
        """Hear one client out; one that is slow, silent or gone is dropped."""
        try:
            with client, suppress(OSError, TimeoutError):
                client.setblocking(False)
                if not is_own_peer(client):
                    return
                async with asyncio.timeout(PATIENCE_S):
                    line = await self._read_line(client)
                answer = await self._answer(line)
                async with asyncio.timeout(PATIENCE_S):
                    await self._loop.sock_sendall(client, answer)
        finally:
            self._slots.release()

    async def _read_line(self, client: socket.socket) -> bytes:
        line = b""
        while not line.endswith(b"\n") and len(line) < LONGEST_LINE:
            block = await self._loop.sock_recv(client, LONGEST_LINE - len(line))
            if not block:
                break
            line += block
        return line

    async def _answer(self, line: bytes) -> bytes:
        try:
            order, said = self._worth_obeying(_order_of(line))
            if order is not None:
                await self._run.session.obey(order)
            return as_json(self._state(said))
        except RunnerError as error:
            return as_json(error_result(error))
        except Exception as error:  # noqa: BLE001 - a client's trouble is never the run's
            return as_json(error_result(in_our_words(error)))

    def _worth_obeying(self, order: Order | None) -> tuple[Order | None, str | None]:
        """Return what of an order changes anything, and what is to be said of the rest."""
        if order is None or order.pause is not False or self._run.session.pacer.held:
            return order, None
        rest = None if order.rate is None else replace(order, pause=None)
        return rest, "no operator had paused the run: there was nothing to let go on"

    def _state(self, said: str | None) -> PaceResult:
        run, spec = self._run, self._run.session.spec
        figures = self._progress.see(run.snapshot(), self._loop.time())
        return PaceResult(
            message=said,
            job=spec.job,
            run_id=spec.run_id,
            audit=str(run.audit),
            plan=str(run.plan),
            base_url=spec.base_url,
            next=None,
            pid=os.getpid(),
            paused=run.session.pacer.held,
            rate_configured=run.session.pacer.limit,
            **figures,
        )


def _order_of(line: bytes) -> Order | None:
    """Return the order that a line gives; None: it only asks. Raises Refused where it is neither."""
    try:
        found = orjson.loads(line)
        order = _parsed(**found)
    except (ValueError, TypeError) as error:
        raise Refused("what was said to the run is no order", hint="use the same version of both") from error
    return None if order.rate is None and order.pause is None else order


def _parsed(*, rate: Any, pause: Any, operator: Any, reason: Any) -> Order:
    if pause not in {None, True, False} or type(pause) is int:
        raise TypeError("pause")
    return Order(
        rate=None if rate is None else parse_rate(rate),
        pause=pause,
        operator=_words(operator),
        reason=_words(reason),
    )


def _words(value: Any) -> str | None:
    if value is None:
        return None
    if len(value) > _LONGEST_WORDS:
        raise Refused(f"a name or a reason may have {_LONGEST_WORDS:,} characters", hint="say it shorter")
    return printable(value)
