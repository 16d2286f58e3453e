"""The process as the operating system sees it: signals, core dumps, the loop, the clock.

A core dump or a traceback could hold the token and the numbers, so neither is made, and no other process of
this user may read this one's memory. SIGTERM ends planning at once, as ctrl-C does; while requests are sent,
signals go to the run's switch instead, and once a run has its end they change nothing any more.
"""

import ctypes
import gc
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from runner.errors import Exit, Refused

if TYPE_CHECKING:
    import asyncio

    from runner.stop import Stop

__all__ = [
    "Terminated",
    "busy_loop",
    "ensure_descriptors",
    "harden",
    "hold_signals",
    "ignore_signals",
    "left_behind",
    "signals_deferred",
    "signals_to",
    "use_loop",
    "utc_now",
]

_Answer = TypeVar("_Answer")

_HEARD_IN_S: Final = 0.0005
_COLLECTED_EVERY: Final = 20_000
"""Objects that refer to others, made and not freed."""
_PR_SET_DUMPABLE: Final = 4
_EXITS = {signal.SIGINT: Exit.SIGINT, signal.SIGTERM: Exit.SIGTERM, signal.SIGHUP: Exit.SIGTERM}


class Terminated(SystemExit):
    """SIGTERM or SIGHUP before anything was sent."""


def harden() -> None:
    """Keep memory to this process, and let SIGTERM and SIGHUP unwind the stack so that temporary files go."""
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _terminate)


def ensure_descriptors(needed: int) -> None:
    """Make sure that so many files and connections may be open; raises Refused where that is not allowed."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed in range(needed):
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))
            return
        raise Refused(
            f"too few file descriptors: {needed} are needed, {allowed} are allowed",
            hint=f"lower --concurrency, or allow more: ulimit -n {needed}",
        )


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated(int(Exit.SIGTERM))


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Let a signal wait until this is over: what is made meanwhile has its clean-up by then."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, _EXITS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


@contextmanager
def signals_to(stop: "Stop", on_first: Callable[[str], None]) -> Iterator[None]:
    """While this lasts a first signal drains the run and a second one abandons it.

    A signal that the program was started to ignore (nohup) stays ignored. The loop's own handlers are not
    used: taking them off again leaves moments in which a signal kills.
    """
    import asyncio  # noqa: PLC0415 - half of what `--help` would take

    loop = asyncio.get_running_loop()

    def handle(number: int, _frame: FrameType | None) -> None:
        signalled = signal.Signals(number)
        loop.call_soon_threadsafe(stop.signal, signalled.name, _EXITS[signalled], on_first)

    former = {number: signal.signal(number, handle) for number in _heeded()}
    try:
        yield
    finally:
        for number, handler in former.items():
            if signal.getsignal(number) is handle:  # and not held meanwhile
                signal.signal(number, handler)


def hold_signals() -> None:
    """From now on no signal changes anything: how the process ends is decided, and is still to be said."""
    for number in _heeded():
        signal.signal(number, _unheard)


def ignore_signals() -> None:
    """Let no signal kill the interpreter while it is taken down: Python's handlers are gone by then."""
    for number in _heeded():
        signal.signal(number, signal.SIG_IGN)


def _heeded() -> list[signal.Signals]:
    return [number for number in _EXITS if signal.getsignal(number) is not signal.SIG_IGN]


def _unheard(_number: int, _frame: FrameType | None) -> None:
    """Do nothing; unlike SIG_IGN this also takes a signal that has come in and was not handled yet."""


@contextmanager
def busy_loop() -> Iterator[None]:
    """Suit the interpreter to a loop that always has something to do, for as long as this lasts.

    The collector does not look at what is loaded by now, and at the rest less often: hundreds of requests
    under way are no garbage. A thread that has synced the disk is heard soon, for others wait for its word.
    """
    heard_in_s, frozen, collected = sys.getswitchinterval(), gc.get_freeze_count(), gc.get_threshold()
    sys.setswitchinterval(_HEARD_IN_S)
    gc.set_threshold(_COLLECTED_EVERY)
    gc.freeze()
    try:
        yield
    finally:
        sys.setswitchinterval(heard_in_s)
        gc.set_threshold(*collected)
        if not frozen:  # else whoever runs us had done so already
            gc.unfreeze()


def use_loop() -> "Callable[[], asyncio.AbstractEventLoop]":
    """Return the factory of the event loop: uvloop where it is installed, else asyncio's own."""
    import asyncio  # noqa: PLC0415 - as above

    try:
        import uvloop  # noqa: PLC0415 - optional, and not on every platform
    except ImportError:
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def left_behind(work: "Callable[[], _Answer]") -> "_Answer":
    """Return what `work` returns or raises, in a thread for which the end of the process does not wait."""
    import asyncio  # noqa: PLC0415 - as above

    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_Answer] = loop.create_future()

    def settle(error: Exception | None, value: Any = None) -> None:
        if answer.done():  # who asked has gone
            return
        answer.set_result(value) if error is None else answer.set_exception(error)

    def do() -> None:
        found: tuple[Exception | None, Any]
        try:
            found = None, work()
        except Exception as error:  # noqa: BLE001 - raised again where it is awaited
            found = error, None
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, *found)

    threading.Thread(target=do, daemon=True).start()
    return await answer


def utc_now() -> datetime:
    """Return the wall's time."""
    return datetime.now(UTC)
