"""JSON as data: strict, with the places of what is at fault. Job files and JSON-lines jobs share the decoder.

Keeps the promise that what a job says is what is read: the second of two equal keys never wins, `-0` and
numbers with a fraction or an exponent are no whole numbers, and half of a character is a fault.
"""

import json
import math
import re
from array import array
from typing import Any

from runner.job.document import (
    MAX_DEPTH,
    MAX_KEYS,
    NO_VALUE,
    TOO_DEEP,
    TOO_MANY_KEYS,
    TWICE,
    Document,
    Steps,
    dotted,
    half_character,
    shown_key,
)
from runner.job.places import Inside, Places

__all__ = ["ESCAPED_HALF", "fault_of_keys", "json_decoder", "read_json"]

ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""Where a text has this, `half_character` has to look at its strings."""

_SPACE = re.compile(r"[ \t\n\r]*")
_LONGEST_NUMBER = 30


class _Odd(dict[str, Any]):
    """An object whose keys are at fault: one of them stands twice, or there are too many."""

    words: str = ""
    key: str = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs) <= MAX_KEYS:
        return made
    marked = _Odd() if len(pairs) > MAX_KEYS else _Odd(made)
    marked.words = TOO_MANY_KEYS
    seen: set[str] = set()
    for key, _ in pairs[: MAX_KEYS + 1] if len(made) < len(pairs) else ():
        if key in seen:
            marked.key, marked.words = key, TWICE.format(shown_key(key))
            break
        seen.add(key)
    return marked


def _whole_number(text: str) -> int | float:
    """Return a whole number; `-0`, and what is longer than any phone or limit, as one that is none."""
    if len(text) > _LONGEST_NUMBER:
        return math.inf
    return -0.0 if text == "-0" else int(text)


json_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole_number)
"""Objects carry the fault of their keys (`fault_of_keys`); NaN and infinity are floats, and so no phones."""


def fault_of_keys(data: object) -> str:
    """Return words for an object of `json_decoder` whose keys are at fault, else an empty text."""
    return data.words if isinstance(data, _Odd) else ""


def read_json(document: Document, text: str) -> None:
    """Read a job's JSON into a document; what is wrong with it is noted there."""
    places = Places(text, _look_inside)
    start = _after_space(text, 0)

    def locate(path: Steps, at_key: bool) -> tuple[int, int]:
        key, at = places.find(start, path)
        return places.position(key if at_key else at)

    document.locate = locate
    try:
        data = json_decoder.decode(text)
    except json.JSONDecodeError as error:
        document.add_at((error.lineno, error.colno), f"not JSON: {error.msg}")
        return
    document.data = data
    _note_slips(document, data, (), halves=ESCAPED_HALF.search(text) is not None)


def _note_slips(document: Document, data: Any, path: Steps, *, halves: bool) -> None:
    """Note keys that stand twice, nulls, and half characters where the text may have some."""
    if len(path) > MAX_DEPTH:
        raise RecursionError(TOO_DEEP)
    if isinstance(data, _Odd):
        where = (*path, data.key) if data.key else path
        document.add_at(document.locate(where, True), data.words, of=dotted(path))
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for step, value in items:
        if value is None:
            document.add((*path, step), NO_VALUE)
        elif isinstance(value, dict | list):
            _note_slips(document, value, (*path, step), halves=halves)
        if halves:
            _note_half(document, step, value, path)


def _note_half(document: Document, step: str | int, value: object, path: Steps) -> None:
    for text, at_key in ((step, True), (value, False)):
        words = half_character(text) if isinstance(text, str) else None
        if words:
            document.add_at(document.locate((*path, step), at_key), words, of=dotted(path))
            document.data = None  # no library takes such a text for one


_PLAIN = json.JSONDecoder(parse_int=str, parse_float=str)


def _look_inside(text: str, at: int) -> Inside | None:
    """Return what stands in the object or list at `at`; of two equal keys the last, as in the data."""
    opener = text[at : at + 1]
    if opener not in {"{", "["}:
        return None
    items, keys = array("I"), dict[str, tuple[int, int]]()
    at = _after_space(text, at + 1)
    while text[at : at + 1] not in {"}", "]", ""}:
        key_at = at
        if opener == "{":
            name, at = _PLAIN.raw_decode(text, at)
            at = _after_space(text, _after_space(text, at) + 1)
            keys[name] = key_at, at
        else:
            items.append(at)
        at = _after_space(text, _PLAIN.raw_decode(text, at)[1])
        at = _after_space(text, at + 1) if text[at] == "," else at
    return keys if opener == "{" else items


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
