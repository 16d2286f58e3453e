"""Rows from lists as people have them: text, CSV, JSON, JSON lines, workbooks, compressed or not.

Keeps "formats are told apart by content before name": what the first bytes and characters say decides, and a
name only where they leave it open. Each row comes with its file and line, so that what is wrong can be named.
Never normalises, never drops a value unseen, and never holds a list in memory.
"""

import csv
import glob
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path

from runner.errors import Fault
from runner.lists.decode import Readable, Source, open_source, read_text
from runner.lists.json_list import read_json_array, read_json_cells, read_json_lines
from runner.lists.rows import CellRows, ListSpec, Rows
from runner.lists.sniff import foreign_text
from runner.lists.tabular import read_table, read_table_cells
from runner.lists.user_ids import UserIdCheck
from runner.phones import PhoneRule, mask_text

__all__ = ["ListSpec", "Rows", "find_files", "read_cells", "read_rows"]

_STDIN = "-"
_SHOWN = 200
_FOREIGN_ERRORS = (
    ValueError,
    ArithmeticError,
    LookupError,
    RecursionError,
    MemoryError,
    EOFError,
    OSError,
    csv.Error,
    zlib.error,
)
"""What the libraries that read files raise on files that nobody foresaw; `Fault` is none of them."""
_JSON_LINES_NAME = re.compile(r"\.(jsonl|ndjson|jsonlines)(\.gz|\.zst)?", re.IGNORECASE)


def find_files(spec: ListSpec) -> tuple[str, ...]:
    """Return the files that a list names, globs expanded and sorted, each file once; `-` stays `-`.

    Raises:
        Fault: A glob matches no file.
    """
    found: dict[str, None] = {}
    for path in spec.paths:
        found.update(dict.fromkeys(_expand(path, spec.place)))
    return tuple(found)


def _expand(path: str, place: str) -> list[str]:
    if path == _STDIN or not glob.has_magic(path) or os.path.lexists(path):
        return [path]
    try:
        names = glob.glob(path, recursive=True)  # noqa: PTH207 - pathlib has no pattern with a root of its own
    except (ValueError, OSError, RecursionError) as error:
        raise Fault(place, f"{path!r}: cannot be looked for: {error}") from error
    files = sorted(name for name in names if not Path(name).is_dir())
    if not files:
        raise Fault(place, f"{path}: no file matches", hint="Check the pattern and the directory.")
    return files


def read_rows(spec: ListSpec, *, rule: PhoneRule, stdin: Readable | None = None) -> Iterator[Rows]:
    """Yield the rows of every file of a list, in order, some thousands at a time, in bounded memory.

    Values are as they stand (not normalised); give them to `phones.normalise_many`. Blank lines, titles and
    headers are no rows. Sequences may be shared: do not change them.

    Args:
        spec: What to read.
        rule: Tells which columns can hold phones, where no header says so.
        stdin: What `-` is; by default `sys.stdin.buffer`.

    Raises:
        Fault: Anything that keeps the list from being read whole: the place in the job, path and line.
    """
    check = UserIdCheck()
    for path in find_files(spec):
        with open_source(path, spec.place, stdin=stdin) as source, _guarded(source):
            for rows in _read(source, spec, rule):
                flaws = check.flaws(rows.users) if rows.users else None
                yield replace(rows, user_flaws=flaws | rows.user_flaws) if flaws else rows


@contextmanager
def _guarded(source: Source) -> Iterator[None]:
    """Make whatever a library raises while a file is read a fault of that file."""
    try:
        yield
    except _FOREIGN_ERRORS as error:
        what = " ".join(mask_text(str(error)).split()) or "no more is known"
        raise source.fault(
            f"cannot be read: {type(error).__name__}: {what[:_SHOWN]}",
            hint="Save it again as .xlsx or as CSV in UTF-8.",
        ) from error


def read_cells(spec: ListSpec) -> Iterator[CellRows]:
    """Yield all cells of every file of a list, whatever they hold, some thousands of rows at a time.

    For whoever must not miss a number: all columns, of a workbook all sheets and all rows, hidden or not.

    Raises:
        Fault: Anything that keeps a file from being read whole: the place in the job, path and line.
    """
    for path in find_files(spec):
        with open_source(path, spec.place) as source, _guarded(source):
            yield from _read_cells(source, spec)


def _read(source: Source, spec: ListSpec, rule: PhoneRule) -> Iterator[Rows]:
    if source.packing == "zip":
        from runner.lists.workbook import read_workbook  # noqa: PLC0415 - the reader of workbooks is rarely needed

        return read_workbook(source, spec, rule)
    form, text = _open_text(source, spec)
    if form == "array":
        return read_json_array(source, text, spec, rule)
    if form == "json lines":
        return read_json_lines(source, text, spec, rule)
    return read_table(source, text, spec, rule)


def _read_cells(source: Source, spec: ListSpec) -> Iterator[CellRows]:
    if source.packing == "zip":
        from runner.lists.workbook import read_workbook_cells  # noqa: PLC0415 - as above

        return read_workbook_cells(source)
    form, text = _open_text(source, spec)
    if form == "table":
        return read_table_cells(source, text, spec)
    return read_json_cells(source, text, is_array=form == "array")


def _open_text(source: Source, spec: ListSpec) -> tuple[str, Iterator[str]]:
    """Return what a text is (an `array`, `json lines` or a `table`), and the text from its beginning."""
    pieces = read_text(source, spec.encoding)
    head = list(_head(pieces))
    foreign = foreign_text("".join(head))
    if foreign is not None:
        raise source.fault(f"this is {foreign.what}", hint=foreign.hint)
    begin = "".join(head).lstrip()[:1]
    text = chain(head, pieces)
    if begin == "[":
        return "array", text
    if begin == "{" or _is_json_lines(source.name, begin):
        return "json lines", text
    return "table", text


def _head(pieces: Iterator[str]) -> Iterator[str]:
    """Take pieces up to the first that holds anything."""
    for piece in pieces:
        yield piece
        if piece.strip():
            return


def _is_json_lines(name: str, begin: str) -> bool:
    """Tell whether a name settles what `"139…"` or `139…` at the start leaves open."""
    return bool(begin) and begin in '"-0123456789' and _JSON_LINES_NAME.search(name) is not None
