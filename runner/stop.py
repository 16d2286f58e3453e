"""One switch per run: how everything that waits learns, at once, that the run is to stop.

Owns the reason of a stop. Every wait of a run (gate, back-off, pause, trial) happens
inside `Stop.interruptible()`, so that none outlives the decision to stop. It never touches a request that
is on the wire: those are drained.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from runner.errors import Exit, RunnerError

__all__ = ["Interruptible", "Stop", "StopReason", "Stopping"]

LATE_S: Final = 0.1
"""A timer this late says that the process was stopped, or the loop held up; not that nobody answered."""
GRACE_S: Final = 1.0
"""How long is read then before it counts as a timeout."""

_SOON_S: Final = 0.001
"""A timer may come so much too early."""


class Stopping(Exception):
    """The run is stopping and what was waited for did not happen; nothing was sent."""


@dataclass(frozen=True, slots=True)
class StopReason:
    """Why a run stops early: the words for the summary, and the exit code while batches are open."""

    why: str
    exit_code: Exit = Exit.STOPPED
    even_if_done: bool = False
    """True: it decides the exit code although no batch is left open (a cap, a broken audit)."""
    remedy: str = ""
    """What is to be done before anything can go on, if that is known."""


class Interruptible:
    """A context that ends with `Stopping` when the run stops, and may turn into a timeout.

    It works as `asyncio.timeout` does, by cancelling the task that entered it. `arm(seconds)` takes it out of
    the stop's reach and gives it a deadline instead (the request is on the wire now); past that it raises
    TimeoutError.
    """

    __slots__ = ("_cancelling", "_handle", "_interrupted", "_stop", "_struck", "_task", "recallable")

    def __init__(self, stop: "Stop", *, recallable: bool) -> None:
        self.recallable = recallable
        self._stop = stop
        self._handle: asyncio.Handle | None = None
        """What strikes next."""
        self._interrupted = self._struck = False

    def __enter__(self) -> Self:
        self._stop.check()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - whoever waits is in a task
        self._task, self._cancelling = task, task.cancelling()
        self._stop.waiting[self] = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.waiting.pop(self, None)
        self._stop.deadlines.forget(self)
        if self._handle is not None:
            self._handle.cancel()
        if (
            self._struck
            and self._task.uncancel() <= self._cancelling
            and kind is not None
            and issubclass(kind, asyncio.CancelledError)
        ):
            raise (Stopping if self._interrupted else TimeoutError) from None

    def arm(self, seconds: float) -> None:
        """From now on ignore the stop and raise TimeoutError after `seconds`; Stopping if it came before."""
        if self._interrupted:
            raise Stopping
        self._stop.waiting.pop(self, None)
        self._stop.deadlines.set(self, self._task.get_loop(), seconds)

    def interrupt(self) -> None:
        """End the wait at the next turn of the loop."""
        if not self._interrupted:
            self._interrupted = True
            self._handle = asyncio.get_running_loop().call_soon(self.strike)

    def strike(self) -> None:
        """End the wait now."""
        self._struck = True
        self._task.cancel()


class Deadlines:
    """The deadlines of all waits that are armed, on one timer of the loop.

    A timer that comes late says that this process stood still: what came in meanwhile is read first, for
    `GRACE_S`, before it counts as a timeout.
    """

    def __init__(self) -> None:
        self._due_s: dict[Interruptible, float] = {}
        self._late: set[Interruptible] = set()
        """Those whose time is up, and that were given grace."""
        self._timer: asyncio.TimerHandle | None = None

    def set(self, wait: Interruptible, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Strike this wait in so many seconds."""
        due_s = self._due_s[wait] = loop.time() + seconds
        if self._timer is None or due_s < self._timer.when():
            self._look_at(loop, due_s)

    def forget(self, wait: Interruptible) -> None:
        """Do not strike this wait any more."""
        if self._due_s.pop(wait, None) is not None and self._late:
            self._late.discard(wait)

    def _look_at(self, loop: asyncio.AbstractEventLoop, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(at_s, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now_s = loop.time()
        for wait, due_s in list(self._due_s.items()):
            if due_s > now_s + _SOON_S:
                continue
            if now_s - due_s > LATE_S and wait not in self._late:
                self._late.add(wait)
                self._due_s[wait] = now_s + GRACE_S
            else:
                self.forget(wait)
                wait.strike()
        if self._due_s:
            self._look_at(loop, min(self._due_s.values()))


class Stop:
    """The switch. `request` may be called from anywhere on the loop, any number of times."""

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        self.waiting: dict[Interruptible, None] = {}
        # Not a set: waits end in the order in which they began, and a simulation can be replayed.
        self.deadlines = Deadlines()
        self.signalled = False
        """A first signal came."""
        self.deadline_s: float | None = None
        """Loop time after which no request leaves; None: there is no such time."""
        self.on_abandon: Callable[[], None] | None = None
        """What a second signal does: leave what is on the wire."""

    def __bool__(self) -> bool:
        return self.reason is not None

    def request(
        self, why: str, exit_code: Exit = Exit.STOPPED, *, even_if_done: bool = False, remedy: str = ""
    ) -> None:
        """Tell the run to stop.

        The first reason is kept, but for one that decides even if all is done: a cap or a broken audit that
        shows while a signal's run drains must not go unsaid (`resume` asks after a cap).
        """
        first = self.reason is None
        if self.reason is None or (even_if_done and not self.reason.even_if_done):
            self.reason = StopReason(why, exit_code, even_if_done, remedy)
        if first:
            for wait in list(self.waiting):
                wait.interrupt()

    def fail(self, error: RunnerError) -> None:
        """Tell the run to stop for an error that counts although nothing may be left open."""
        self.request(error.message, even_if_done=True, remedy=error.hint)

    def signal(self, name: str, exit_code: Exit, on_first: Callable[[str], None]) -> None:
        """Drain the run at a first signal, of which `on_first` is told; leave now at a second one."""
        if self.signalled:
            self.abandon()
            return
        self.signalled = True
        on_first(name)
        self.request(name, exit_code)

    def abandon(self) -> None:
        """Leave now, without waiting for what is on the wire."""
        if self.on_abandon is not None:
            self.on_abandon()

    def check(self) -> None:
        """Raise `Stopping` if the run is to stop."""
        if self.reason is not None:
            raise Stopping

    def interruptible(self, *, recallable: bool = False) -> Interruptible:
        """Return a context for one wait; entering it when the run is to stop raises `Stopping`.

        One that is `recallable` ends so at a `recall`, too.
        """
        return Interruptible(self, recallable=recallable)

    def recall(self) -> None:
        """Call back the attempts that have not left: they end with `Stopping`, and the run goes on."""
        for wait in list(self.waiting):
            if wait.recallable:
                wait.interrupt()

    async def sleep(self, seconds: float) -> None:
        """Sleep that long, or raise `Stopping` as soon as the run is to stop."""
        with self.interruptible():
            await asyncio.sleep(seconds)
