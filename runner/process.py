"""The process as the operating system sees it: signals, core dumps, streams that went away.

A core dump or a traceback could hold the token and the numbers, so neither is made. SIGTERM ends planning at
once, as ctrl-C does; while requests are sent, signals go to the run's switch instead.
"""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import FrameType

from runner.errors import Exit, Refused
from runner.stop import Stop

__all__ = [
    "Terminated",
    "ensure_descriptors",
    "fill_closed_streams",
    "harden",
    "mute_closed_streams",
    "signals_to",
    "use_loop",
    "utc_now",
]

_EXITS = {signal.SIGINT: Exit.SIGINT, signal.SIGTERM: Exit.SIGTERM, signal.SIGHUP: Exit.SIGTERM}


class Terminated(SystemExit):
    """SIGTERM or SIGHUP before anything was sent."""


def harden() -> None:
    """Make no core dumps, and let SIGTERM and SIGHUP unwind the stack so that temporary files go."""
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
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


def fill_closed_streams() -> None:
    """Put /dev/null where a standard stream was closed before the start.

    Otherwise the next file opened would get its number, and what is said on standard error would land in it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated(int(Exit.SIGTERM))


@contextmanager
def signals_to(stop: Stop, on_first: Callable[[str], None]) -> Iterator[None]:
    """While this lasts a first signal drains the run and a second one abandons it.

    A signal that the program was started to ignore (nohup) stays ignored.
    """
    loop = asyncio.get_running_loop()

    def receive(number: signal.Signals) -> None:
        if stop.signalled:
            stop.abandon()
            return
        stop.signalled = True
        on_first(number.name)
        stop.request(number.name, _EXITS[number])

    taken = [number for number in _EXITS if signal.getsignal(number) is not signal.SIG_IGN]
    former = {number: signal.getsignal(number) for number in taken}
    for number in taken:
        loop.add_signal_handler(number, receive, number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
            signal.signal(number, former[number])


def use_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the factory of the event loop: uvloop where it is installed, else asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - optional, and not on every platform
    except ImportError:
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def utc_now() -> datetime:
    """Return the wall's time."""
    return datetime.now(UTC)


def mute_closed_streams() -> None:
    """Flush the streams; where one is closed or its reader gone, keep Python from complaining at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
