"""What a cell of a workbook says exactly: numbers, dates by their style, texts that cells share.

Belongs to the child process that reads workbooks, and imports nothing beyond the standard library. A cell
says one thing or is flawed: an error, a formula without a stored value, a date, a fraction and a number with
more digits than a spreadsheet keeps are told as such, never left out and never rounded.
"""

import re
from array import array
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from runner.lists.workbook_parts import (
    PLAIN_TEXT,
    SPACE_KEPT,
    Parts,
    Unreadable,
    XmlScan,
    local_name,
    parse_part,
)

__all__ = ["Cell", "Cells"]

_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
_EXACT = re.compile(r"0|[1-9][0-9]{0,14}")
"""Whole numbers that a spreadsheet keeps digit for digit."""
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_NO_VALUE = "="
"""What stands for a formula without a stored value: not blank, and no phone."""


class Cell(NamedTuple):
    """What a cell says: its text, and why it does not say it exactly ("" where it does).

    Args:
        text: The text, or the digits of a number.
        flaw: A word of `phones.REASONS`; or `zeros`, for a number that ends in six of them: one that was
            shown as 1.39E+10 and saved so has lost its digits, but a number that counts something has not;
            or `labelled`, for a number that is shown with words: a phone may be, a user's id is another one.
    """

    text: str
    flaw: str = ""


class Cells:
    """The sense of a workbook's cells: its shared strings and its date styles, read when first needed."""

    def __init__(self, parts: Parts, strings: str | None, styles: str | None) -> None:
        self._parts, self._strings_part, self._styles_part = parts, strings, styles

    @cached_property
    def strings(self) -> "_Strings":
        """The shared strings, read when the first cell asks for one."""
        return _Strings(self._parts, self._strings_part)

    @cached_property
    def styles(self) -> "_Styles":
        """What the cell styles make of numbers."""
        return _Styles(self._parts, self._styles_part)

    def cell(self, kind: str, style: int, text: str | None, *, is_formula: bool) -> Cell:
        """Return what a cell says.

        Args:
            kind: Its type: `n` or nothing for a number, `s`, `str` and `inlineStr` for text, and others.
            style: Number of its style.
            text: What is stored; None: nothing is.
            is_formula: Whether it is computed.
        """
        if kind == "s" and text:
            return Cell(self.strings.get(text))
        if kind in {"str", "inlineStr", "s"}:
            if text is None:
                return Cell(_NO_VALUE, "no_value") if is_formula else Cell("")
            return Cell(_unescaped(text))
        if kind == "e":
            return Cell(text or "#", "cell_error")
        if not text or not text.strip():
            return Cell(_NO_VALUE, "no_value") if is_formula else Cell("")
        is_number = kind in {"", "n"} and style not in self.styles.dates
        return self._number(text.strip(), style) if is_number else _other(kind, text)

    def _number(self, text: str, style: int) -> Cell:
        cell, styles = _number(text), self.styles
        if len(cell.text) < styles.widths.get(style, 0):
            return Cell(cell.text, "padded")
        return cell if cell.flaw or style not in styles.shown else Cell(cell.text, styles.shown[style])


def _other(kind: str, text: str) -> Cell:
    """Return a cell that is neither text nor a number: a truth, a date, or of a kind that nobody knows."""
    if kind == "b":
        return Cell({"1": "TRUE", "0": "FALSE"}.get(text, text), "not_text")
    return Cell(text, "date" if kind in {"", "n", "d"} else "not_text")


def _number(text: str) -> Cell:
    if _EXACT.fullmatch(text):
        return Cell(text, "zeros" if text.endswith("000000") else "")
    if not _NUMBER.fullmatch(text):
        return Cell(text, "not_text")
    value = float(text)
    if value < 0:
        return Cell(text, "negative")
    if not value.is_integer():  # infinity is none either
        return Cell(text, "float")
    digits = str(int(value))
    return _number(digits) if _EXACT.fullmatch(digits) else Cell(digits, "rounded")


def _unescaped(text: str) -> str:
    """Return a text with the characters that XML cannot hold (`_x000D_`) as themselves."""
    if "_x" not in text:
        return text

    def char(match: re.Match[str]) -> str:
        code = int(match[1], 16)
        return match[0] if 0xD800 <= code < 0xE000 else chr(code)

    return _ESCAPE.sub(char, text)


# ---- styles -------------------------------------------------------------------------------------------

_DATE_IDS = frozenset([*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)])
_LITERAL = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?![hmsHMS]+\])[^\]]*\]')
_DATE_CODE = re.compile(r"[dmyhsDMYHS]")
_SCALED = re.compile(r"%|[0#?],+(?![0#?,])")
_PADDING_CODE = re.compile(r"0{2,}(?:;.*)?", re.DOTALL)


class _Styles:
    """What the styles of a workbook make of numbers: dates, more digits than there are, or something else.

    `dates` are the numbers of the styles that show a date or a time; `widths` says of those that show zeros
    before a short number how many digits they show; `shown` are the flaws of those that show another number
    (or none), or words beside it.
    """

    def __init__(self, parts: Parts, part: str | None) -> None:
        self._dates = set(_DATE_IDS)
        self._paddings: dict[int, int] = {}
        self._shown: dict[int, str] = {}
        self._formats: list[int] = []
        self._stack: list[str] = []
        if part is not None:
            parse_part(parts, part, "styleSheet", start=self._start, end=self._end)
        of_styles = enumerate(self._formats)
        self.dates = frozenset(style for style, number in of_styles if number in self._dates)
        of_styles = enumerate(self._formats)
        self.widths = {s: self._paddings[number] for s, number in of_styles if number in self._paddings}
        self.shown = {
            s: self._shown[number] for s, number in enumerate(self._formats) if number in self._shown
        }

    def _start(self, tag: str, attrs: dict[str, str]) -> None:
        name, given = local_name(tag), attrs.get("numFmtId", "")
        number = int(given) if given.isdecimal() else 0
        if name == "numFmt":
            code = _LITERAL.sub("", attrs.get("formatCode", ""))
            if _DATE_CODE.search(code):
                self._dates.add(number)
            elif _PADDING_CODE.fullmatch(code):
                self._paddings[number] = len(code.partition(";")[0])
            if flaw := _shown_as(attrs.get("formatCode", "")):
                self._shown[number] = flaw
        if name == "xf" and self._stack[-1:] == ["cellXfs"]:
            self._formats.append(number)
        self._stack.append(name)

    def _end(self, _tag: str) -> None:
        if self._stack:
            self._stack.pop()


def _shown_as(code: str) -> str:
    """Return the flaw of a number that a format shows: `shown`, `labelled`, or nothing."""
    bare = _LITERAL.sub(lambda match: "\0" * len(match[0]), code)
    first, several, _ = bare.partition(";")
    if (several and not first.strip("\0 ")) or _SCALED.search(first):
        return "shown"
    literals = [match[0] for match in _LITERAL.finditer(code, 0, len(first)) if match[0][0] in '"\\']
    words = "".join(literals) + first.replace("General", "")
    digits = "".join(char for char in words if char.isdigit()).strip("0")
    if digits not in {"", "86"} or any("0" in literal for literal in literals):
        return "shown"
    return "labelled" if digits or any(map(str.isalpha, "".join(literals))) else ""


# ---- shared strings -----------------------------------------------------------------------------------


class _Strings(XmlScan):
    """The texts that cells share, held as their bytes one behind the other."""

    def __init__(self, parts: Parts, part: str | None) -> None:
        self._bytes = bytearray()
        self._ends = array("I", [0])
        self._pieces_of_text: list[str] = []
        if part is None:
            return
        super().__init__(parts, part, root="sst", around="sst", unit="si")
        for _ in self.steps():
            pass

    def get(self, index: str) -> str:
        """Return the text that a cell names by its number."""
        ends = self._ends
        try:
            number = int(index)
            text = self._bytes[ends[number] : ends[number + 1]].decode()
        except (ValueError, IndexError):
            number = -1
        if number < 0:
            raise Unreadable("a damaged workbook: a cell names a text that is not there")
        return text if "_x" not in text else _unescaped(text)

    def pattern(self, prefix: bytes) -> re.Pattern[bytes]:
        """Match a run of plain texts; one with formatted parts goes the other way."""
        si, t = prefix + b"si", prefix + b"t"
        one = b"<%b><%b%b>(%b)</%b></%b>" % (si, t, SPACE_KEPT, PLAIN_TEXT, t, si)
        self._one = re.compile(one)
        return re.compile(rb"(?:%b\s*+)++" % one.replace(b"(" + PLAIN_TEXT, b"(?:" + PLAIN_TEXT))

    def take(self, match: re.Match[bytes]) -> None:
        """Add the texts of a run."""
        texts = self._one.findall(match[0])
        self._ends.extend(accumulate(map(len, texts[1:]), initial=self._ends[-1] + len(texts[0])))
        self._bytes += b"".join(texts)

    def start(self, name: str, depth: int, attrs: dict[str, str]) -> None:  # noqa: ARG002 - given to every scan
        """Hear the text of an item, its formatted parts included, but not how it is pronounced."""
        if name == "t" and depth in {3, 4} and not self.is_within("rPh"):
            self.hear(self._pieces_of_text.append)

    def end(self, name: str, depth: int) -> None:
        """Add the text when its item ends."""
        if name == "t":
            self.hear(None)
        elif name == "si" and depth == 2:
            self._bytes += "".join(self._pieces_of_text).encode()
            self._ends.append(len(self._bytes))
            self._pieces_of_text.clear()
