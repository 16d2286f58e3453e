"""TOML as data: parsed by the standard library, with lines for its faults and bounds for its keys.

The library keeps no places, and its memory grows with the square of a dotted key. So the text is outlined
first: which key stands where. What is too deep or too much is refused there, before the parser sees it; and
where the outline cannot be drawn, the parser gets no more than the text up to there, to say what is wrong.

Keeps the promise that what a job says is what is read: a date stays text, and a phone or a user id that is
written as `1_39`, `+5` or `0x1F` is a fault.
"""

import re
import tomllib
from array import array
from datetime import date, datetime, time
from typing import Any

from runner.job.document import (
    MAX_DEPTH,
    MAX_KEYS,
    MAX_MAPPINGS,
    ODD_NUMBER,
    TOO_DEEP,
    TOO_MANY_KEYS,
    TOO_MANY_VALUES,
    DateText,
    Document,
    Position,
    Steps,
    one_line,
)
from runner.job.places import Inside, Places

__all__ = ["read_toml"]

_OFFSETS = 1 << 32
_MAX_LIVE = 20_000
"""Parts of keys that the parser keeps at once; with a new `[[users]]` it lets go of those before."""

_PART = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]++|\\[^\n])*+"|'[^'\n]*+')"""
_DOT = r"[ \t]*+\.[ \t]*+"
_STRINGS = r"""(?:"{3}(?:[^"\\]++|\\[\s\S]|"{1,2}+(?!"))*+"{3,5}+|'{3}(?:[^']++|'{1,2}+(?!'))*+'{3,5}+|
    "(?!"")(?:[^"\\\n]++|\\[^\n])*+"|'(?!'')[^'\n]*+')"""
_TOO_LONG_KEY = rf"(?:{_PART}{_DOT}){{{MAX_DEPTH}}}"

_BLANK = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
_REST_OF_LINE = re.compile(r"[ \t\r]*+(?:#[^\n]*+)?(?:\n|\Z)")
_NAME = re.compile(_PART)
_KEY = re.compile(rf"{_PART}(?:{_DOT}{_PART})*+")
_SPACE = re.compile(r"[ \t]*+")
_HEADER = re.compile(rf"(\[\[?)[ \t]*+({_PART}(?:{_DOT}{_PART})*+)[ \t]*+(\]\]?)")
_TOO_LONG = re.compile(_TOO_LONG_KEY)
_SCALAR = re.compile(rf"{_STRINGS}|[A-Za-z0-9_+.:\ \t-]++", re.VERBOSE)
_BETWEEN_BRACKETS = re.compile(
    rf"(?:(?!{_TOO_LONG_KEY})(?:{_STRINGS}|[A-Za-z0-9_+-]++)|[.,:=\ \t\r\n]++|\#[^\n]*+)*+", re.VERBOSE
)
_AT = re.compile(r" \(at (?:line ([0-9]+), column ([0-9]+)|end of document)\)$")
_ENDLESS = re.compile(r"[0-9][0-9_]{4000}")
_ODD_NUMBER = re.compile(r"[+-][0-9]|[0-9]_|0[xob]")
_DIGITS = re.compile(r"(?:0|[1-9][0-9]*)(?![0-9A-Za-z_])")


class _Ends(Exception):
    """The outline ends at this offset: what stands there is no TOML that is known here.

    Or, in `words`, it would make the parser swell.
    """

    def __init__(self, offset: int, words: str = "") -> None:
        super().__init__(words)
        self.offset, self.words = offset, words


def read_toml(document: Document, text: str) -> None:
    """Read a job's TOML into a document; what is wrong with it is noted there."""
    outline = _Outline(text)
    document.locate = outline.locate
    cut = False
    try:
        outline.draw()
    except _Ends as error:
        if error.words:
            document.add_at((outline.line(error.offset), 0), error.words)
            return
        cut, line_end = True, text.find("\n", error.offset)
        text = text[: line_end + 1 or len(text)]
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _AT.search(str(error))
        at = (int(match[1]), int(match[2])) if match and match[1] else (0, 0)
        document.add_at(at, f"not TOML: {one_line(_AT.sub('', str(error)))}")
        return
    except ValueError:
        number = _ENDLESS.search(text)
        if number is None:
            raise
        document.add_at((outline.line(number.start()), 0), "not TOML that a job could be: an endless number")
        return
    if cut:
        document.add_at((outline.line(len(text) - 1), 0), "not TOML: this line cannot be read")
        return
    document.data = data
    _dates_to_text(document, data, ())
    if _ODD_NUMBER.search(text):
        _note_odd_numbers(document, outline)


class _Outline:
    """Where the keys of a text stand."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._places = Places(text, _look_inside)
        self._keys: dict[Steps, dict[str | int, int]] = {}
        """By the table's path: offsets of each key and of its value, packed; what has no value is a table."""
        self._counts: dict[Steps, int] = {}
        """How many tables `[[it]]` has."""
        self._tables = 0
        self._section = ""
        self._live: dict[str, int] = {}
        self._all_live = 0

    def draw(self) -> None:
        """Go through the text.

        Raises:
            _Ends: The parser may see no more than the text up to there, or nothing of it.
        """
        at, table = 0, tuple[str | int, ...]()
        while (at := _after(_BLANK, self._text, at)) < len(self._text):
            if self._text[at] == "[":
                at, table = self._header(at)
            else:
                at = self._key_and_value(at, table)
            at = _end_of(_REST_OF_LINE, self._text, at)

    def line(self, offset: int) -> int:
        """Return the line of an offset."""
        return self._places.position(max(0, offset))[0]

    def locate(self, path: Steps, at_key: bool) -> Position:
        """Return the line that a path leads to; what is not there is passed over."""
        key, at = self._find(path)
        return self.line(key if at_key else at), 0

    def has_plain_digits(self, path: Steps) -> bool:
        """Tell whether a number is written as its digits and nothing else."""
        return _DIGITS.match(self._text, self._find(path)[1]) is not None

    def _find(self, path: Steps) -> tuple[int, int]:
        """Return the offsets of a key and of its value."""
        here: Steps = ()
        key = value = 0
        for index, step in enumerate(path):
            if value:
                inner_key, at = self._places.find(value, path[index:])
                return (key if inner_key == value else inner_key), at
            found = self._keys.get(here, {}).get(step)
            if found is not None:
                here, (key, value) = (*here, step), divmod(found, _OFFSETS)
        return key, value or key

    def _header(self, at: int) -> tuple[int, Steps]:
        header = _HEADER.match(self._text, at)
        if header is None:
            raise _Ends(at)
        names, many = self._names(header[2], at), header[1] == "[["
        self._section = names[0]
        self._note_live(len(names), at, afresh=many and len(names) == 1)
        within = self._table((), names[:-1], at)
        table = (*within, names[-1])
        self._note(within, names[-1], at)
        if not many:
            self._keys[within][names[-1]] = at * _OFFSETS
            return header.end(), self._last(table)
        self._tables += 1
        if self._tables > MAX_MAPPINGS:
            raise _Ends(at, TOO_MANY_VALUES)
        nth = self._counts.get(table, 0)
        self._counts[table] = nth + 1
        self._keys.setdefault(table, {})[nth] = at * _OFFSETS
        return header.end(), (*table, nth)

    def _key_and_value(self, at: int, table: Steps) -> int:
        key = _KEY.match(self._text, at)
        if key is None:
            raise _Ends(at)
        names = self._names(key[0], at)
        self._note_live(len(names), at)
        equals = _after(_SPACE, self._text, key.end())
        if self._text[equals : equals + 1] != "=":
            raise _Ends(equals)
        value = _after(_SPACE, self._text, equals + 1)
        self._note(self._table(table, names[:-1], at), names[-1], at, value)
        return _end_of_value(self._text, value)

    def _table(self, table: Steps, names: list[str], at: int) -> Steps:
        """Return the path of a table in another one; it begins here where it is not there yet."""
        for name in names:
            self._note(table, name, at)
            table = self._last((*table, name))
        return table

    def _last(self, table: Steps) -> Steps:
        """Return the path of a table, of several the last one's."""
        count = self._counts.get(table)
        return table if count is None else (*table, count - 1)

    def _note(self, table: Steps, name: str, at: int, value: int = 0) -> None:
        keys = self._keys.setdefault(table, {})
        if len(keys) >= MAX_KEYS and name not in keys:
            raise _Ends(at, TOO_MANY_KEYS)
        keys.setdefault(name, at * _OFFSETS + value)

    def _names(self, key: str, at: int) -> list[str]:
        names = [_name(part) for part in _NAME.findall(key)]
        if len(names) > MAX_DEPTH:
            raise _Ends(at, TOO_DEEP)
        return names

    def _note_live(self, parts: int, at: int, *, afresh: bool = False) -> None:
        """Count the parts of keys that the parser keeps, by the section they stand in."""
        before = self._live.get(self._section, 0)
        self._live[self._section] = parts if afresh else before + parts
        self._all_live += self._live[self._section] - before
        if self._all_live > _MAX_LIVE:
            raise _Ends(at, f"more than {_MAX_LIVE:,} keys outside of numbered tables such as [[users]]")


def _name(part: str) -> str:
    """Return a key's part as the parser will; a quoted one with escapes as near as places need it."""
    return part[1:-1] if part[0] in "\"'" else part


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    if match is None:
        raise _Ends(at)
    return match.end()


def _end_of_value(text: str, at: int) -> int:
    """Return where a value ends: a text in quotes, what is in brackets, a bare word (dates have a space)."""
    if text[at : at + 1] not in {"[", "{"}:
        return _end_of(_SCALAR, text, at)
    depth = 0
    while True:
        at = _after(_BETWEEN_BRACKETS, text, at)
        char = text[at : at + 1]
        if not char:
            return at  # unclosed: the parser will say so
        if char in "[{":
            depth += 1
        elif char in "]}":
            depth -= 1
        elif _TOO_LONG.match(text, at):
            depth = MAX_DEPTH + 1
        else:
            raise _Ends(at)
        if depth > MAX_DEPTH:
            raise _Ends(at, TOO_DEEP)
        at += 1
        if not depth:
            return at


def _look_inside(text: str, at: int) -> Inside | None:
    """Return what stands in the list or the braces at `at`; the text is known to be TOML."""
    opener = text[at : at + 1]
    if opener not in {"{", "["}:
        return None
    items, keys = array("I"), dict[str, tuple[int, int]]()
    at = _after(_BLANK, text, at + 1)
    while text[at : at + 1] not in {"}", "]", ""}:
        key_at = at
        if opener == "{":
            name = _NAME.match(text, at)
            at = _after(_SPACE, text, text.find("=", _after(_KEY, text, at)) + 1)
            keys[_name(name[0]) if name else ""] = key_at, at
        else:
            items.append(at)
        at = _after(_BLANK, text, _end_of_value(text, at))
        at = _after(_BLANK, text, at + 1) if text[at : at + 1] == "," else at
    return keys if opener == "{" else items


def _dates_to_text(document: Document, data: Any, path: Steps) -> None:
    """Turn TOML's own dates back to text, in place; one with an offset or a fraction is a fault."""
    if len(path) > MAX_DEPTH:
        raise RecursionError(TOO_DEEP)
    for step, value in data.items() if isinstance(data, dict) else enumerate(data):
        if isinstance(value, dict | list):
            _dates_to_text(document, value, (*path, step))
        elif isinstance(value, datetime):
            if value.tzinfo is not None or value.microsecond:
                words = "write the date and time without an offset or a fraction of a second"
                document.add((*path, step), words)
            data[step] = DateText(value.isoformat(sep=" ", timespec="seconds"))
        elif isinstance(value, date | time):
            data[step] = DateText(value.isoformat())


def _note_odd_numbers(document: Document, outline: _Outline) -> None:
    """Note phones and user ids that are whole numbers in another notation than plain digits."""
    users = document.data.get("users")
    for index, user in enumerate(users if isinstance(users, list) else ()):
        if not isinstance(user, dict):
            continue
        values: list[tuple[Steps, object]] = [(("users", index, "user_id"), user.get("user_id"))]
        phones = user.get("phone")
        if isinstance(phones, list):
            values += ((("users", index, "phone", nth), phone) for nth, phone in enumerate(phones))
        for path, value in values:
            if type(value) is int and value >= 0 and not outline.has_plain_digits(path):
                document.add(path, ODD_NUMBER)
