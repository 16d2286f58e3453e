"""One JSON-lines request too long to be held: read in pieces, its `phone` list some thousands at a time.

Keeps promise 8 for a list of any length that stands in one line. The line lies in a private file and is read
twice by `requests`: once to check all of it, once to yield it; here it is only taken apart. As strict as
`json.loads`, and no more than a piece and one value of it is in memory.
"""

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, Any

from runner.job.document import half_character
from runner.job.json_text import json_decoder

__all__ = ["BadLine", "LongLine"]

_PIECE_BYTES = 256 * 1024
_MAX_VALUE = 1024 * 1024
_SPACE = re.compile(r"[ \t\n\r]*")
# Possessive: what was matched is not given back, so that a run of thousands costs no stack.
_PLAIN_ITEMS = re.compile(r'(?:[ \t\r]*+(?:"[^"\\\x00-\x1f]*+"|[0-9]++)[ \t\r]*+,)++')


class BadLine(Exception):
    """What is wrong with one line, in words; `column` counts from 1 (0: not known)."""

    def __init__(self, *words: str, column: int = 0) -> None:
        super().__init__(*words)
        self.words = words
        self.column = column


class LongLine:
    """A reader of one line; make a new one for each pass.

    Args:
        file: Holds the line, and nothing else, from its start.
    """

    def __init__(self, file: IO[bytes]) -> None:
        file.seek(0)
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._passed = 0
        self._ended = False

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Yield each key with its value, in order; `phone`'s list comes in pieces, each under that key.

        Raises:
            BadLine: It is no JSON object, or a value other than the list is absurdly long.
        """
        self._expect("{")
        if self._next() == "}":
            self._at += 1
            return self._end()
        while True:
            if self._next() != '"':
                raise self._bad("expected a key in quotes")
            key = self._value()
            self._expect(":")
            if key == "phone" and self._next() == "[":
                yield key, []
                yield from ((key, items) for items in self._items())
            else:
                yield key, self._value()
            if self._one_of(",}") == "}":
                return self._end()

    def _items(self) -> Iterator[list[Any]]:
        self._expect("[")
        if self._next() == "]":
            self._at += 1
            return
        while True:
            run = _PLAIN_ITEMS.match(self._text, self._at)
            if run is not None:
                items = self._decode_run(run[0])
                self._at = run.end()
                yield items
            self._next()
            yield [self._value()]
            if self._one_of(",]") == "]":
                return
            self._fill_for_run()

    def _decode_run(self, run: str) -> list[Any]:
        try:
            items: list[Any] = json_decoder.decode(f"[{run[:-1]}]")
        except ValueError:
            raise self._bad("not JSON: a number that JSON does not know") from None
        return items

    def _value(self) -> Any:
        """Read one value whole; a value that touches the end of the piece may go on in the next."""
        while True:
            try:
                value, end = json_decoder.raw_decode(self._text, self._at)
                if end < len(self._text) or self._ended:
                    words = half_character(value) if isinstance(value, str) else None
                    if words:
                        raise self._bad(words)
                    self._at = end
                    return value
            except json.JSONDecodeError as error:
                if self._ended:
                    raise self._bad(f"not JSON: {error.msg}") from None
            except (ValueError, RecursionError):
                raise self._bad("not JSON that a request could be: too deep") from None
            if len(self._text) - self._at > _MAX_VALUE:
                raise self._bad("not JSON, or a value of more than a million characters")
            self._fill()

    def _next(self) -> str:
        """Pass over white space and return the character there, or an empty text at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._fill()

    def _one_of(self, expected: str) -> str:
        found = self._next()
        if not found or found not in expected:
            raise self._bad(f"not JSON: expected {' or '.join(expected)}")
        self._at += 1
        return found

    def _expect(self, expected: str) -> None:
        self._one_of(expected)

    def _end(self) -> None:
        if self._next():
            raise self._bad("not JSON: something follows the object")

    def _fill_for_run(self) -> None:
        """Have a piece in hand, so that runs are long."""
        if len(self._text) - self._at < _PIECE_BYTES // 2:
            self._fill()

    def _fill(self) -> None:
        raw = self._file.read(_PIECE_BYTES)
        self._ended = not raw
        self._passed += self._at
        try:
            self._text = self._text[self._at :] + self._decoder.decode(raw, final=self._ended)
        except UnicodeDecodeError:
            raise self._bad("not UTF-8 in the piece after this") from None
        self._at = 0

    def _bad(self, words: str) -> BadLine:
        return BadLine(words, column=self._passed + self._at + 1)
