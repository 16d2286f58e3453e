"""Where a value stands in a text, by its path: for JSON, and for the values of TOML.

Keeps the promise that naming places costs no more than reading the file: each list is looked through
once, and only where something in it is to be named.
"""

import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence

from runner.job.document import Position, Steps

__all__ = ["Inside", "Places"]

Inside = Sequence[int] | dict[str, tuple[int, int]]
"""A list's items by offset, or a mapping's keys, each with the offsets of the key and of its value."""

_MAPPINGS_KEPT = 64


class Places:
    """Finds values in one text; `look_inside` returns what stands in the container at an offset."""

    def __init__(self, text: str, look_inside: Callable[[str, int], Inside | None]) -> None:
        self._text = text
        self._look_inside = look_inside
        self._lists: dict[int, Sequence[int]] = {}
        self._mappings: dict[int, dict[str, tuple[int, int]]] = {}
        self._line_ends: Sequence[int] | None = None

    def find(self, at: int, path: Steps) -> tuple[int, int]:
        """Return the offsets of a value's key (or of itself, in a list) and of the value.

        It walks from the value at `at` as far as the path leads; steps that lead nowhere are passed over.
        """
        key = at
        for step in path:
            inside = self._inside(at)
            if isinstance(inside, dict):
                key, at = inside.get(str(step), (key, at))
            elif inside is not None and isinstance(step, int) and step < len(inside):
                key = at = inside[step]
        return key, at

    def position(self, offset: int) -> Position:
        """Return line and column of an offset."""
        if self._line_ends is None:
            self._line_ends = array("I", (end.start() for end in re.finditer("\n", self._text)))
        line = bisect_left(self._line_ends, offset)
        return line + 1, offset - (self._line_ends[line - 1] if line else -1)

    def _inside(self, at: int) -> Inside | None:
        known = self._lists.get(at)
        if known is not None:
            return known
        found = self._mappings.get(at) or self._look_inside(self._text, at)
        if isinstance(found, dict):
            if len(self._mappings) >= _MAPPINGS_KEPT:
                self._mappings.clear()
            self._mappings[at] = found
        elif found is not None:
            self._lists[at] = found
        return found
