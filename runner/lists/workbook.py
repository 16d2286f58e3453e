"""Workbooks (.xlsx): the one sheet with phones, its cells as text, and what Excel did to the numbers.

Keeps "a numeric cell with six or more trailing zeros is refused": a number is taken only where it is whole
and all its digits are Excel's own. Bounds what a workbook unpacks to before the reader of workbooks sees it.
Never chooses between two sheets, never reads a hidden one.
"""

import copy
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from runner.errors import Fault
from runner.lists.columns import SAMPLE_ROWS, Layout, find_layout, rows_of
from runner.lists.decode import MAX_RATIO, RATIO_FREE_BYTES, Source
from runner.lists.rows import ListSpec, Rows
from runner.phones import PhoneRule

__all__ = ["MAX_CELLS", "MAX_WORKBOOK_BYTES", "read_workbook"]

MAX_WORKBOOK_BYTES = 1 << 30
"""Bytes of a workbook at most, unpacked: a full sheet of ten columns has half of that."""
MAX_CELLS = 24_000_000
"""Cells of a sheet at most, empty ones between the first and the last included."""

_CHUNK_ROWS = 4096
_BLOCK_BYTES = 1 << 18
_MAX_MEMBERS = 10_000
_EXACT_DIGITS = 15
"""Digits that Excel keeps of a number; the ones behind become zeros."""
_LOST_DIGITS = re.compile(r"[0-9]*0{6}")
_SHEET = re.compile(r"xl/worksheets/[^/]*\.xml")
_COLUMN_REFS = re.compile(rb"""[\s]r\s*=\s*["']([A-Za-z]{1,3})[0-9]""")
_ROW_REFS = re.compile(rb"""[\s]r\s*=\s*["'][A-Za-z]{0,3}([0-9]{4,7})["']""")
_LONGEST_REF = 32

_Cells = list[tuple[int, list[str], dict[int, str]]]


def read_workbook(source: Source, spec: ListSpec, rule: PhoneRule) -> Iterator[Rows]:
    """Yield the rows of the sheet that holds phones; `source` of the rows is `path!sheet`.

    Raises:
        Fault: No workbook, damaged, a bomb, no sheet with phones or several of them.
    """
    _check_bounds(source)
    workbook = _open(source)
    visible = [
        sheet.name
        for sheet in workbook.sheets_metadata
        if sheet.typ == SheetTypeEnum.WorkSheet and sheet.visible == SheetVisibleEnum.Visible
    ]
    found = _find_sheet(source, workbook, visible, spec, rule)
    if found is None:
        return
    sheet, layout = found.sheet, found.layout
    rows = _rows(sheet)
    skipped = 0
    while skipped < layout.skip:
        skipped += any(map(str.strip, next(rows)[1]))
    while chunk := list(islice(rows, _CHUNK_ROWS)):
        flaws = {(i, column): flaw for i, row in enumerate(chunk) for column, flaw in row[2].items()}
        out = rows_of(
            f"{source.name}!{sheet.name}", layout, [row[1] for row in chunk], [row[0] for row in chunk], flaws
        )
        if out.values:
            yield out


def _open(source: Source) -> CalamineWorkbook:
    source.file.seek(0)
    try:
        return CalamineWorkbook.from_filelike(source.file)
    except CalamineError as error:
        raise source.fault(
            f"no workbook that can be read: {error}", hint="Save it again as .xlsx."
        ) from error


# ---- the sheet ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Found:
    sheet: CalamineSheet
    layout: Layout


def _find_sheet(
    source: Source, workbook: CalamineWorkbook, names: list[str], spec: ListSpec, rule: PhoneRule
) -> _Found | None:
    """Return the one sheet that has the columns; None if all are empty.

    Where none has them, the fault is the first sheet's.
    """
    found: list[_Found] = []
    faults: list[Fault] = []
    for name in names:
        sheet = _sheet(source, workbook, name)
        sample = list(islice((row for _, row, _ in _rows(sheet) if any(map(str.strip, row))), SAMPLE_ROWS))
        if not sample:
            continue
        try:
            found.append(_Found(sheet, find_layout(sample, spec, rule, _fault_of(source, name))))
        except Fault as fault:
            faults.append(fault)
    if len(found) > 1:  # a sheet of notes has just one column, too
        found = [one for one in found if one.layout.sure] or found
    if len(found) > 1:
        both = " and ".join(repr(one.sheet.name) for one in found)
        raise source.fault(
            f"several sheets hold phones: {both}", hint="Save the one that is meant on its own."
        )
    if faults and not found:
        raise faults[0]
    return found[0] if found else None


def _fault_of(source: Source, sheet: str) -> Any:
    def fault(message: str, *, hint: str = "") -> Fault:
        return source.fault(f"sheet {sheet!r}: {message}", hint=hint)

    return fault


def _sheet(source: Source, workbook: CalamineWorkbook, name: str) -> CalamineSheet:
    try:
        return workbook.get_sheet_by_name(name)
    except CalamineError as error:
        raise source.fault(
            f"sheet {name!r} cannot be read: {error}", hint="Save it again as .xlsx."
        ) from error


# ---- cells --------------------------------------------------------------------------------------------


def _rows(sheet: CalamineSheet) -> Iterator[tuple[int, list[str], dict[int, str]]]:
    """Yield the number of each row as Excel shows it, its cells as text from column A on, and their flaws."""
    if sheet.start is None:
        return
    before = [""] * sheet.start[1]
    for number, cells in enumerate(sheet.iter_rows(), 1):
        texts = list(before)
        flaws: dict[int, str] = {}
        for cell in cells:
            if isinstance(cell, str):
                texts.append(cell)
                continue
            text, flaw = _number(cell)
            if flaw:
                flaws[len(texts)] = flaw
            texts.append(text)
        yield number, texts, flaws


def _number(cell: object) -> tuple[str, str]:
    """Return a cell that is no text, as text, and what is wrong with it as a phone."""
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return str(cell), "not_text"
    if isinstance(cell, float) and not cell.is_integer():
        return repr(cell), "float"
    text = str(int(cell))
    if len(text) > _EXACT_DIGITS or _LOST_DIGITS.fullmatch(text):
        return text, "rounded"
    return text, ""


# ---- bounds -------------------------------------------------------------------------------------------


def _check_bounds(source: Source) -> None:
    """Unpack every part once, keeping nothing: sizes in the directory of an archive may be lies."""
    source.file.seek(0)
    try:
        with zipfile.ZipFile(source.file) as archive:
            members = archive.infolist()
            if "[Content_Types].xml" not in archive.namelist() or not any(
                _SHEET.match(m.filename) for m in members
            ):
                raise source.fault(
                    "a zip archive, but no .xlsx workbook", hint="Unpack it, or pack with gzip."
                )
            bound = min(MAX_WORKBOOK_BYTES, max(RATIO_FREE_BYTES, source.size * MAX_RATIO))
            if len(members) > _MAX_MEMBERS or sum(member.file_size for member in members) > bound:
                raise _bomb(source, bound)
            left = bound
            for member in members:
                left -= _check_member(source, archive, member, left, bound)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise source.fault(f"a damaged workbook: {error}", hint="Fetch or save it again.") from error


def _bomb(source: Source, bound: int) -> Fault:
    return source.fault(
        f"a workbook of {source.size} bytes that unpacks to more than {bound}: this looks like a bomb",
        hint="If it is a real list, export it as CSV.",
    )


def _check_member(
    source: Source, archive: zipfile.ZipFile, member: zipfile.ZipInfo, left: int, bound: int
) -> int:
    """Unpack one part, whatever size it pretends, and measure the sheet it holds; returns its true size."""
    honest = copy.copy(member)
    honest.file_size = bound + 1  # the reader stops at this size: at the true end, or past the bound
    extent = _Extent() if _SHEET.match(member.filename) else None
    size = 0
    with archive.open(honest) as stream:
        while block := stream.read(_BLOCK_BYTES):
            size += len(block)
            if size > left:
                raise _bomb(source, bound)
            if extent is not None and extent.grow(block) > MAX_CELLS:
                raise source.fault(
                    f"a sheet of more than {MAX_CELLS} cells",
                    hint="Delete what stands far below or to the right.",
                )
    return size


class _Extent:
    """How far a sheet reaches, by the places that its cells name."""

    def __init__(self) -> None:
        self._tail = b""
        self._columns, self._rows = 1, 1000

    def grow(self, block: bytes) -> int:
        """Look at one more block; returns the number of cells up to now."""
        text = self._tail + block
        for letters in set(_COLUMN_REFS.findall(text)):
            number = 0
            for letter in letters.upper():
                number = number * 26 + letter - 64
            self._columns = max(self._columns, number)
        self._rows = max(self._rows, max(map(int, set(_ROW_REFS.findall(text))), default=0))
        self._tail = text[-_LONGEST_REF:]
        return self._columns * self._rows
