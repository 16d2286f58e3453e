"""JSON as a list: an array of values or of objects, or one value or object a line.

Keeps "integers that JSON gave are accepted, floats never", with the line of each value, and refuses rows that
say of themselves whom they belong to. Never holds more than some elements and one piece of the text, and
never lets the second of two equal keys win.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, zip_longest
from typing import Any, NamedTuple

from runner.errors import Fault
from runner.lists.columns import SAMPLE_ROWS, Layout, find_layout
from runner.lists.decode import Source, whole_lines
from runner.lists.headers import fold_name, names_user
from runner.lists.hints import hint_of_requests, hint_of_table
from runner.lists.json_pieces import BadJson, JsonPieces
from runner.lists.rows import CellRows, ListSpec, Rows
from runner.phones import PhoneRule
from runner.strict_json import MAX_EXACT, STRICT, Inexact, decode_elements, decode_texts, is_exact

__all__ = ["read_json_array", "read_json_cells", "read_json_lines"]

_CHUNK_ROWS = 4096
_LEAST_RUN = 1000
"""Characters for which it is worth while to look for many elements at once."""
_SPACE = b" \t\r\n"
_HINT = "A JSON list is one array [ … ], or one value or object a line."
_SHOWN = 64
_REQUEST_KEYS: dict[str, tuple[type, ...]] = {"createdat": (list, dict), "encryption": (object,)}
"""Keys by which a row is a request, and not a row of a list, where the value is of these types; a time alone
(`"created_at": "2024-07-26 00:00:00"`) is a column like others."""
_STRANGE = object()
"""The phone of a row that has none, but a key that no row of the sample has."""


class _Chunk(NamedTuple):
    """Some elements with their lines; `exactly` decodes them again, each number as it was written."""

    lines: Sequence[int]
    items: list[Any]
    exactly: Callable[[], list[Any]]


def read_json_lines(source: Source, pieces: Iterator[str], spec: ListSpec, rule: PhoneRule) -> Iterator[Rows]:
    """Yield the rows of JSON lines, values or objects.

    Raises:
        Fault: A line is no JSON, the columns are in doubt, or a row names a user, a window or `encryption`.
    """
    return _read_chunks(source, _chunks_of_lines(source, pieces), spec, rule)


def read_json_array(source: Source, pieces: Iterator[str], spec: ListSpec, rule: PhoneRule) -> Iterator[Rows]:
    """Yield the rows of one JSON array of values or of objects, in pieces.

    Raises:
        Fault: The text is no JSON array, an element is too long, or what `read_json_lines` refuses.
    """
    return _read_chunks(source, _chunks_of_array(source, pieces), spec, rule)


def read_json_cells(source: Source, pieces: Iterator[str], *, is_array: bool) -> Iterator[CellRows]:
    """Yield the elements of a JSON list with all their values; what is nested is one cell, as JSON.

    Raises:
        Fault: The text is no JSON list.
    """
    chunks = _chunks_of_array(source, pieces) if is_array else _chunks_of_lines(source, pieces)
    for lines, _, exactly in chunks:
        items = exactly()
        names = list(dict.fromkeys(chain.from_iterable(item for item in items if isinstance(item, dict))))
        rows = [[item.get(name) for name in names] if isinstance(item, dict) else [item] for item in items]
        columns = [list(column) for column in zip_longest(*rows)]
        yield CellRows(
            source.name,
            lines,
            [[_any_text(value) for value in column] for column in columns],
            [{i: flaw for i, value in enumerate(column) if (flaw := _any_flaw(value))} for column in columns],
            tuple(names),
        )


def _any_text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def _any_flaw(value: Any) -> str | None:
    return None if isinstance(value, list | dict) else _flaw(value)


# ---- elements -----------------------------------------------------------------------------------------


def _chunks_of_lines(source: Source, pieces: Iterator[str]) -> Iterator[_Chunk]:
    line = 1
    for piece in whole_lines(source, pieces):
        texts = piece.encode().split(b"\n")
        texts.pop()
        lines: Sequence[int] = range(line, line + len(texts))
        line += len(texts)
        if not all(map(bytes.strip, texts)):
            lines = [number for number, text in zip(lines, texts, strict=True) if text.strip(_SPACE)]
            texts = [text for text in texts if text.strip(_SPACE)]
        exactly = partial(_decode_all, source, texts, lines)
        items = decode_texts(texts)
        yield _Chunk(lines, exactly() if items is None else items, exactly)


def _decode_all(source: Source, texts: list[bytes], lines: Sequence[int]) -> list[Any]:
    return [_decode(source, text.decode(), number) for text, number in zip(texts, lines, strict=True)]


def _decode(source: Source, text: str, line: int) -> Any:
    try:
        return STRICT.decode(text)
    except RecursionError as error:
        raise source.fault("no JSON: nested too deep", line=line) from error
    except ValueError as error:
        what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise source.fault(f"no JSON: {what}", line=line, hint=_HINT) from error


def _chunks_of_array(source: Source, pieces: Iterator[str]) -> Iterator[_Chunk]:
    try:
        yield from _Array(pieces).chunks()
    except BadJson as error:
        raise source.fault(f"no JSON: {error.words}", line=error.line, hint=_HINT) from error


class _Array:
    """The elements of one array, some thousands at a time."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._cursor = JsonPieces(pieces, STRICT)
        self._tried = ""

    def chunks(self) -> Iterator[_Chunk]:
        cursor = self._cursor
        cursor.expect("[")
        if cursor.next() == "]":
            cursor.at += 1
        else:
            yield from self._elements()
        if cursor.next():
            raise cursor.bad("something stands after the array")

    def _elements(self) -> Iterator[_Chunk]:
        cursor = self._cursor
        lines: list[int] = []
        items: list[Any] = []
        while True:
            run = self._run() if cursor.next() else None
            if run is not None or len(items) >= _CHUNK_ROWS:
                yield _Chunk(lines, items, partial(list, items))
                lines, items = [], []
            if run is not None:
                yield run
                cursor.next()
            lines.append(cursor.line)
            items.append(cursor.value())
            if cursor.expect(",]") == "]":
                break
        yield _Chunk(lines, items, partial(list, items))

    def _run(self) -> _Chunk | None:
        """Take all elements that stand whole in the text in hand but for the last; None if that is not fast.

        Where the text before a comma is an array once it has brackets, the comma is the array's own.
        """
        text, start = self._cursor.text, self._cursor.at
        if text is self._tried:  # until there is more of it
            return None
        self._tried = text
        end = text.rfind("},", start) + 1 if text[start] == "{" else text.rfind(",", start)
        if end - start < _LEAST_RUN:
            return None
        part, line = text[start:end], self._cursor.line
        lines, items = _elements_of_lines(part, line) if "\n" in part else _elements_of(part, line)
        if items is None:
            return None
        self._cursor.move(end + 1)
        return _Chunk(lines, items, partial(STRICT.decode, f"[{part}]"))


def _elements_of(text: str, line: int) -> tuple[list[int], list[Any] | None]:
    """Return the elements of a text without line breaks, as it stands between the brackets of an array."""
    items = decode_elements(text.encode())
    return [line] * len(items or ()), items


def _elements_of_lines(text: str, line: int) -> tuple[list[int], list[Any] | None]:
    """Return the elements of a text with one on each line."""
    texts = [part.strip(_SPACE) for part in text.encode().split(b"\n")]
    lines = [line + index for index, part in enumerate(texts) if part]
    texts = [part for part in texts if part]
    if not all(part.endswith(b",") for part in texts[:-1]):
        return [], None
    return lines, decode_texts([part[:-1] for part in texts[:-1]] + texts[-1:])


# ---- rows ---------------------------------------------------------------------------------------------


def _read_chunks(source: Source, chunks: Iterator[_Chunk], spec: ListSpec, rule: PhoneRule) -> Iterator[Rows]:
    first: list[_Chunk] = []
    sample: list[Any] = []
    for chunk in chunks:
        first.append(chunk)
        sample += chunk.items[: SAMPLE_ROWS - len(sample)]
        if len(sample) == SAMPLE_ROWS:
            break
    if not sample:
        return
    line = next(chunk.lines[0] for chunk in first if chunk.lines)
    reader = _reader(source, sample, line, spec, rule)
    for chunk in chain(first, chunks):
        rows = reader.rows(chunk)
        if rows.values or rows.blank:
            yield rows


def _reader(
    source: Source, sample: list[Any], line: int, spec: ListSpec, rule: PhoneRule
) -> "_Objects | _Values":
    if not isinstance(sample[0], dict):
        layout = find_layout([[_text(item)] for item in sample], spec, rule, source.fault)
        return _Values(source, layout.skip)
    objects = [item for item in sample if isinstance(item, dict)]
    names = list(dict.fromkeys(chain.from_iterable(objects)))
    if not names:
        raise source.fault("objects without any key", line=line)
    cells = [[_text(item.get(name)) for name in names] for item in objects]
    return _Objects(source, spec, names, find_layout([names, *cells], spec, rule, source.fault))


class _Values:
    """Rows of an array of values, or of a value a line."""

    def __init__(self, source: Source, skip: int) -> None:
        self._source, self._skip = source, skip

    def rows(self, chunk: _Chunk) -> Rows:
        items = chunk.items if is_exact(chunk.items) else chunk.exactly()
        lines, items, self._skip = (
            chunk.lines[self._skip :],
            items[self._skip :],
            max(0, self._skip - len(items)),
        )
        if any(isinstance(item, dict) for item in items):
            raise _mixed(self._source, lines, items, objects=False)
        kept, values, flaws = _filled(items)
        return Rows(
            self._source.name,
            [lines[index] for index in kept],
            values,
            None,
            flaws,
            blank=len(items) - len(kept),
        )


class _Objects:
    """Rows of objects: the phones stand under one key, the users, if they are asked for, under another."""

    def __init__(self, source: Source, spec: ListSpec, names: list[str], layout: Layout) -> None:
        self._source, self._spec, self._layout = source, spec, layout
        self._phone = names[layout.phone]
        self._user = None if layout.user is None else names[layout.user]
        self._names = frozenset(names)
        self._harmless = {
            name for name in names if not names_user(name) and fold_name(name) not in _REQUEST_KEYS
        }

    def rows(self, chunk: _Chunk) -> Rows:
        lines, items, phone = chunk.lines, chunk.items, self._phone
        if set(map(type, items)) - {dict}:
            raise _mixed(self._source, lines, items, objects=True)
        wanted = (phone,) if self._user is None else (phone, self._user)
        if not all(is_exact([item.get(key) for item in items]) for key in wanted):
            items = chunk.exactly()
        keys: set[str] = set().union(*items)
        self._refuse_requests(lines, items, keys)
        cells = [item.get(phone) for item in items]
        if not keys <= self._names:  # the number may stand under a key that no other row has
            cells = [
                _STRANGE if phone not in item and not self._names.issuperset(item) else cell
                for item, cell in zip(items, cells, strict=True)
            ]
        kept, values, flaws = _filled(cells)
        if len(kept) < len(items):
            lines, items = [lines[index] for index in kept], [items[index] for index in kept]
        users: list[str] | None = None
        user_flaws: dict[int, str] = {}
        if self._user is not None:
            users, user_flaws = _texts([item.get(self._user) for item in items])
        return Rows(
            self._source.name,
            lines,
            values,
            users,
            flaws,
            user_flaws,
            column=self._layout.read,
            blank=len(cells) - len(kept),
        )

    def _refuse_requests(self, lines: Sequence[int], items: list[Any], keys: set[str]) -> None:
        """Refuse rows that say whom or what they are for: read for their numbers alone, they would widen."""
        for key in keys - self._harmless:
            name = fold_name(key)
            if names_user(key) and self._spec.user_column is None:
                self._refuse(lines, items, key, (object,), hint_of_table(self._spec, key))
            elif name in _REQUEST_KEYS:
                self._refuse(lines, items, key, _REQUEST_KEYS[name], hint_of_requests())

    def _refuse(
        self, lines: Sequence[int], items: list[Any], key: str, types: tuple[type, ...], hint: str
    ) -> None:
        for line, item in zip(lines, items, strict=True):
            if key in item and isinstance(item[key], types):
                what = f"this row names {key!r} itself, and this is a list of numbers"
                raise self._source.fault(what, line=line, hint=hint)


def _mixed(source: Source, lines: Sequence[int], items: list[Any], *, objects: bool) -> Fault:
    line = next(
        line for line, item in zip(lines, items, strict=True) if isinstance(item, dict) is not objects
    )
    return source.fault("objects and bare values in one list", line=line)


# ---- cells --------------------------------------------------------------------------------------------


def _filled(cells: list[Any]) -> tuple[Sequence[int], list[str], dict[int, str]]:
    """Return the places of the cells that are not blank, their texts, and their flaws by their new places."""
    if set(map(type, cells)) == {str} and all(map(str.strip, cells)):
        return range(len(cells)), cells, {}
    kept = [
        index
        for index, cell in enumerate(cells)
        if cell is not None and not (isinstance(cell, str) and not cell.strip())
    ]
    return kept, *_texts([cells[index] for index in kept])


def _texts(cells: list[Any]) -> tuple[list[str], dict[int, str]]:
    """Return cells as text, and place → reason of those that say nothing exactly."""
    kinds = set(map(type, cells))
    if kinds <= {str}:
        return cells, {}
    if kinds <= {str, int}:
        numbers = [cell for cell in cells if type(cell) is int]
        if min(numbers) >= 0 and max(numbers) <= MAX_EXACT:
            return list(map(str, cells)), {}
    flaws = {index: flaw for index, cell in enumerate(cells) if (flaw := _flaw(cell))}
    return list(map(_text, cells)), flaws


def _text(cell: Any) -> str:
    if isinstance(cell, str):
        return str(cell)
    if cell is None or cell is _STRANGE:
        return ""
    return str(cell) if type(cell) is int else json.dumps(cell, ensure_ascii=False)[:_SHOWN]


def _flaw(cell: Any) -> str:
    """Return the reason for which a cell says neither a phone nor a user id exactly, or nothing."""
    if isinstance(cell, Inexact):
        if "e" in cell.lower():
            return "scientific"
        return "float" if "." in cell else "negative" if cell.startswith("-") else "rounded"
    if isinstance(cell, bool) or not isinstance(cell, str | int | None):
        return "missing" if cell is _STRANGE else "not_text"
    if isinstance(cell, int):
        return "negative" if cell < 0 else "rounded" if cell > MAX_EXACT else ""
    return ""
