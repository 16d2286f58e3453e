"""One switch per run: how everything that waits learns, at once, that the run is to stop.

Owns the reason of a stop. Every wait of a run (gate, back-off, pause, trial) happens
inside `Stop.interruptible()`, so that none outlives the decision to stop. It never touches a request that
is on the wire: those are drained.
"""

import asyncio
import math
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

    __slots__ = (
        "_cancelling",
        "_handle",
        "_interrupted",
        "_struck",
        "_task",
        "_waits",
        "due_s",
        "late",
        "recallable",
    )

    def __init__(self, waits: "Waits", *, recallable: bool) -> None:
        self.recallable = recallable
        self.due_s: float | None = None
        """Loop time of its deadline, once it is armed."""
        self.late = False
        """Its time is up, and it was given grace."""
        self._waits = waits
        self._handle: asyncio.Handle | None = None
        """What strikes next."""
        self._interrupted = self._struck = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - whoever waits is in a task
        self._task, self._cancelling = task, task.cancelling()
        self._waits.all[self] = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._waits.all[self]
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
        loop = self._task.get_loop()
        self.due_s = loop.time() + seconds
        self._waits.look_by(self.due_s, loop)

    def interrupt(self) -> None:
        """End the wait at the next turn of the loop, if it is not armed."""
        if not self._interrupted and self.due_s is None:
            self._interrupted = True
            self._handle = asyncio.get_running_loop().call_soon(self.strike)

    def strike(self) -> None:
        """End the wait now."""
        self._struck = True
        self._task.cancel()


class Waits:
    """All waits of a run, and the one timer of the loop for the deadlines of those that are armed.

    A timer that comes late says that this process stood still: what came in meanwhile is read first, for
    `GRACE_S`, before it counts as a timeout.
    """

    def __init__(self) -> None:
        self.all: dict[Interruptible, None] = {}
        # Not a set: waits end in the order in which they began, and a simulation can be replayed.
        self._timer: asyncio.TimerHandle | None = None

    def look_by(self, at_s: float, loop: asyncio.AbstractEventLoop) -> None:
        """Look at this loop time whose time is up, if nobody looks before."""
        if self._timer is None or at_s < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(at_s, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now_s, next_s = loop.time(), math.inf
        for wait in self.all:
            if wait.due_s is None:
                continue
            if wait.due_s <= now_s + _SOON_S:
                if now_s - wait.due_s > LATE_S and not wait.late:
                    wait.late, wait.due_s = True, now_s + GRACE_S
                else:
                    wait.due_s = math.inf
                    wait.strike()
            next_s = min(next_s, wait.due_s)
        if next_s < math.inf:
            self.look_by(next_s, loop)


class Stop:
    """The switch. `request` may be called from anywhere on the loop, any number of times."""

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        self._waits = Waits()
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
            for wait in self._waits.all:
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
        """Return a context for one wait that begins now.

        One that is `recallable` ends with `Stopping` at a `recall`, too.

        Raises:
            Stopping: The run is to stop.
        """
        self.check()
        return Interruptible(self._waits, recallable=recallable)

    def recall(self) -> None:
        """Call back the attempts that have not left: they end with `Stopping`, and the run goes on."""
        for wait in self._waits.all:
            if wait.recallable:
                wait.interrupt()

    async def sleep(self, seconds: float) -> None:
        """Sleep that long, or raise `Stopping` as soon as the run is to stop."""
        with self.interruptible():
            await asyncio.sleep(seconds)
