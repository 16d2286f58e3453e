"""One JSON-lines request too long to be held: read in pieces, its `phone` list some thousands at a time.

Keeps promise 8 for a list of any length that stands in one line. The line lies in a private file and is read
twice by `requests`: once to check all of it, once to yield it; here it is only taken apart. As strict as
`json.loads`, and no more than a piece and one value of it is in memory.
"""

import codecs
import re
from collections.abc import Iterator
from typing import IO, Any

from runner.job.document import half_character
from runner.job.json_text import json_decoder
from runner.lists.json_pieces import BadJson, JsonPieces

__all__ = ["BadLine", "LongLine"]

_PIECE_BYTES = 256 * 1024
# Possessive: what was matched is not given back, so that a run of thousands costs no stack.
_PLAIN_ITEMS = re.compile(r'(?:[ \t\r]*+(?:"[^"\\\x00-\x1f]*+"|[0-9]++)[ \t\r]*+,)++')


class BadLine(Exception):
    """What is wrong with one line, in words; `column` counts from 1 (0: not known)."""

    def __init__(self, *words: str, column: int = 0) -> None:
        super().__init__(*words)
        self.words = words
        self.column = column


class LongLine:
    """A reader of the one line that a file holds; make a new one for each pass."""

    def __init__(self, file: IO[bytes]) -> None:
        self._cursor = JsonPieces(_pieces(file), json_decoder)

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Yield each key with its value, in order; `phone`'s list comes in pieces, each under that key.

        Raises:
            BadLine: It is no JSON object, or a value other than the list is absurdly long.
        """
        try:
            yield from self._parts()
        except BadJson as bad:
            raise BadLine(f"not JSON: {bad.words}", column=bad.column) from None
        except UnicodeDecodeError:
            raise BadLine("not UTF-8 in the piece after this", column=self._cursor.column) from None

    def _parts(self) -> Iterator[tuple[str, Any]]:
        cursor = self._cursor
        cursor.expect("{")
        if cursor.next() == "}":
            cursor.at += 1
            return self._end()
        while True:
            if cursor.next() != '"':
                raise cursor.bad("expected a key in quotes")
            key = self._value()
            cursor.expect(":")
            if key == "phone" and cursor.next() == "[":
                yield key, []
                yield from ((key, items) for items in self._items())
            else:
                yield key, self._value()
            if cursor.expect(",}") == "}":
                return self._end()

    def _items(self) -> Iterator[list[Any]]:
        cursor = self._cursor
        cursor.expect("[")
        if cursor.next() == "]":
            cursor.at += 1
            return
        while True:
            run = _PLAIN_ITEMS.match(cursor.text, cursor.at)
            if run is not None:
                items = self._decode_run(run[0])
                cursor.move(run.end())
                yield items
            cursor.next()
            yield [self._value()]
            if cursor.expect(",]") == "]":
                return
            if (
                len(cursor.text) - cursor.at < _PIECE_BYTES // 2
            ):  # have a piece in hand, so that runs are long
                cursor.more()

    def _decode_run(self, run: str) -> list[Any]:
        try:
            items: list[Any] = json_decoder.decode(f"[{run[:-1]}]")
        except ValueError:
            raise self._cursor.bad("a number that JSON does not know") from None
        return items

    def _value(self) -> Any:
        """Read one value whole; a text in it is one that can be sent."""
        column = self._cursor.column
        value = self._cursor.value()
        words = half_character(value) if isinstance(value, str) else None
        if words:
            raise BadLine(words, column=column)
        return value

    def _end(self) -> None:
        if self._cursor.next():
            raise self._cursor.bad("something follows the object")


def _pieces(file: IO[bytes]) -> Iterator[str]:
    """Yield the text of a file from its start."""
    file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    while raw := file.read(_PIECE_BYTES):
        yield decoder.decode(raw)
    yield decoder.decode(b"", final=True)
