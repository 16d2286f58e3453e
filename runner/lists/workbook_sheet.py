"""One workbook's sheets and their rows, with what of them is hidden.

Belongs to the child process that reads workbooks, and imports nothing beyond the standard library. A row that
cannot be placed (out of order, a cell twice, another row's cell) is damage, never a guess. Memory holds the
shared strings (their bytes and four more each) and a few rows, not the sheet.
"""

import re
from collections.abc import Iterator, Set
from typing import NamedTuple

from runner.lists.workbook_cells import Cell, Cells
from runner.lists.workbook_parts import (
    PLAIN_TEXT,
    SPACE_KEPT,
    Parts,
    Unreadable,
    XmlScan,
    local_name,
    parse_part,
)

__all__ = ["SheetInfo", "Workbook", "WorkbookRow"]

_MAX_ROW, _MAX_COLUMN = 1 << 20, 1 << 14
_MAX_SHEETS = 1000
_MAX_SHAPES = 1000
"""Rows that differ in their attributes' names and are known again; a program writes a few."""
_VALUE = rb'[^"<&\x00-\x1f]*+'
_OF_DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships "
_OF_DOCUMENT_STRICT = "http://purl.oclc.org/ooxml/officeDocument/relationships "


class WorkbookRow(NamedTuple):
    """One row: its number from 1, whether it is hidden, whether any cell says anything, and its cells.

    Only the columns that were asked for are in `cells`, by their number from 0, and only filled ones.
    """

    number: int
    is_hidden: bool
    is_filled: bool
    cells: dict[int, Cell]


class SheetInfo(NamedTuple):
    """A worksheet: its name, its part, and whether people see it.

    Args:
        name: As its tab shows it.
        part: Where its rows stand.
        is_hidden: Whether the tab is hidden.
        hidden_columns: Those that nobody sees, from 0; known once rows were read.
    """

    name: str
    part: str
    is_hidden: bool
    hidden_columns: set[int]


class Workbook:
    """A workbook: its worksheets in order, and the sense of its cells.

    Raises:
        Unreadable: It is damaged.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        related = list(parts.relationships(parts.workbook))
        self._by_id = {ident: (kind, part) for ident, kind, part in related}
        by_kind = {kind: part for _, kind, part in related}
        self.cells = Cells(parts, by_kind.get("sharedStrings"), by_kind.get("styles"))
        self.sheets = self._find_sheets()

    def _find_sheets(self) -> list[SheetInfo]:
        found: list[SheetInfo] = []

        def start(tag: str, attrs: dict[str, str]) -> None:
            if local_name(tag) != "sheet":
                return
            ident = attrs.get(f"{_OF_DOCUMENT}id", attrs.get(f"{_OF_DOCUMENT_STRICT}id", ""))
            name = attrs.get("name", "")
            if ident not in self._by_id:
                raise Unreadable(f"a damaged workbook: it does not say where the sheet {name!r} is")
            kind, part = self._by_id[ident]
            if kind == "worksheet":  # and no chart, dialogue or macro
                found.append(SheetInfo(name, part, attrs.get("state", "visible") != "visible", set()))

        parse_part(self.parts, self.parts.workbook, "workbook", start=start)
        if len(found) > _MAX_SHEETS:
            raise Unreadable(f"{len(found):,} sheets", "Export the list as CSV.")
        return found

    def rows(self, sheet: SheetInfo, columns: Set[int] | None = None) -> Iterator[WorkbookRow]:
        """Yield the rows of a sheet that stand in the file, blank ones as well.

        Args:
            sheet: Which one.
            columns: The columns wanted, from 0; None: all.

        Raises:
            Unreadable: It is damaged.
        """
        return _SheetScan(self, sheet, columns).rows()


# ---- rows ---------------------------------------------------------------------------------------------

_ANY_COLUMN = b"[A-Z]{1,2}|[A-W][A-Z]{2}|X(?:[A-E][A-Z]|F[A-D])"
_FORMULA_ATTRS = b"".join(
    rb'(?: %b="%b")?+' % (name, _VALUE) for name in b"t aca ref dt2D dtr del1 del2 r1 r2 ca si bx".split()
)
"""A formula's attributes in the order of their schema; in another the parser looks at them."""
_AREA = re.compile(r"([A-Z]{1,3})([1-9][0-9]{0,6})(?::([A-Z]{1,3})([1-9][0-9]{0,6}))?")
_HIDDEN = re.compile(rb' (?:hidden="(?:1|true)"|ht="0+(?:\.0*)?")')


def _column_number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1


def _column_letters(number: int) -> str:
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def _is_zero(value: str | None) -> bool:
    return value is not None and value.startswith("0") and not value.strip("0.")


class _SheetScan(XmlScan):
    """The rows of one sheet."""

    def __init__(self, book: Workbook, sheet: SheetInfo, columns: Set[int] | None) -> None:
        super().__init__(book.parts, sheet.part, root="worksheet", around="sheetData", unit="row")
        self._sense, self._sheet, self._columns = book.cells, sheet, columns
        self._numbers: dict[bytes, int] = {}
        self._sound: set[tuple[bytes, ...]] = set()
        self._ready: list[WorkbookRow] = []
        self._last = 0
        self._hidden = self._in_row = False
        self._filled = False
        self._cells: dict[int, Cell] = {}
        self._column = -1
        self._attrs: dict[str, str] = {}
        self._value: list[str] | None = None
        self._inline: list[str] | None = None
        self._formula = False
        self._marks = {column: bytearray(_MAX_ROW // 8 + 1) for column in columns or ()}
        """A bit for each filled cell of the columns wanted: what is merged stands behind the rows."""

    def rows(self) -> Iterator[WorkbookRow]:
        """Yield the rows as they come."""
        ready = self._ready
        for _ in self.steps():
            if ready:
                yield from ready
                ready.clear()

    def _finish_row(self, *, filled: bool, cells: dict[int, Cell]) -> None:
        self._ready.append(WorkbookRow(self._last, self._hidden, filled, cells))
        if self._marks:
            for column in cells:
                self._marks[column][self._last >> 3] |= 1 << (self._last & 7)

    def _begin_row(self, number: int) -> None:
        if not self._last < number <= _MAX_ROW:
            raise Unreadable(
                f"a damaged workbook: in sheet {self._sheet.name!r} row {number} comes after row {self._last}"
            )
        self._last = number

    def _place(self, cells: dict[int, Cell], column: int, cell: Cell) -> None:
        if column in cells:
            raise Unreadable(
                f"a damaged workbook: in sheet {self._sheet.name!r} row {self._last} has a cell twice"
            )
        cells[column] = cell

    # ---- the fast way

    def pattern(self, prefix: bytes) -> re.Pattern[bytes]:
        """Match one row in the shape that programs write."""
        names = {name: prefix + name for name in (b"row", b"c", b"f", b"v", b"is", b"t")}
        attrs = rb'(?: (?!xmlns)[A-Za-z][A-Za-z0-9:]*+="%b")*+' % _VALUE
        formula = rb"<%b%b(?:/>|>%b</%b>)" % (names[b"f"], _FORMULA_ATTRS, PLAIN_TEXT, names[b"f"])
        value = rb"<%b%b>(%b)</%b>|<%b ?/>" % (names[b"v"], SPACE_KEPT, PLAIN_TEXT, names[b"v"], names[b"v"])
        inline = rb"<%b><%b%b>(%b)</%b></%b>" % (
            names[b"is"], names[b"t"], SPACE_KEPT, PLAIN_TEXT, names[b"t"], names[b"is"],
        )  # fmt: skip
        rest = rb'(?: s="([0-9]{1,9}+)")?+(?: t="([A-Za-z]++)")?+ ?+(?:/>|>(%b)?+(%b|%b)?+</%b>)' % (
            formula, value, inline, names[b"c"],
        )  # fmt: skip
        wanted = _ANY_COLUMN
        if self._columns is not None:
            wanted = b"|".join(_column_letters(column).encode() for column in sorted(self._columns))
        self._cell = re.compile(b'<%b r="(%b)[0-9]++"%b' % (names[b"c"], wanted, rest))
        self._any_text = re.compile(b"<(?:%b|%b)%b>[^<]" % (names[b"v"], names[b"t"], SPACE_KEPT))
        any_rest = re.sub(rb"\((?!\?)", b"(?:", rest)
        any_cell = rb'<%b r="(?:%b)(?P=row)"%b' % (names[b"c"], _ANY_COLUMN, any_rest)
        return re.compile(
            rb'<%b(?=[^<>]* r="(?P<row>[1-9][0-9]{0,6}+)")(?P<attrs>%b) ?+'
            rb"(?:/>|>(?P<cells>\s*+(?:%b\s*+)*+)</%b>)\s*+" % (names[b"row"], attrs, any_cell, names[b"row"])
        )

    def is_sound(self, match: re.Match[bytes]) -> bool:
        """Tell whether a row has no attribute twice, and none of a prefix that nobody declared."""
        names = tuple(match["attrs"].split(b'"')[:-1:2])
        if names not in self._sound:
            prefixes = {name.partition(b":")[0].strip() for name in names if b":" in name}
            if len(set(names)) < len(names) or not prefixes <= self.declared:
                return False
            if len(self._sound) > _MAX_SHAPES:
                self._sound.clear()
            self._sound.add(names)
        return True

    def take(self, match: re.Match[bytes]) -> None:
        """Take one row, of its cells the ones that are wanted."""
        number, attrs, body = match.group("row", "attrs", "cells")
        self._begin_row(int(number))
        body = body or b""
        self._hidden = (b"hidden" in attrs or b'ht="0' in attrs) and _HIDDEN.search(attrs) is not None
        cells: dict[int, Cell] = {}
        sense = self._sense.cell
        for letters, style, kind, formula, stored, value, inline in self._cell.findall(body):
            text = (value or inline).decode() if stored else None
            cell = sense(kind.decode(), int(style) if style else 0, text, is_formula=bool(formula))
            if cell.text:
                self._place(cells, self._number_of(letters), cell)
        filled = bool(cells) or self._any_text.search(body) is not None
        self._finish_row(filled=filled, cells=cells)

    def _number_of(self, letters: bytes) -> int:
        number = self._numbers.get(letters)
        if number is None:
            number = self._numbers[letters] = _column_number(letters.decode())
        return number

    def _checked(self, column: int) -> int:
        if column >= _MAX_COLUMN:
            raise Unreadable(
                f"a damaged workbook: sheet {self._sheet.name!r} has a cell in column {column + 1}"
            )
        return column

    # ---- the other way

    def start(self, name: str, depth: int, attrs: dict[str, str]) -> None:
        """Take what begins at its own place: a hidden column, a row, a cell, a formula, a value, a merger."""
        match name, depth:
            case "col", 3 if self.is_within("cols") and _hides(attrs):
                first, last = int(attrs.get("min", "1")), int(attrs.get("max", "1"))
                self._sheet.hidden_columns.update(range(first - 1, min(last, _MAX_COLUMN)))
            case "row", 3 if self.is_within("sheetData"):
                self._start_row(attrs)
            case "c", 4 if self._in_row:
                self._column = self._column_of(attrs.get("r"))
                self._attrs, self._value, self._inline, self._formula = attrs, None, None, False
            case "f", 5 if self._in_row:
                self._formula = True
            case "v", 5 if self._in_row:
                self._refuse_two_values()
                self._value = []
                self.hear(self._value.append)
            case "is", 5 if self._in_row:
                self._refuse_two_values()
                self._inline = []
            case "t", 6 | 7 if self._in_row and self._inline is not None and not self.is_within("rPh"):
                self.hear(self._inline.append)
            case "mergeCell", 3 if self.is_within("mergeCells"):
                self._refuse_covered(attrs.get("ref", ""))

    def _refuse_covered(self, ref: str) -> None:
        """Refuse a value under merged cells: people see only the one at their upper left corner."""
        found = _AREA.fullmatch(ref)
        if found is None:
            raise Unreadable(f"a damaged workbook: merged cells at {ref[:30]!r}")
        left, right = _column_number(found[1]), _column_number(found[3] or found[1])
        top, bottom = int(found[2]), min(int(found[4] or found[2]), _MAX_ROW)
        for column in self._marks.keys() & set(range(left, right + 1)):
            first = top + 1 if column == left else top
            marks = self._marks[column]
            row = next((row for row in range(first, bottom + 1) if marks[row >> 3] & 1 << (row & 7)), None)
            if row is not None:
                raise Unreadable(
                    f"sheet {self._sheet.name!r} has a value that nobody sees, under the merged cells {ref}:"
                    f" {_column_letters(column)}{row}",
                    "Unmerge these cells and look at what stands there, or export the list as CSV.",
                )

    def _refuse_two_values(self) -> None:
        if self._value is not None or self._inline is not None:
            raise Unreadable(f"a damaged workbook: a cell of row {self._last} has two values")

    def _start_row(self, attrs: dict[str, str]) -> None:
        number = attrs.get("r", str(self._last + 1))
        self._begin_row(int(number) if number.isdecimal() else 0)
        self._hidden = attrs.get("hidden") in {"1", "true"} or _is_zero(attrs.get("ht"))
        self._cells, self._filled, self._column, self._in_row = {}, False, -1, True

    def _column_of(self, ref: str | None) -> int:
        if ref is None:
            return self._checked(self._column + 1)
        letters = ref.rstrip("0123456789")
        if letters + str(self._last) != ref or not letters.isascii() or not letters.isupper():
            raise Unreadable(
                f"a damaged workbook: in sheet {self._sheet.name!r} row {self._last} has a cell {ref[:20]!r}"
            )
        return self._checked(_column_number(letters))

    def end(self, name: str, depth: int) -> None:
        """Take what ends."""
        if name in {"v", "t"}:
            self.hear(None)
        elif name == "c" and depth == 4 and self._in_row:
            self._end_cell()
        elif name == "row" and depth == 3 and self._in_row:
            self._in_row = False
            self._finish_row(filled=self._filled or bool(self._cells), cells=self._cells)

    def _end_cell(self) -> None:
        parts = self._value if self._inline is None else self._inline
        text = None if parts is None else "".join(parts)
        self._filled = self._filled or bool(text)
        if self._columns is not None and self._column not in self._columns:
            return
        style = self._attrs.get("s", "0")
        cell = self._sense.cell(
            self._attrs.get("t", ""), int(style) if style.isdecimal() else 0, text, is_formula=self._formula
        )
        if cell.text:
            self._place(self._cells, self._column, cell)


def _hides(attrs: dict[str, str]) -> bool:
    return attrs.get("hidden") in {"1", "true"} or _is_zero(attrs.get("width"))
