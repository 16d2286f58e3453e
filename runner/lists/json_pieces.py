"""JSON that is too long to be held: a place in a text whose pieces end anywhere, and what stands there.

The one reader of long arrays, in a list and in a line of a JSON-lines job: it passes over white space, takes
one value at a time with the decoder that it was given, and knows line and column. No more than a piece and
one value is in memory.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["BadJson", "JsonPieces"]

_MAX_VALUE = 1 << 20
_SPACE = re.compile(r"[ \t\n\r]*")


class BadJson(Exception):
    """What is wrong, in words, and where; `line` counts from 1, `column` from 1 in the whole text."""

    def __init__(self, words: str, *, line: int, column: int) -> None:
        super().__init__(words)
        self.words, self.line, self.column = words, line, column


class JsonPieces:
    """A place in a text. `text` is what is in hand of it, `at` the place in that, `line` its line.

    Args:
        pieces: The text; not all of it at once.
        decoder: Reads one value; what it raises are faults at their place.
    """

    def __init__(self, pieces: Iterator[str], decoder: json.JSONDecoder) -> None:
        self.text, self.at, self.line = "", 0, 1
        self._pieces, self._decoder = pieces, decoder
        self._passed = 0

    def more(self) -> bool:
        """Take one more piece into hand; False at the end of the text."""
        piece = next(filter(None, self._pieces), "")
        self._passed += self.at
        self.text, self.at = self.text[self.at :] + piece, 0
        return bool(piece)

    @property
    def column(self) -> int:
        """The present place, counted from 1 in the whole text."""
        return self._passed + self.at + 1

    def next(self) -> str:
        """Pass over white space and return the character there, leaving it; nothing at the end."""
        while True:
            match = _SPACE.match(self.text, self.at)
            end = match.end() if match else self.at
            self.move(end)
            if end < len(self.text) or not self.more():
                return self.text[self.at : self.at + 1]

    def move(self, end: int) -> None:
        """Go on to a place in the text in hand."""
        self.line += self.text.count("\n", self.at, end)
        self.at = end

    def expect(self, chars: str) -> str:
        """Pass over white space and one of some characters; returns which.

        Raises:
            BadJson: Something else stands there.
        """
        char = self.next()
        if not char or char not in chars:
            found = repr(char) if char else "the end"
            raise self.bad(f"expected {' or '.join(chars)}, not {found}")
        self.at += 1
        return char

    def value(self) -> Any:
        """Pass over white space and read one value whole; it may go on in the next piece.

        Raises:
            BadJson: It is no JSON, nested too deep, or absurdly long.
        """
        self.next()
        while True:
            refused: BadJson | None = None
            value, end = None, len(self.text)
            try:
                value, end = self._decoder.raw_decode(self.text, self.at)
            except RecursionError as deep:
                raise self.bad("nested too deep") from deep
            except ValueError as error:
                refused = self._refused(error)
            if end == len(self.text):  # nothing stands behind it, so it may be cut
                if end - self.at > _MAX_VALUE:
                    raise refused or self.bad(f"a value of more than {_MAX_VALUE} characters")
                if self.more():
                    continue
                end = len(self.text)
            if refused is not None:
                raise refused
            self.move(end)
            return value

    def _refused(self, error: ValueError) -> BadJson:
        if not isinstance(error, json.JSONDecodeError):
            return self.bad(str(error))
        return self.bad(error.msg, min(error.pos, len(self.text)))

    def bad(self, words: str, at: int | None = None) -> BadJson:
        """Return a fault at a place in the text in hand; None: the present one."""
        place = self.at if at is None else at
        line = self.line + self.text.count("\n", self.at, place)
        return BadJson(words, line=line, column=self.column + place - self.at)
