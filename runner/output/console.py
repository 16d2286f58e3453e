"""All of standard error: logs, progress, prompts, errors; and the one result on standard output.

Keeps promise 7 on the screen: the last step before a line is written takes out the token and whatever looks
like a phone number, and control characters never reach the terminal. A line that cannot be written is
dropped: a closed or full stream never changes a batch's outcome.
"""

import asyncio
import logging
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from typing import Any, TextIO

from runner.access import Token
from runner.audit.records import BatchRecord, OpenRecord, PaceRecord, Record
from runner.errors import Exit, Refused, RunnerError
from runner.options import OutputOptions
from runner.output.live_lines import LiveLines
from runner.output.log import make_log
from runner.output.progress import Progress, Snapshot, block, sentence
from runner.phones import mask, mask_echoes
from runner.process import left_behind, signals_to
from runner.stop import Stop
from runner.streams import Shielded
from runner.text import printable, wrap

__all__ = ["Console"]

_PHONE = re.compile(r"(?<![0-9A-Za-z-])(?:\+?86)?1[3-9][0-9]{9}(?![0-9A-Za-z])")
_LINE_EVERY_S = 15.0
_LOOK_EVERY_S = 1.0
_DRAW_EVERY_S = 0.2


class Console:
    """Standard error and standard output of one command.

    Args:
        options: How much is said, and how.
        stderr: Where people look; None: the process's.
        stdout: Where the result goes; None: the process's.
        on_settled: Called when a run has its end, before anything is said of it.
    """

    def __init__(
        self,
        options: OutputOptions,
        *,
        stderr: TextIO | None = None,
        stdout: TextIO | None = None,
        on_settled: Callable[[], None] = lambda: None,
    ) -> None:
        self._stderr = Shielded(stderr if stderr is not None else sys.stderr)
        self._stdout = stdout if stdout is not None else sys.stdout
        self._quiet = options.quiet
        self._log_json = options.log_format == "json"
        self._on_settled = on_settled
        self._hidden: list[Token] = []
        self._live = self._stderr.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", ""}
        """Whether lines can be drawn again."""
        self._footer = LiveLines(self._stderr, os.environ)
        self._log = make_log(
            lambda line: self._footer.write(self.redact(line) + "\n"),
            level=logging.WARNING if options.quiet else logging.DEBUG if options.verbose else logging.INFO,
            as_json=self._log_json,
            colour=self._live and not os.environ.get("NO_COLOR"),
        )
        self.settled: Exit | None = None
        """The exit code of the run that has its end: nothing changes it any more."""

    def settle(self, code: Exit) -> None:
        """Note that a run has its end: how the process ends is decided."""
        self.settled = code
        self._on_settled()

    def hide(self, token: Token) -> None:
        """From now on take this token's value out of every line."""
        self._hidden.append(token)

    def redact(self, text: str) -> str:
        """Return text fit for a screen: without the token, full phone numbers and control characters."""
        for token in self._hidden:
            text = text.replace(token.reveal(), "***")
        return _PHONE.sub(lambda match: mask(match[0]), text)

    def say(self, text: str) -> None:
        """Write words for a person, of one or several lines, unless quiet."""
        if self._log_json:
            self.note(text)
        elif not self._quiet:
            self._write(text + "\n")

    def note(self, event: str, **fields: Any) -> None:
        """Log what happened, as one line with its date, unless quiet."""
        self._log.info(event, **fields)

    def warn(self, text: str) -> None:
        """Log a warning, even when quiet."""
        self._log.warning(text)

    def show_error(self, error: RunnerError) -> None:
        """Write an error and what to do about it."""
        if self._log_json:
            self._log.error(error.message, hint=error.hint or None)
            return
        hint = f"  -> {error.hint}\n" if error.hint else ""
        self._write(f"error: {error.message}\n{hint}")

    def tell(self, record: Record) -> None:
        """Log what an audit record says, if it is worth it."""
        if isinstance(record, PaceRecord):
            whose = {name: value for name in ("operator", "reason") if (value := getattr(record, name))}
            self.note(mask_echoes(record.why, ()), rate=record.rate, until=record.until, **whose)
        elif isinstance(record, BatchRecord) and record.status != "deleted":
            names = ("seq", "user_id", "phones_left", "error", "http_status", "code", "message")
            found = {name: getattr(record, name) for name in names}
            if record.message is not None:
                found["message"] = mask_echoes(record.message, record.phone)
            self._log.debug("batch not confirmed", status=record.status, **found)
        elif isinstance(record, OpenRecord):
            self._log.debug("batch left open", seq=record.seq, attempts=record.attempts)

    def result(self, text: str) -> None:
        """Write the command's result to standard output.

        Raises:
            Unwritten: It could not be written, on the standard output of the program (`streams`).
        """
        self._footer.write("")
        self._stdout.write(_lines(self.redact(text)) + "\n")
        self._stdout.flush()

    @property
    def may_ask(self) -> bool:
        """Whether there is somebody who can answer."""
        return bool(sys.stdin and sys.stdin.isatty())

    def heed(self, stop: Stop, on_first: Callable[[str], None]) -> AbstractContextManager[None]:
        """Let signals turn a run's switch while the context lasts; `on_first` is told the first's name."""
        return signals_to(stop, on_first)

    async def ask(self, question: str, stop: Stop, *, unless: str) -> None:
        """Ask a person for a yes, `unless` that flag had said it; a stop ends the wait at once.

        Raises:
            Refused: The answer was not yes, or there is no terminal to ask on.
            Stopping: The run was told to stop meanwhile.
        """
        if not self.may_ask:
            raise Refused(f"not confirmed: {question}", hint=f"there is no terminal to ask on: add {unless}")
        self._write(f"{question} [y/N] ")
        with stop.interruptible():
            answer = await left_behind(_read_answer)
        if answer.strip().lower() not in {"y", "yes"}:
            raise Refused("declined; nothing was sent")

    def follow_planning(self) -> Callable[[object], None]:
        """Return what planning calls now and then with its progress (its `str` is shown)."""
        every_s = _DRAW_EVERY_S if self._live else _LINE_EVERY_S
        shown_s = time.monotonic()

        def show(progress: object) -> None:
            nonlocal shown_s
            if self._quiet or time.monotonic() - shown_s <= every_s:
                return
            shown_s = time.monotonic()
            if self._live and not self._log_json:
                columns = self._footer.size()[0]
                self._footer.show(wrap(self.redact(printable(str(progress))), columns - 1))
            else:
                self.note(str(progress))

        return show

    @asynccontextmanager
    async def following(self, snapshot: Callable[[], Snapshot]) -> AsyncIterator[None]:
        """Show progress for as long as the context lasts; whatever goes wrong with that stays in here."""
        task = asyncio.create_task(self._follow(snapshot))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()) is not None:
                self.warn(f"progress could not be shown: {type(error).__name__}")
            self._footer.write("")

    async def _follow(self, snapshot: Callable[[], Snapshot]) -> None:
        """Draw a block again and again on a terminal, elsewhere write a line now and then."""
        if self._quiet:
            return
        loop = asyncio.get_running_loop()
        drawn = self._live and not self._log_json
        progress, line_s = Progress(loop.time()), loop.time() + _LINE_EVERY_S
        while True:
            figures = progress.see(snapshot(), loop.time())
            if drawn:
                self._footer.show([self.redact(line) for line in block(figures, self._footer.size()[0] - 1)])
            elif loop.time() >= line_s:
                line_s += _LINE_EVERY_S
                if self._log_json:
                    self.note("progress", **figures)
                else:
                    self.note(sentence(figures))
            await asyncio.sleep(_DRAW_EVERY_S if drawn else _LOOK_EVERY_S)

    def _write(self, text: str) -> None:
        """Write lines as they may be shown."""
        self._footer.write(self.redact(_lines(text)))


def _lines(text: str) -> str:
    """Return words of one or several lines, fit for a terminal."""
    return printable(text, keep="\n\t")


def _read_answer() -> str:
    """Return what a person types; what is no text, or comes from a terminal that is gone, is no yes."""
    with suppress(UnicodeDecodeError, OSError):
        return sys.stdin.readline()
    return ""
