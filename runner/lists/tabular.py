"""Text and tables as text: one value a line, or CSV with a comma, a semicolon or a tab.

Keeps "quotes strict, embedded newlines, correct lines": pieces without a quote or a row of a wrong width go a
fast way that is exact for them; all others go through the csv module, strictly. Never takes a row whose cells
might have shifted for a good one.
"""

import csv
import re
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, chain, zip_longest
from typing import TYPE_CHECKING

from runner.errors import Fault
from runner.lists.cells import rows_of
from runner.lists.columns import SAMPLE_ROWS, TITLE_ROWS, Layout, find_layout, names_columns
from runner.lists.decode import Source, whole_lines
from runner.lists.one_list import one_list, refuse_heading_row
from runner.lists.rows import CellRows, ListSpec, Rows
from runner.phones import PhoneRule

if TYPE_CHECKING:
    import _csv

__all__ = ["read_table", "read_table_cells"]

_DELIMITERS = ("\t", ",", ";")
_AGREEING = 0.8
"""Share of rows of the same width that makes a character the delimiter."""
_SAMPLE_CHARS = 1 << 16
_CHUNK_ROWS = 4096
_SEP_LINE = re.compile(r'"?sep=([^\n"])"? *\n', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Shape:
    """How rows are cut.

    Args:
        delimiter: What stands between cells; None: a line is a value.
        layout: Which columns.
        bare: What is left of a row without quotes when only delimiters, quotes and newlines are kept.
        quoted: The same of a row in which every cell is quoted.
        flesh: The bytes that are not kept.
    """

    delimiter: str | None
    layout: Layout
    bare: bytes
    quoted: bytes
    flesh: bytes

    @classmethod
    def of(cls, delimiter: str | None, layout: Layout) -> "_Shape":
        bare = (delimiter or "") * (layout.width - 1) + "\n"
        quoted = (delimiter or "").join(['""'] * layout.width) + "\n"
        kept = bare if delimiter is None else bare + delimiter + '"'
        return cls(
            delimiter, layout, bare.encode(), quoted.encode(), bytes(set(range(256)) - set(kept.encode()))
        )


def read_table(source: Source, pieces: Iterator[str], spec: ListSpec, rule: PhoneRule) -> Iterator[Rows]:
    """Yield the rows of a text or a CSV file.

    Raises:
        Fault: A quote is not closed or misplaced (with its line), or the columns are in doubt.
    """
    chunks = whole_lines(source, pieces)
    first, line = _first_piece(chunks)
    if not first:
        return
    delimiter, first, line, sample = _settle_delimiter(source, first, line, spec)
    rows = list(_sample_rows(source, sample, delimiter, line))
    if not rows:
        return
    layout = find_layout([row for _, row in rows], spec, rule, source.fault)
    if layout.skip:
        first, line = _cut_lines(first, rows[layout.skip - 1][0] - line + 1), rows[layout.skip - 1][0] + 1
    body = _read_body(source, chain(filter(None, [first]), chunks), _Shape.of(delimiter, layout), line)
    yield from one_list(source, body, layout)


def read_table_cells(source: Source, pieces: Iterator[str], spec: ListSpec) -> Iterator[CellRows]:
    """Yield the rows of a text or a CSV file with all their cells, the blank rows left out.

    Raises:
        Fault: A quote is not closed or misplaced (with its line).
    """
    chunks = whole_lines(source, pieces)
    first, line = _first_piece(chunks)
    if not first:
        return
    delimiter, first, line, _ = _settle_delimiter(source, first, line, spec)
    for piece in chain(filter(None, [first]), chunks):
        if delimiter is None:
            if "\r" in piece:
                raise _return_fault(source, piece, line)
            texts = piece.split("\n")[:-1]
            yield CellRows(source.name, range(line, line + len(texts)), [texts], [{}])
            line += len(texts)
            continue
        line += yield from _all_cells(source, piece, chunks, delimiter, line)


def _all_cells(
    source: Source, piece: str, chunks: Iterator[str], delimiter: str, line: int
) -> Generator[CellRows, None, int]:
    """Cut a piece by the rules of CSV; yields all cells and returns how many lines they took."""
    feed = _TableLines(piece, chunks)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while feed.left:
        rows, starts = _some_rows(source, feed, reader, line)
        columns = [list(column) for column in zip_longest(*rows, fillvalue="")]
        yield CellRows(source.name, starts, columns, [{} for _ in columns])
    return reader.line_num


def _settle_delimiter(
    source: Source, first: str, line: int, spec: ListSpec
) -> tuple[str | None, str, int, str]:
    """Return the delimiter; the first piece and its line, without what names the delimiter; and a sample."""
    delimiter = None
    if (sep := _SEP_LINE.match(first)) is not None:  # Excel's own way to name the delimiter
        delimiter, first, line = sep[1], first[sep.end() :], line + 1
        if delimiter not in _DELIMITERS:
            raise source.fault(
                f"its first line says that {delimiter!r} stands between the cells",
                hint="Save it with a comma, a semicolon or a tab between them, or as .xlsx.",
            )
    sample = first[: first.rfind("\n", 0, _SAMPLE_CHARS) + 1] or first
    return delimiter or _find_delimiter(sample, spec), first, line, sample


def _first_piece(chunks: Iterator[str]) -> tuple[str, int]:
    """Return the first piece from its first line with something in it, and that line's number."""
    line = 1
    for piece in chunks:
        rest = piece.lstrip("\n")
        line += len(piece) - len(rest)
        if rest:
            return rest, line
    return "", line


def _cut_lines(text: str, lines: int) -> str:
    position = 0
    for _ in range(lines):
        position = text.index("\n", position) + 1
    return text[position:]


# ---- finding the shape --------------------------------------------------------------------------------


def _find_delimiter(sample: str, spec: ListSpec) -> str | None:
    """Return the delimiter that cuts the rows into the most even columns, or None: a line is a value.

    One that cuts out the name of a column is right however uneven the rows are.
    """
    best: tuple[float, int, str] | None = None
    for delimiter in _DELIMITERS:
        rows = _trial(sample, delimiter) if delimiter in sample else []
        widths = [len(row) for row in rows]
        usual = max(set(widths), key=widths.count, default=1)
        if any(len(row) > 1 and names_columns(row, spec) for row in rows[:TITLE_ROWS]):
            return delimiter
        share = widths.count(usual) / max(1, len(widths))
        if usual > 1 and share >= _AGREEING and (best is None or (share, usual) > best[:2]):
            best = (share, usual, delimiter)
    if best is not None:
        return best[2]
    return "," if re.search(r'^"', sample, re.MULTILINE) else None


def _trial(sample: str, delimiter: str) -> list[list[str]]:
    """Cut the first rows with a delimiter, as far as that goes."""
    rows: list[list[str]] = []
    lines = [text + "\n" for text in sample.split("\n", SAMPLE_ROWS)[:-1]]
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    with suppress(csv.Error):  # cut in the middle of a quoted cell, or another delimiter's file
        for row in reader:
            rows += [row] if any(map(str.strip, row)) else []
    return rows


def _sample_rows(
    source: Source, sample: str, delimiter: str | None, line: int
) -> Iterator[tuple[int, list[str]]]:
    """Yield the first rows that are not blank, each with the number of its last line."""
    lines = sample.split("\n")[:-1]
    if delimiter is None:
        filled = [(line + i, [text]) for i, text in enumerate(lines[:SAMPLE_ROWS]) if text.strip()]
        yield from filled
        return
    reader = csv.reader(iter([text + "\n" for text in lines]), delimiter=delimiter, strict=True)
    seen = 0
    try:
        for row in reader:
            if any(map(str.strip, row)):
                seen += 1
                yield line + reader.line_num - 1, row
            if seen == SAMPLE_ROWS:
                return
    except csv.Error as error:
        if seen == 0:
            raise _quote_fault(source, line, error) from error


def _return_fault(source: Source, piece: str, line: int) -> Fault:
    """Return the fault of a carriage return within a row; `line` is that of the piece."""
    return source.fault(
        "a lone carriage return (an old Mac's end of line) stands within this line",
        line=line + piece.count("\n", 0, piece.find("\r")),
        hint="Save the list with one kind of line end.",
    )


def _quote_fault(source: Source, line: int, error: csv.Error) -> Fault:
    if str(error).startswith("new-line character"):
        return _return_fault(source, "\r", line)
    return source.fault(
        f"the row that begins here cannot be read: {error}",
        line=line,
        hint='A quote that opens a cell must close it; a quote within is written twice: "".',
    )


# ---- reading ------------------------------------------------------------------------------------------


def _read_body(source: Source, chunks: Iterator[str], shape: _Shape, line: int) -> Iterator[Rows]:
    for piece in chunks:
        count = piece.count("\n")
        cells = _cut_evenly(piece, count, shape)
        if cells is not None:
            spaced = " " in piece or "\t" in piece or not piece.isascii()
            lines = range(line, line + count)
            rows: Rows | None = _columns(source, cells, shape.layout, lines, spaced=spaced)
        else:
            rows = _cut_by_csv(source, piece, shape, line)
        if rows is not None:
            yield from _unless_empty(rows)
            line += count
        else:
            line += yield from _cut_slowly(source, piece, chunks, shape, line)


def _cut_evenly(piece: str, count: int, shape: _Shape) -> list[str] | None:
    """Cut a piece whose rows all have the table's width, no cell quoted or every cell; None if they do not.

    What is left of its bytes without those that are neither delimiter nor quote nor newline tells exactly.
    """
    delimiter = shape.delimiter
    if "\r" in piece:
        return None
    bones = piece.encode().translate(None, shape.flesh)
    if bones == shape.bare * count:
        cells = piece.replace("\n", delimiter).split(delimiter) if delimiter else piece.split("\n")
        cells.pop()
        return cells
    if delimiter is None or bones != shape.quoted * count or not piece.startswith('"'):
        return None
    between = f'"{delimiter}"'
    joined = piece[1:-2].replace('"\n"', between)
    cells = joined.split(between)
    return cells if len(cells) == count * shape.layout.width and piece.endswith('"\n') else None


def _columns(source: Source, cells: list[str], layout: Layout, lines: range, *, spaced: bool) -> Rows:
    """Take the wanted columns out of whole rows, without those that have no phone."""
    values = cells[layout.phone :: layout.width]
    users = None if layout.user is None else cells[layout.user :: layout.width]
    if "" not in values and not (spaced and not all(map(str.strip, values))):
        return Rows(source.name, lines, values, users, {}, column=layout.read)
    filled = [index for index, value in enumerate(values) if value and value.strip()]
    return Rows(
        source.name,
        [lines[index] for index in filled],
        [values[index] for index in filled],
        None if users is None else [users[index] for index in filled],
        {},
        column=layout.read,
        blank=_count_blank(source, cells, values, layout, lines),
    )


def _count_blank(source: Source, cells: list[str], values: list[str], layout: Layout, lines: range) -> int:
    """Count the rows that have no phone, but something else."""
    blank, width = 0, layout.width
    for index, value in enumerate(values):
        if not value.strip():
            row = cells[index * width : (index + 1) * width]
            blank += bool("".join(row).strip())
            refuse_heading_row(source, lines[index], row, layout)
    return blank


def _cut_by_csv(source: Source, piece: str, shape: _Shape, line: int) -> Rows | None:
    """Cut a piece by the rules of CSV at once; None if a row goes on over its end, or is no row.

    Only where quotes hold line breaks are there more lines than rows.
    """
    if shape.delimiter is None:
        return None
    texts = [text + "\n" for text in piece.split("\n")[:-1]]
    try:
        rows = list(csv.reader(texts, delimiter=shape.delimiter, strict=True))
    except csv.Error:
        return None
    starts: Sequence[int] = range(line, line + len(rows))
    if len(rows) != len(texts):
        starts = list(accumulate((1 + "".join(row).count("\n") for row in rows), initial=line))
        if starts.pop() != line + len(texts):
            return None
    return rows_of(source, shape.layout, rows, starts)


class _TableLines:
    """The lines of one piece for the csv reader, and of the next ones while a row goes on over the end."""

    def __init__(self, piece: str, chunks: Iterator[str]) -> None:
        self._chunks = chunks
        self._take(piece)

    def _take(self, piece: str) -> None:
        self._pending = deque(text + "\n" for text in piece.split("\n")[:-1])

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if not self._pending:
            self._take(next(self._chunks))
        return self._pending.popleft()

    @property
    def left(self) -> int:
        """How many of them are left in hand."""
        return len(self._pending)


def _cut_slowly(
    source: Source, piece: str, chunks: Iterator[str], shape: _Shape, line: int
) -> Generator[Rows, None, int]:
    """Cut a piece strictly by the rules of CSV; yields rows and returns how many lines they took."""
    if shape.delimiter is None:
        raise _return_fault(source, piece, line)
    feed = _TableLines(piece, chunks)
    reader = csv.reader(feed, delimiter=shape.delimiter, strict=True)
    while feed.left:
        rows, starts = _some_rows(source, feed, reader, line)
        yield from _unless_empty(rows_of(source, shape.layout, rows, starts))
    return reader.line_num


def _some_rows(
    source: Source, feed: _TableLines, reader: "_csv.Reader", line: int
) -> tuple[list[list[str]], list[int]]:
    """Read some thousand rows, each with the line that it begins on; `line` is where the piece began."""
    rows: list[list[str]] = []
    starts: list[int] = []
    start = line
    try:
        while feed.left and len(rows) < _CHUNK_ROWS:
            start = line + reader.line_num
            rows.append(next(reader))
            starts.append(start)
    except csv.Error as error:
        raise _quote_fault(source, start, error) from error
    return rows, starts


def _unless_empty(rows: Rows) -> Iterator[Rows]:
    if rows.values or rows.blank:
        yield rows
