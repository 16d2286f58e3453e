"""JSON as strictly as a list needs it, and fast: whole texts decoded one after the other, nothing guessed.

Keeps "integers that JSON gave exactly are accepted, floats never": a number that is no whole one, or too long
to be held exactly, arrives as `Inexact`, as it was written. Refused are NaN and infinity, and a key that
stands twice in one object, of which other decoders keep the last.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec

__all__ = ["MAX_EXACT", "STRICT", "Inexact", "decode_elements", "decode_texts"]

MAX_EXACT = 1 << 53
"""Up to here every reader and writer of JSON holds whole numbers exactly."""
_LONGEST_WHOLE = 18
_BEFORE_VALUES = ":[, \t\r\n"
_ZERO_BELOW_ZERO = re.compile(r"-0(?![0-9.eE])")
_QUOTES_BEFORE_COLONS = re.compile(r'"[ \t\r\n]*:')
_KEY_ENDS = re.compile(r'(?<!\\)"[ \t\r\n]*:')


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
_FAST = msgspec.json.Decoder(float_hook=Inexact)


def decode_texts(texts: Sequence[str]) -> list[Any] | None:
    """Return the value of each text, ten times as fast; None where one of them needs `STRICT`."""
    try:
        items = list(map(_FAST.decode, texts))
    except (ValueError, RecursionError):
        return None
    return items if _is_sure("\n".join(texts), items) else None


def decode_elements(text: str) -> list[Any] | None:
    """Return the elements of an array without its brackets, as fast; None where that does not go."""
    try:
        items = _FAST.decode(f"[{text}]")
    except (ValueError, RecursionError):
        return None
    return items if _is_sure(text, items) else None


def _is_sure(text: str, items: list[Any]) -> bool:
    """Tell whether the fast decoder lost nothing: no second key, and no sign of a zero."""
    for match in _ZERO_BELOW_ZERO.finditer(text) if "-0" in text else ():
        if match.start() == 0 or text[match.start() - 1] in _BEFORE_VALUES:
            return False
    return _each_key_once(text, items)


def _each_key_once(text: str, items: list[Any]) -> bool:
    """Tell whether the objects hold as many keys as their text: one that stands twice would be missing.

    The text has a colon for each key, and perhaps more in strings; never less.
    """
    if text.count(":") == sum([len(item) for item in items if type(item) is dict]):
        return True
    ends = _QUOTES_BEFORE_COLONS if '\\\\"' in text else _KEY_ENDS  # a key may end in a backslash of its own
    return len(ends.findall(text)) == _count_keys(items)


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
