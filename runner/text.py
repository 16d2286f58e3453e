"""Foreign words made fit to stand on a screen, on a page or in a file; and how wide they are there. Pure.

The one place that says which characters may be shown: vendors' words, file names and lists can hold what
steers a terminal, turns the direction of writing, or is no Unicode at all.
"""

import unicodedata
from collections.abc import Callable
from typing import Any

__all__ = ["encodable", "many", "map_texts", "printable", "width", "wrap"]

_REPLACED = "\ufffd"
_NO_WIDTH = {"Mn", "Me", "Cf"}


def printable(text: str, *, keep: str = "") -> str:
    """Return a text of characters that only show themselves: white space becomes a space, the rest a mark.

    Args:
        text: Anybody's.
        keep: Characters that are let through nevertheless (line breaks, where there may be several lines).
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else " " if char.isspace() else _REPLACED for char in text
    )


def encodable(text: str) -> str:
    """Return a text that can be written as UTF-8: a file name need not be any (it may be GB18030)."""
    return text.encode("utf-8", "backslashreplace").decode()


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return a value as JSON has it, every text in it but the names changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: map_texts(item, change) for name, item in value.items()}
    return [map_texts(item, change) for item in value] if isinstance(value, list | tuple) else value


def many(number: int, noun: str) -> str:
    """Return a number of things: `1 batch`, `2,000 batches`, `3 retries`."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith(("ry", "ly")):
        return f"{number:,} {noun[:-1]}ies"
    return f"{number:,} {noun}{'es' if noun.endswith('ch') else 's'}"


def width(text: str) -> int:
    """Return how many terminal columns a text takes; Chinese characters take two, marks on others none."""
    if text.isascii():
        return len(text)
    return sum(map(_width_of, text))


def _width_of(char: str) -> int:
    if unicodedata.category(char) in _NO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def wrap(text: str, columns: int) -> list[str]:
    """Return a text as lines of at most so many columns (two at least), cut between words where it can be."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if width(joined) <= columns:
            lines[-1] = joined
            continue
        pieces = _pieces(word, columns)
        lines[-1:] = [lines[-1], *pieces] if lines[-1] else pieces
    return lines


def _pieces(word: str, columns: int) -> list[str]:
    """Return a word in pieces of at most so many columns."""
    pieces = [""]
    for char in word:
        if width(pieces[-1] + char) > columns:
            pieces.append("")
        pieces[-1] += char
    return pieces
