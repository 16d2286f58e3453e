"""JSON as strictly as a list needs it, and fast: whole texts decoded one after the other, nothing guessed.

Keeps "integers that JSON gave exactly are accepted, floats never": a number that is no whole one, or too long
to be held exactly, arrives as `Inexact`, as it was written. Refused are NaN and infinity, and a key that
stands twice in one object, of which other decoders keep the last.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import orjson

__all__ = ["MAX_EXACT", "STRICT", "Inexact", "decode_elements", "decode_texts", "is_exact"]

MAX_EXACT = 1 << 53
"""Up to here every reader and writer of JSON holds whole numbers exactly."""
_LONGEST_WHOLE = 18
_QUOTES_BEFORE_COLONS = re.compile(rb'"[ \t\r\n]*:')


class Inexact(str):
    """A JSON number with a fraction or an exponent, or too long a one, as it was written."""

    __slots__ = ()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _whole(digits: str) -> Any:
    return int(digits) if len(digits) <= _LONGEST_WHOLE and digits != "-0" else Inexact(digits)


STRICT = json.JSONDecoder(
    parse_int=_whole, parse_float=Inexact, parse_constant=_refuse_constant, object_pairs_hook=_unique
)
"""Raises ValueError where a text is no JSON or a key stands twice, or RecursionError."""


def decode_texts(texts: Sequence[bytes]) -> list[Any] | None:
    """Return the value of each text in UTF-8, ten times as fast; None where one of them needs `STRICT`.

    A number that would be `Inexact` is a float here, and `-0` is 0: see `is_exact`.
    """
    try:
        items = list(map(orjson.loads, texts))
    except ValueError:
        return None
    return items if _each_key_once(b"\n".join(texts), items) else None


def decode_elements(text: bytes) -> list[Any] | None:
    """Return the elements of an array without its brackets, as fast; None where that does not go."""
    try:
        items = orjson.loads(b"[%b]" % text)
    except ValueError:
        return None
    return items if _each_key_once(text, items) else None


def is_exact(cells: Sequence[Any]) -> bool:
    """Tell whether values that were decoded fast say all that `STRICT` would have said of them."""
    kinds = set(map(type, cells))
    return float not in kinds and not (int in kinds and 0 in cells)


def _each_key_once(text: bytes, items: list[Any]) -> bool:
    """Tell whether the objects hold as many keys as their text: one that stands twice would be missing.

    The text has an end for each key, and perhaps more that look so in strings; never less.
    """
    flat = sum([len(item) for item in items if type(item) is dict])
    if text.count(b":") == flat:
        return True
    ends = _most_keys(text)
    return ends == flat or ends == _count_keys(items)


def _most_keys(text: bytes) -> int:
    """Return how many keys end in a text at most: quotes before colons, but for those that a string holds."""
    if any(space in text and space + b":" in text for space in (b" ", b"\t", b"\r", b"\n")):
        return len(_QUOTES_BEFORE_COLONS.findall(text))
    ends = text.count(b'":')
    return ends if b'\\\\"' in text else ends - text.count(b'\\":')  # a key may end in a backslash of its own


def _count_keys(items: list[Any]) -> int:
    keys = 0
    pending: list[Any] = list(items)
    while pending:
        item = pending.pop()
        if type(item) is dict:
            keys += len(item)
            pending += [value for value in item.values() if type(value) in (dict, list)]
        elif type(item) is list:
            pending += [value for value in item if type(value) in (dict, list)]
    return keys
