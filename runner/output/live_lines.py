"""Live lines at the end of a terminal: drawn over again and again while other lines are written above them.

It never leaves a line of its own behind: what was drawn is taken away before anything else is written, and
counted anew where the terminal was made narrower meanwhile.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Final

from runner.streams import Shielded
from runner.text import width

__all__ = ["LiveLines"]

_CLEAR_BELOW: Final = "\x1b[J"
_USUAL: Final = (80, 24)


class LiveLines:
    """A few lines at the end of what a terminal shows; `env` may tell its size where it does not itself."""

    def __init__(self, stream: Shielded, env: Mapping[str, str]) -> None:
        self._stream = stream
        self._env = env
        self._drawn: Sequence[str] = ()

    def size(self) -> tuple[int, int]:
        """Return the terminal's present columns and lines."""
        try:
            columns, lines = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            columns, lines = 0, 0
        named = (self._env.get("COLUMNS", ""), self._env.get("LINES", ""))
        fallback = [
            int(n) if n.isdecimal() and int(n) else usual for n, usual in zip(named, _USUAL, strict=True)
        ]
        return columns or fallback[0], lines or fallback[1]

    def show(self, lines: Sequence[str]) -> None:
        """Draw these lines in place of those drawn before; where there is room for some only, the first."""
        shown = lines[: max(1, self.size()[1] - 1)]
        self._put("\n".join(shown))
        self._drawn = shown

    def write(self, text: str) -> None:
        """Write a text in place of what is drawn."""
        self._put(text)
        self._drawn = ()

    def _put(self, text: str) -> None:
        if whole := self._away() + text:
            self._stream.write(whole)
            self._stream.flush()

    def _away(self) -> str:
        """Return what takes the cursor to the beginning of what is drawn and clears all from there on."""
        if not self._drawn:
            return ""
        columns = self.size()[0]
        # Most terminals wrap what no longer fits when they are made narrower.
        rows = sum(max(1, -(-width(line) // columns)) for line in self._drawn)
        return "\r" + (f"\x1b[{rows - 1}A" if rows > 1 else "") + _CLEAR_BELOW
