"""All of standard error: logs, progress, prompts, errors; and the one result on standard output.

Keeps promise 7 on the screen: the last step before a line is written takes out the token and whatever looks
like a phone number, and control characters never reach the terminal. A line that cannot be written is
dropped: a closed or full stream never changes a batch's outcome.
"""

import asyncio
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

import structlog
from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from runner.access import Token
from runner.audit.records import BatchRecord, OpenRecord, PaceRecord, Record
from runner.errors import Refused, RunnerError
from runner.phones import mask, mask_echoes
from runner.stop import Stop
from runner.text import printable

__all__ = ["Console", "Snapshot", "Verbosity"]

_PHONE = re.compile(r"(?<![0-9A-Za-z-])(?:\+?86)?1[3-9][0-9]{9}(?![0-9A-Za-z])")
_LINE_EVERY_S = 15.0
_BAR_EVERY_S = 0.2
_LINE_AGAIN = "\r\x1b[K"
"""Goes back to the beginning of a terminal's line and clears it."""


@dataclass(frozen=True, slots=True)
class Verbosity:
    """How much is said: nothing but errors, the course of the run, or every batch that fails."""

    quiet: bool = False
    verbose: bool = False

    @property
    def level(self) -> int:
        """The lowest level of `logging` that is shown."""
        if self.quiet:
            return logging.ERROR
        return logging.DEBUG if self.verbose else logging.INFO


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How far a run is."""

    batches: int
    planned: int
    phones: int
    count: int
    troubled: int
    """Batches that ended failed or unknown."""
    rate: float
    """Requests a second, lately."""

    def line(self) -> str:
        """Return it in words."""
        share = self.batches / self.planned if self.planned else 1.0
        return (
            f"{share:6.1%}  {self.batches:,}/{self.planned:,} batches  {self.phones:,} numbers confirmed"
            f"  {self.count:,} rows deleted  {self.troubled:,} in trouble  {self.rate:.1f} req/s"
        )


class Log(Protocol):
    """What the rest of the program logs through: an event in plain words, and fields."""

    def debug(self, event: str, **fields: Any) -> None: ...
    def info(self, event: str, **fields: Any) -> None: ...
    def warning(self, event: str, **fields: Any) -> None: ...
    def error(self, event: str, **fields: Any) -> None: ...


def _clean_fields(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Make every text field one line that no terminal obeys."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = printable(value)
    return event


def _lines(text: str) -> str:
    """Return words of one or several lines, fit for a terminal."""
    return printable(text, keep="\n\t")


class _Lines:
    """A structlog logger that writes lines and never raises."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def msg(self, message: str) -> None:
        self._write(message)

    debug = info = warning = error = msg


class Console:
    """Standard error and standard output of one command."""

    def __init__(
        self, verbosity: Verbosity, *, stderr: TextIO | None = None, stdout: TextIO | None = None
    ) -> None:
        self._stderr = stderr if stderr is not None else sys.stderr
        self._stdout = stdout if stdout is not None else sys.stdout
        self._verbosity = verbosity
        self._token: Token | None = None
        self._bar: Progress | None = None
        self._line_open = False
        self.log: Log = structlog.wrap_logger(
            _Lines(self._write),
            processors=[
                structlog.processors.add_log_level,
                _clean_fields,
                structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
                structlog.dev.ConsoleRenderer(colors=self.on_terminal, pad_event_to=0),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(verbosity.level),
            cache_logger_on_first_use=False,
        )

    @property
    def on_terminal(self) -> bool:
        """Whether standard error is a terminal."""
        with suppress(ValueError, OSError):
            return self._stderr.isatty()
        return False

    def hide(self, token: Token) -> None:
        """From now on take this token's value out of every line."""
        self._token = token

    def redact(self, text: str) -> str:
        """Return text fit for a screen: without the token, full phone numbers and control characters."""
        if self._token is not None:
            text = text.replace(self._token.reveal(), "***")
        return _PHONE.sub(lambda match: mask(match[0]), text)

    def say(self, text: str) -> None:
        """Write words for a person, unless quiet."""
        if not self._verbosity.quiet:
            self._write(_lines(text))

    def tell(self, record: Record) -> None:
        """Log what an audit record says, if it is worth it."""
        if isinstance(record, PaceRecord):
            self.log.info(record.why, rate=record.rate, until=record.until)
        elif isinstance(record, BatchRecord) and record.status != "deleted":
            names = ("seq", "user_id", "phones_left", "error", "http_status", "code", "message")
            found = {name: getattr(record, name) for name in names}
            fields = {name: value for name, value in found.items() if value is not None}
            if "message" in fields:
                fields["message"] = mask_echoes(fields["message"], record.phone)
            self.log.debug("batch not confirmed", status=record.status, **fields)
        elif isinstance(record, OpenRecord):
            self.log.debug("batch left open", seq=record.seq, attempts=record.attempts)

    def warn(self, text: str) -> None:
        """Write a warning, even when quiet."""
        self._write(_lines(f"warning: {text}"))

    def show_error(self, error: RunnerError) -> None:
        """Write an error and what to do about it."""
        self._write(_lines(f"error: {error.message}"))
        if error.hint:
            self._write(_lines(f"  -> {error.hint}"))

    def result(self, text: str) -> None:
        """Write the command's result to standard output; a closed one loses nothing else."""
        self._end_line()
        with suppress(OSError, ValueError):
            self._stdout.write(_lines(self.redact(text)) + "\n")
            self._stdout.flush()

    async def ask(self, question: str, stop: Stop, *, unless: str) -> None:
        """Ask a person for a yes; a stop ends the wait at once.

        Args:
            question: Ends in a question mark.
            stop: The run's switch.
            unless: The flag that would have made the question unnecessary.

        Raises:
            Refused: The answer was not yes, or there is no terminal to ask on.
            Stopping: The run was told to stop meanwhile.
        """
        if not (sys.stdin and sys.stdin.isatty()):
            raise Refused(f"not confirmed: {question}", hint=f"there is no terminal to ask on: add {unless}")
        self._write(f"{question} [y/N] ", end="")
        async with stop.interruptible():
            answer = await _read_answer()
        if answer.strip().lower() not in {"y", "yes"}:
            raise Refused("declined; nothing was sent")

    def follow_planning(self) -> Callable[[object], None]:
        """Return what planning calls now and then with its progress (its `str` is shown)."""
        every_s = _BAR_EVERY_S if self.on_terminal else _LINE_EVERY_S
        shown_s = time.monotonic()

        def show(progress: object) -> None:
            nonlocal shown_s
            if not self._verbosity.quiet and time.monotonic() - shown_s > every_s:
                shown_s = time.monotonic()
                self._write(_lines(str(progress)), end="" if self.on_terminal else "\n")
                self._line_open = self.on_terminal

        return show

    async def follow(self, snapshot: Callable[[], Snapshot]) -> None:
        """Show progress until cancelled: a bar on a terminal, elsewhere a line now and then."""
        if self._verbosity.quiet:
            return
        if self.on_terminal:
            await self._follow_bar(snapshot)
            return
        while True:
            await asyncio.sleep(_LINE_EVERY_S)
            self.say(snapshot().line())

    async def _follow_bar(self, snapshot: Callable[[], Snapshot]) -> None:
        columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), TimeRemainingColumn())
        screen = RichConsole(file=self._stderr, stderr=True)
        with Progress(*columns, console=screen, transient=True) as bar:
            task = bar.add_task("", total=max(snapshot().planned, 1))
            self._bar = bar
            try:
                while True:
                    _update(bar, task, snapshot())
                    await asyncio.sleep(_BAR_EVERY_S)
            finally:
                self._bar = None

    def _write(self, text: str, end: str = "\n") -> None:
        """Write redacted text above the bar, if there is one; drop it where that is impossible."""
        self._end_line()
        with suppress(OSError, ValueError):
            line = self.redact(text)
            if self._bar is not None:
                self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
                return
            self._stderr.write(line + end)
            self._stderr.flush()

    def _end_line(self) -> None:
        """Clear the line in which planning shows how far it is, so that the next one takes its place."""
        if self._line_open:
            self._line_open = False
            with suppress(OSError, ValueError):
                self._stderr.write(_LINE_AGAIN)
                self._stderr.flush()


def _update(bar: Progress, task: TaskID, now: Snapshot) -> None:
    words = f"{now.phones:,} numbers, {now.count:,} rows, {now.troubled:,} in trouble, {now.rate:.0f} req/s"
    with suppress(OSError, ValueError):
        bar.update(task, completed=now.batches, description=words)


async def _read_answer() -> str:
    """Read a line from standard input in a thread of its own, which may be left behind waiting."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def settle(line: str) -> None:
        if not answer.done():
            answer.set_result(line)

    def read() -> None:
        line = sys.stdin.readline()
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, line)

    threading.Thread(target=read, daemon=True).start()
    return await answer
