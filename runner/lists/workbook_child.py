"""The process that reads one workbook: bounded in memory and time, it tells what it finds and dies.

Started by `workbook_process`, which says what goes over the two pipes. Imports nothing beyond the standard
library and its neighbours, so that it starts at once and is small. It opens no file but the one it was
given, knows no token, and whatever goes wrong in it is a line in words or its death, never a crash elsewhere.
"""

import json
import os
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from runner.lists.workbook_cells import Cell
from runner.lists.workbook_parts import Parts, Unreadable
from runner.lists.workbook_sheet import SheetInfo, Workbook, WorkbookRow

__all__ = ["main"]

_CHUNK_ROWS = 4096
_SAMPLE_CELLS = 200_000
_MOST_CHARS = 4 << 20
"""Characters in one answer, about."""
_SHOWN = 200
"""Characters of a cell in a sample; a phone or a header is shorter."""
_BLANK = Cell("")
_WORDLESS = frozenset({"cell_error", "no_value", "not_text"})
_NO_HEADER = "0"


def main(descriptor: int, memory_bytes: int, cpu_s: int) -> None:
    """Answer one request a line until there are no more, within so much memory and time of computing."""
    _limit(memory_bytes, cpu_s)
    book: Workbook | None = None
    try:
        for line in sys.stdin:
            request = json.loads(line)
            if book is None:
                book = Workbook(Parts(os.fdopen(descriptor, "rb", 1 << 16)))
            if request["do"] == "sheets":
                _tell_sheets(book, request["rows"])
            else:
                _tell_rows(book, request["sheet"], request["columns"], request["after"])
            _tell("end")
    except Unreadable as error:
        _tell("trouble", message=error.message, hint=error.hint)
    except MemoryError:
        book = None
        _tell(
            "trouble",
            message=f"reading it takes more than {memory_bytes >> 20} MiB",
            hint="Export it as CSV.",
        )
    except BrokenPipeError:
        os._exit(0)  # nobody listens any more
    except Exception as error:  # noqa: BLE001 - whatever a damaged file brings about is told, and told as that
        _tell(
            "trouble", message=f"a damaged workbook ({type(error).__name__})", hint="Save it again as .xlsx."
        )


def _limit(memory_bytes: int, cpu_s: int) -> None:
    for what, soft, hard in (
        (resource.RLIMIT_DATA, memory_bytes, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 5),  # the second kills without a word
        (resource.RLIMIT_CORE, 0, 0),
    ):
        with suppress(ValueError, OSError):  # where a lower limit stands already, that one holds
            resource.setrlimit(what, (soft, hard))


def _tell(kind: str, **what: Any) -> None:
    sys.stdout.write(json.dumps({"type": kind, **what}) + "\n")
    if kind != "rows":
        sys.stdout.flush()


# ---- what there is ------------------------------------------------------------------------------------


def _tell_sheets(book: Workbook, most_rows: int) -> None:
    """Tell of every sheet its name, what is hidden, and its first filled rows."""
    for number, sheet in enumerate(book.sheets):
        lines, rows = _sample(book, sheet, most_rows)
        _tell(
            "sheet",
            number=number,
            name=sheet.name,
            is_hidden=sheet.is_hidden,
            hidden_columns=sorted(sheet.hidden_columns),
            lines=lines,
            rows=rows,
        )


def _sample(book: Workbook, sheet: SheetInfo, most_rows: int) -> tuple[list[int], list[list[str]]]:
    found: list[WorkbookRow] = []
    width = chars = 0
    for row in book.rows(sheet):
        filled = [column for column, cell in row.cells.items() if cell.text.strip()]
        if not filled:
            continue
        width = max(width, max(filled) + 1)
        chars += _size(row)
        found.append(row)
        if len(found) == most_rows or len(found) * width > _SAMPLE_CELLS or chars > _MOST_CHARS:
            break
    rows = [[_shown(row.cells.get(column, _BLANK)) for column in range(width)] for row in found]
    return [row.number for row in found], rows


def _shown(cell: Cell) -> str:
    """Return a cell of a sample; one without any word or number is no header, and looks like none."""
    return _NO_HEADER if cell.flaw in _WORDLESS else cell.text[:_SHOWN]


# ---- what stands in it --------------------------------------------------------------------------------


def _size(row: WorkbookRow) -> int:
    return sum([len(cell.text) for cell in row.cells.values()])


class _Stretch:
    """Some rows as they go over the pipe, column by column.

    Args:
        columns: The columns wanted, from 0; None: as many as the rows have.
    """

    def __init__(self, columns: Sequence[int] | None) -> None:
        self._columns = columns
        self._rows: list[WorkbookRow] = []
        self._chars = 0

    def add(self, row: WorkbookRow) -> bool:
        """Add one row; tells whether there are enough of them."""
        self._rows.append(row)
        if self._columns is None:  # of a few columns the texts are short, or they are no phones
            self._chars += _size(row)
        return len(self._rows) == _CHUNK_ROWS or self._chars > _MOST_CHARS

    def tell(self) -> None:
        """Tell what there is, and begin anew."""
        rows = self._rows
        if not rows:
            return
        columns = self._columns
        if columns is None:
            columns = range(1 + max((max(row.cells) for row in rows if row.cells), default=-1))
        found = [[row.cells.get(column, _BLANK) for row in rows] for column in columns]
        _tell(
            "rows",
            lines=[row.number for row in rows],
            hidden=[index for index, row in enumerate(rows) if row.is_hidden],
            texts=[[cell.text for cell in cells] for cells in found],
            flaws=[[(i, cell.flaw) for i, cell in enumerate(cells) if cell.flaw] for cells in found],
        )
        self._rows, self._chars = [], 0


def _tell_rows(book: Workbook, sheet: int, columns: Sequence[int] | None, after: int) -> None:
    """Tell the rows behind the header, some thousands a line; wholly blank ones are left out.

    Args:
        book: The workbook.
        sheet: Number of the sheet, from 0.
        columns: The columns wanted, from 0; None: all.
        after: The last row that is a header or a title.
    """
    stretch = _Stretch(columns)
    for row in book.rows(book.sheets[sheet], None if columns is None else frozenset(columns)):
        if row.number > after and row.is_filled and stretch.add(row):
            stretch.tell()
    stretch.tell()
