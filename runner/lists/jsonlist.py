"""JSON as a list: an array of values or of objects, or one value or object a line.

Keeps "integers that JSON gave are accepted, floats never", with the line of each value. Never holds more than
one element and one piece of the text, never lets the second of two equal keys win.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from runner.errors import Fault
from runner.lists.columns import SAMPLE_ROWS, Layout, find_layout
from runner.lists.decode import MAX_LINE, Source, whole_lines
from runner.lists.rows import ListSpec, Rows
from runner.phones import PhoneRule

__all__ = ["read_json_array", "read_json_lines"]

_CHUNK_ROWS = 4096
_SPACE = " \t\r\n"
_Item = tuple[int, Any]


class _Float(str):
    """A JSON number with a fraction or an exponent, as it was written."""

    __slots__ = ()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(
    parse_int=str, parse_float=_Float, parse_constant=_refuse_constant, object_pairs_hook=_unique
)


def read_json_lines(source: Source, pieces: Iterator[str], spec: ListSpec, rule: PhoneRule) -> Iterator[Rows]:
    """Yield the rows of JSON lines, values or objects.

    Raises:
        Fault: A line is no JSON, or the columns are in doubt.
    """
    return _read_items(source, _items_of_lines(source, pieces), spec, rule)


def read_json_array(source: Source, pieces: Iterator[str], spec: ListSpec, rule: PhoneRule) -> Iterator[Rows]:
    """Yield the rows of one JSON array of values or of objects, element by element.

    Raises:
        Fault: The text is no JSON array, an element is too long, or the columns are in doubt.
    """
    return _read_items(source, _Array(source, pieces).items(), spec, rule)


# ---- elements -----------------------------------------------------------------------------------------


def _items_of_lines(source: Source, pieces: Iterator[str]) -> Iterator[_Item]:
    line = 0
    for piece in whole_lines(source, pieces):
        for text in piece.split("\n")[:-1]:
            line += 1
            if text.strip(_SPACE):
                yield line, _parse_line(source, text, line)


def _parse_line(source: Source, text: str, line: int) -> Any:
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise source.fault("nested too deep", line=line) from error
    except ValueError as error:
        raise _json_fault(source, line, error) from error


def _json_fault(source: Source, line: int, error: ValueError) -> Fault:
    what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return source.fault(
        f"no JSON: {what}", line=line, hint="A JSON list is one array [ … ], or one value or object a line."
    )


class _Array:
    """The elements of one array, read from pieces of text that end anywhere."""

    def __init__(self, source: Source, pieces: Iterator[str]) -> None:
        self._source, self._pieces = source, pieces
        self._text, self._at, self._line = "", 0, 1

    def items(self) -> Iterator[_Item]:
        self._expect("[")
        if self._peek() == "]":
            self._at += 1
        else:
            while True:
                self._peek()
                line = self._line
                yield line, self._element()
                if self._expect(",]") == "]":
                    break
        if self._peek():
            raise self._source.fault("something stands after the array", line=self._line)

    def _more(self) -> bool:
        """Drop what is used, add a piece; False at the end of the text."""
        piece = next(self._pieces, "")
        self._text, self._at = self._text[self._at :] + piece, 0
        return bool(piece)

    def _peek(self) -> str:
        """Return the next character that is no white space, leaving it there; nothing at the end."""
        while True:
            rest = len(self._text)
            while self._at < rest:
                char = self._text[self._at]
                if char not in _SPACE:
                    return char
                self._line += char == "\n"
                self._at += 1
            if not self._more():
                return ""

    def _expect(self, chars: str) -> str:
        char = self._peek()
        if not char or char not in chars:
            found = repr(char) if char else "the end of the file"
            wanted = " or ".join(chars)
            raise self._source.fault(f"no JSON: {wanted} was due, not {found}", line=self._line)
        self._at += 1
        return char

    def _element(self) -> Any:
        while True:
            error: ValueError | None = None
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except RecursionError as deep:
                raise self._source.fault("nested too deep", line=self._line) from deep
            except ValueError as raised:
                error, end = raised, len(self._text)
            if end < len(self._text):  # something stands behind it, so it is whole
                self._line += self._text.count("\n", self._at, end)
                self._at = end
                return value
            if len(self._text) - self._at > MAX_LINE:
                raise self._refused(error, f"an element of more than {MAX_LINE} characters, or no JSON")
            if not self._more():
                raise self._refused(error, "no JSON: the array is not closed")

    def _refused(self, error: ValueError | None, what: str) -> Fault:
        if isinstance(error, json.JSONDecodeError):
            line = self._line + self._text.count("\n", self._at, error.pos)
            return _json_fault(self._source, line, error)
        return self._source.fault(str(error or what), line=self._line)


# ---- rows ---------------------------------------------------------------------------------------------


def _read_items(source: Source, items: Iterator[_Item], spec: ListSpec, rule: PhoneRule) -> Iterator[Rows]:
    sample = list(islice(items, SAMPLE_ROWS))
    if not sample:
        return
    objects = isinstance(sample[0][1], dict)
    names = _names(sample) if objects else []
    if objects and not names:
        raise source.fault("objects without any key", line=sample[0][0])
    layout = _layout(source, sample, names, spec, rule)
    rest = chain(sample[layout.skip if not objects else 0 :], items)
    while chunk := list(islice(rest, _CHUNK_ROWS)):
        yield _rows(source, chunk, names, layout)


def _names(sample: Iterable[_Item]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(item for _, item in sample if isinstance(item, dict))))


def _layout(source: Source, sample: list[_Item], names: list[str], spec: ListSpec, rule: PhoneRule) -> Layout:
    if names:
        cells = [[_text(item.get(name)) for name in names] for _, item in sample if isinstance(item, dict)]
        return find_layout([names, *cells], spec, rule, source.fault)
    return find_layout([[_text(item)] for _, item in sample], spec, rule, source.fault)


def _rows(source: Source, chunk: list[_Item], names: list[str], layout: Layout) -> Rows:
    phone, user = (
        (names[layout.phone], None if layout.user is None else names[layout.user]) if names else ("", None)
    )
    known = set(names)
    lines: list[int] = []
    values: list[str] = []
    users: list[str] = []
    flaws: dict[int, str] = {}
    blank = 0
    for line, item in chunk:
        if isinstance(item, dict) != bool(names):
            raise source.fault("objects and bare values in one list", line=line)
        value = item.get(phone) if names else item
        flaw = _flaw(value)
        if names and phone not in item and not known.issuperset(item):
            flaw = "missing"  # its number may stand under the key that no other row has
        text = _text(value)
        if flaw is None and not text.strip():
            blank += 1
            continue
        if flaw is not None:
            flaws[len(lines)] = flaw
        lines.append(line)
        values.append(text)
        if user is not None:
            users.append(_text(item.get(user)))
    return Rows(
        source.name,
        lines,
        values,
        None if user is None else users,
        flaws,
        column=layout.read if names else None,
        blank=blank,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _flaw(value: Any) -> str | None:
    if isinstance(value, _Float):
        return "scientific" if "e" in value.lower() else "float"
    return None if value is None or isinstance(value, str) else "not_text"
