"""The other process, in which a workbook is read: started, asked, listened to, and ended.

Keeps "what kills or fills the reader is a refusal that names the file": a workbook is packed, nested and
foreign, so it is read where memory and time are bounded and nothing else can be hurt. The process gets the
open file and two pipes, none of the program's secrets, and no screen. When the pipes close, it ends.

Requests and answers are JSON, one a line. `{"do": "sheets", "rows": 1000}` is answered by a `sheet` for each,
`{"do": "rows", "sheet": 0, "columns": [1], "after": 1}` by some `rows`; both by an `end`, or by `trouble`.
"""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from runner.errors import Fault
from runner.lists.decode import Source
from runner.text import printable

__all__ = ["Sheet", "SheetRows", "WorkbookReader", "open_workbook"]

MEMORY_BYTES = 240 << 20
"""What the other process may take; with this one it stays below 300 MiB."""
CPU_S = 600
"""How long it may compute; a full sheet takes half a minute."""
SILENCE_S = 600.0
"""How long it may say nothing, whatever it waits for."""
_MAX_ANSWER_BYTES = 64 << 20
_LONGEST_NAME = 64
_PIPE_BYTES = 1 << 18
_ROOT = Path(__file__).parents[2]
_START = (
    "import sys; sys.path.append(sys.argv[1]); from runner.lists.workbook_child import main; "
    "main(*map(int, sys.argv[2:]))"
)
"""Run with nothing but the standard library and this package in sight."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A worksheet and its first filled rows.

    Args:
        number: Which one, from 0, the hidden ones counted.
        name: As its tab shows it.
        is_hidden: Whether the tab is hidden.
        hidden_columns: Columns that nobody sees, from 0.
        lines: The number of each row in `rows`, from 1.
        rows: The first rows that are not blank, from column A on, as text, all of one width.
    """

    number: int
    name: str
    is_hidden: bool
    hidden_columns: frozenset[int]
    lines: list[int]
    rows: list[list[str]]


@dataclass(frozen=True, slots=True)
class SheetRows:
    """Some consecutive rows of a sheet, those left out that are blank from end to end.

    Args:
        lines: The number of each row, from 1.
        hidden: Indices of those that a filter hides, ascending.
        texts: For each column that was asked for: its cells as text, "" where blank.
        flaws: For each: index → why the cell does not say exactly what it says; as in `workbook_cells.Cell`.
    """

    lines: list[int]
    hidden: list[int]
    texts: list[list[str]]
    flaws: list[dict[int, str]]


class WorkbookReader:
    """A running process that reads one workbook. Answers are read to their end before the next request."""

    def __init__(self, source: Source, process: "subprocess.Popen[bytes]") -> None:
        self._source, self._process = source, process
        self._pending = b""

    def sheets(self, rows: int) -> Iterator[Sheet]:
        """Yield every worksheet with up to so many of its first filled rows.

        Raises:
            Fault: No workbook, damaged, a bomb, or too much for the bounds.
        """
        for answer in self._ask(do="sheets", rows=rows):
            answer["name"] = printable(answer["name"])[:_LONGEST_NAME]
            answer["hidden_columns"] = frozenset(answer["hidden_columns"])
            yield Sheet(**answer)

    def rows(self, sheet: Sheet, columns: Sequence[int] | None, after: int) -> Iterator[SheetRows]:
        """Yield the rows of a sheet, some thousands at a time.

        Args:
            sheet: One of `sheets`.
            columns: Columns from 0; None: all that there are.
            after: The number of the last row that is a header or a title; 0: none is.

        Raises:
            Fault: As in `sheets`.
        """
        for answer in self._ask(do="rows", sheet=sheet.number, columns=columns, after=after):
            yield SheetRows(
                answer["lines"], answer["hidden"], answer["texts"], [dict(flaws) for flaws in answer["flaws"]]
            )

    def _ask(self, **request: Any) -> Iterator[dict[str, Any]]:
        assert self._process.stdin is not None  # noqa: S101 - tells mypy of the pipe
        try:
            self._process.stdin.write(orjson.dumps(request) + b"\n")
        except BrokenPipeError:
            raise self._died() from None
        while True:
            answer: dict[str, Any] = orjson.loads(self._line())
            kind = answer.pop("type")
            if kind == "end":
                return
            if kind == "trouble":
                raise self._source.fault(printable(answer["message"]), hint=answer["hint"])
            yield answer

    def _line(self) -> bytes:
        assert self._process.stdout is not None  # noqa: S101 - tells mypy of the pipe
        pipe = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        parts = [self._pending]
        size = len(self._pending)
        while b"\n" not in parts[-1]:
            if not poll.poll(SILENCE_S * 1000):
                raise self._source.fault(
                    f"nothing could be read for {SILENCE_S:g} s", hint="Try a copy of it."
                )
            parts.append(os.read(pipe, _PIPE_BYTES))
            size += len(parts[-1])
            if not parts[-1]:
                raise self._died()
            if size > _MAX_ANSWER_BYTES:
                raise self._source.fault("its cells hold too much text", hint="Export the list as CSV.")
        line, _, self._pending = b"".join(parts).partition(b"\n")
        return line

    def _died(self) -> Fault:
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            why = f"reading it takes more than {CPU_S} s of computing"
        else:
            how = f"signal {-code}" if code < 0 else f"exit {code}"
            why = f"what read it died ({how}): it takes more than {MEMORY_BYTES >> 20} MiB, or is damaged"
        return self._source.fault(why, hint="Export the list as CSV, or save it again as .xlsx.")


@contextmanager
def open_workbook(source: Source) -> Iterator[WorkbookReader]:
    """Start the process that reads a workbook, and end it, whatever happens.

    Raises:
        Fault: It cannot be started.
    """
    descriptor = source.file.fileno()
    options = ["-I", "-S", *(["-B"] if sys.dont_write_bytecode else [])]
    numbers = [str(number) for number in (descriptor, MEMORY_BYTES, CPU_S)]
    secret_free = {key: value for key, value in os.environ.items() if not key.startswith("BULK_DELETE_")}
    try:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, and no word of anybody else's
            [sys.executable, *options, "-c", _START, str(_ROOT), *numbers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            pass_fds=[descriptor],
            env=secret_free,
            start_new_session=True,  # an interrupt on the terminal is this process's to handle
        )
    except OSError as error:
        raise source.fault(f"the reader of workbooks cannot be started: {error.strerror}") from error
    with process:
        try:
            yield WorkbookReader(source, process)
        finally:
            process.kill()
