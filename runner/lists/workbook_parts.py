"""The parts of an .xlsx file, found as the workbook itself says, unpacked within bounds, and read as XML.

Belongs to the child process that reads workbooks, and imports nothing beyond the standard library. Keeps "a
part stands once, under whatever slashes and case": two parts of one name are damage, and a part that nobody
names is never read. Nothing is unpacked further than its bound, whatever the archive's directory pretends.
"""

import codecs
import copy
import posixpath
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO
from xml.parsers import expat

__all__ = [
    "PLAIN_TEXT",
    "SPACE_KEPT",
    "Parts",
    "Unreadable",
    "XmlScan",
    "local_name",
    "parse_part",
]

MAX_WORKBOOK_BYTES = 4 << 30
"""Bytes of one part at most, unpacked: a full sheet of twenty columns has some 1.5 GiB."""
PLAIN_TEXT = rb"[^<&\x00-\x08\x0b-\x1f]*+"
"""Text between two tags that stands for itself: no entity, nothing that XML changes or forbids."""
SPACE_KEPT = rb'(?: xml:space="preserve")?+'
"""The one attribute that an element of text may have."""
_MAX_RATIO = 200
"""Unpacked bytes of a part for one byte of the file at most; real workbooks stay below 50."""
_RATIO_FREE_BYTES = 16 << 20
"""Unpacked bytes up to which no ratio is looked at."""
_MAX_MEMBERS = 10_000
_BLOCK_BYTES = 1 << 18
_MAX_UNIT_BYTES = 1 << 20
_ENCRYPTED = 0x1
_RELATIONSHIPS = "http://schemas.openxmlformats.org/package/2006/relationships "
_SPREADSHEET = (
    "http://schemas.openxmlformats.org/spreadsheetml/2006/main ",
    "http://purl.oclc.org/ooxml/spreadsheetml/main ",
)
_FOREIGN = {
    "xl/workbook.bin": "an Excel binary workbook (.xlsb)",
    "content.xml": "an OpenDocument file (.ods)",
    "index/document.iwa": "a Numbers document (.numbers)",
    "word/document.xml": "a Word document",
    "ppt/presentation.xml": "a presentation",
}


class Unreadable(Exception):
    """A workbook cannot be read: what is wrong, and what to do about it."""

    def __init__(self, message: str, hint: str = "Save it again as .xlsx.") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


# ---- the archive --------------------------------------------------------------------------------------


class Parts:
    """The parts of one workbook by their names, told apart as Windows does: by neither case nor slash.

    Args:
        file: The whole file, at any position.

    Raises:
        Unreadable: It is no archive, no workbook, or damaged.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._size = file.seek(0, 2)
        try:
            self._archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, OSError) as error:
            raise _damaged(error) from error  # a name that is no UTF-8 is a ValueError
        members = self._archive.infolist()
        if len(members) > _MAX_MEMBERS:
            raise Unreadable(f"an archive of {len(members):,} files", "Export the list as CSV.")
        self._members: dict[str, zipfile.ZipInfo | None] = {}
        for member in members:
            name = _plain_name(member.filename)
            self._members[name] = None if name in self._members else member
        self.workbook = self._main_part()

    def _main_part(self) -> str:
        for _, kind, name in self.relationships(""):
            if kind == "officeDocument" and name in self._members and name not in _FOREIGN:
                return name
        if "xl/workbook.xml" in self._members:
            return "xl/workbook.xml"
        for name, what in _FOREIGN.items():
            if name in self._members:
                raise Unreadable(f"this is {what}", "Save the list as .xlsx or CSV.")
        raise Unreadable("a zip archive, but no .xlsx workbook", "Unpack it, or pack with gzip.")

    def relationships(self, part: str) -> Iterator[tuple[str, str, str]]:
        """Yield identifier, kind (the last word of its type) and part of every inner relationship."""
        folder, _, base = part.rpartition("/")
        rels = posixpath.join(folder, "_rels", f"{base}.rels")
        if rels not in self._members:
            return
        found: list[dict[str, str]] = []

        def start(name: str, attrs: dict[str, str]) -> None:
            if name == f"{_RELATIONSHIPS}Relationship":
                found.append(attrs)

        parse_part(self, rels, "Relationships", start=start)
        for attrs in found:
            if attrs.get("TargetMode", "Internal") == "Internal" and "Target" in attrs:
                target = _plain_name(posixpath.join("/", folder, attrs["Target"].replace("\\", "/")))
                yield attrs.get("Id", ""), attrs.get("Type", "").rpartition("/")[2], target

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yield what a part holds, as UTF-8.

        Raises:
            Unreadable: It is missing, there twice, damaged, encrypted or far too large.
        """
        blocks = self._unpacked(name)
        first = next(blocks, b"")
        if not first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            yield first
            yield from blocks
            return
        decoder = codecs.getincrementaldecoder("utf-16")("strict")
        try:
            yield decoder.decode(first).encode()
            for block in blocks:
                yield decoder.decode(block).encode()
            decoder.decode(b"", True)
        except UnicodeError as error:
            raise Unreadable(f"a damaged workbook: {name} is no UTF-16") from error

    def _unpacked(self, name: str) -> Iterator[bytes]:
        if name not in self._members:
            raise Unreadable(f"a damaged workbook: {name} is missing")
        member = self._members[name]
        if member is None:
            raise Unreadable(f"a damaged workbook: {name} stands there twice")
        if member.flag_bits & _ENCRYPTED:
            raise Unreadable("packed with a password", "Save it without one.")
        bound = min(MAX_WORKBOOK_BYTES, max(_RATIO_FREE_BYTES, self._size * _MAX_RATIO))
        honest = copy.copy(member)
        honest.file_size = bound + 2 * _BLOCK_BYTES  # it stops there: at the true end, or past the bound
        left = bound
        try:
            with self._archive.open(honest) as stream:
                while block := stream.read(_BLOCK_BYTES):
                    left -= len(block)
                    if left < 0:
                        raise Unreadable(
                            f"a workbook of {self._size} bytes that unpacks to more than {bound}: this looks "
                            "like a bomb",
                            "If it is a real list, export it as CSV.",
                        )
                    yield block
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
            OSError,
        ) as error:
            raise _damaged(error) from error


def _damaged(error: Exception) -> Unreadable:
    return Unreadable(f"a damaged workbook: {error}", "Fetch or save it again.")


def _plain_name(name: str) -> str:
    return posixpath.normpath("/" + name.replace("\\", "/")).lstrip("/").casefold()


# ---- XML ----------------------------------------------------------------------------------------------


def local_name(name: str) -> str:
    """Return an element of spreadsheets without its namespace; "" where it belongs to another."""
    for namespace in _SPREADSHEET:
        if name.startswith(namespace):
            return name[len(namespace) :]
    return ""


def _new_parser() -> expat.XMLParserType:
    """Return a parser of UTF-8 that knows namespaces and takes no document type."""
    parser = expat.ParserCreate("utf-8", " ")
    parser.buffer_text = True
    parser.XmlDeclHandler = _check_declaration
    parser.StartDoctypeDeclHandler = _refuse_doctype
    if hasattr(parser, "SetReparseDeferralEnabled"):  # what is fed is looked at when it is fed
        parser.SetReparseDeferralEnabled(False)
    return parser


def _check_declaration(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding and encoding.casefold() not in {"utf-8", "utf8", "us-ascii", "utf-16"}:
        raise Unreadable(f"a damaged workbook: written in {encoding[:40]!r}, not in UTF-8")


def _refuse_doctype(*_: object) -> None:
    raise Unreadable("a damaged workbook: a document type stands in it")


def _feed(parser: expat.XMLParserType, data: bytes, part: str, *, final: bool = False) -> None:
    """Give a parser one more piece.

    Raises:
        Unreadable: It is no XML.
    """
    try:
        parser.Parse(data, final)
    except expat.ExpatError as error:
        what = expat.ErrorString(error.code)
        raise Unreadable(
            f"a damaged workbook: {part} is no XML: {what}", "Fetch or save it again."
        ) from error


def parse_part(
    parts: Parts,
    part: str,
    root: str,
    *,
    start: Callable[[str, dict[str, str]], Any],
    end: Callable[[str], Any] | None = None,
) -> None:
    """Read one small part to its end: `start` gets each element below the root, `end` every one.

    Raises:
        Unreadable: It is damaged or missing, or something else.
    """

    def start_root(tag: str, _attrs: dict[str, str]) -> None:
        check_root(tag, root, part)
        parser.StartElementHandler = start

    parser = _new_parser()
    parser.StartElementHandler = start_root
    parser.EndElementHandler = end
    for block in parts.blocks(part):
        _feed(parser, block, part)
    _feed(parser, b"", part, final=True)


def check_root(tag: str, root: str, part: str) -> None:
    """Raise Unreadable of a part that begins with anything else: in another language it would look empty."""
    if local_name(tag) != root and tag != f"{_RELATIONSHIPS}{root}":
        raise Unreadable(f"a damaged workbook: {part} is no {root} that is known")


class XmlScan:
    """One large part, read element by element; elements of the usual shape go a fast way.

    A run of elements that a pattern matches whole is given to `take` as it stands, and the parser never sees
    it: it sees the document around them, and every element of another shape. So the fast way must say of an
    element exactly what the parser would, and its pattern takes no entity, comment or control character.

    Args:
        parts: The workbook.
        part: Which part.
        root: Its first element.
        around: The element that holds the others; it must be there, once.
        unit: The elements in it.
    """

    def __init__(self, parts: Parts, part: str, *, root: str, around: str, unit: str) -> None:
        self._parts, self._part, self._root = parts, part, root
        self._around, self._unit = around, unit
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._parser = _new_parser()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.StartNamespaceDeclHandler = self._declare
        self.declared: set[bytes] = set()
        """The prefixes that the part has declared so far."""
        self._stack: list[str] = []
        self._depth = 1 if root == around else 2
        self._between = False
        self._fast: re.Pattern[bytes] | None = None
        self._opened = False

    # ---- what a kind of part says of its elements

    def pattern(self, prefix: bytes) -> re.Pattern[bytes]:
        """Return what matches one element or several, whole, with this prefix before each name."""
        raise NotImplementedError

    def is_sound(self, match: re.Match[bytes]) -> bool:  # noqa: ARG002 - other parts look at it
        """Tell whether the parser would take what the pattern matched; if not, it is left to the parser."""
        return True

    def take(self, match: re.Match[bytes]) -> None:
        """Take what the pattern matched."""
        raise NotImplementedError

    def start(self, name: str, depth: int, attrs: dict[str, str]) -> None:
        """Take the start of an element; the root's depth is 1."""
        raise NotImplementedError

    def end(self, name: str, depth: int) -> None:
        """Take the end of an element."""
        raise NotImplementedError

    # ---- reading

    def steps(self) -> Iterator[None]:
        """Read on; comes back after every piece, so that what was taken can be handed out.

        Raises:
            Unreadable: The part is no XML, or not what it should be.
        """
        for piece, begin in self._pieces():
            self._check_utf8(piece)
            at, size = 0, len(piece)
            while at < size:
                match = self._fast.match(piece, at) if self._fast is not None and self._between else None
                if match is not None and self.is_sound(match):
                    self.take(match)
                    at = match.end()
                else:
                    stop = piece.find(begin, at + 1)
                    stop = size if stop < 0 else stop
                    self._feed(piece[at:stop])
                    at = stop
            yield
        _feed(self._parser, b"", self._part, final=True)
        if not self._opened:
            raise Unreadable(f"a damaged workbook: {self._part} holds no {self._around}")
        yield

    def _check_utf8(self, piece: bytes) -> None:
        """Refuse other bytes, also where the parser does not look; a piece may end within a character."""
        try:
            self._decoder.decode(piece)
        except UnicodeDecodeError as error:
            what = f"a damaged workbook: {self._part} is no UTF-8"
            raise Unreadable(what, "Fetch or save it again.") from error

    def _pieces(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the part in pieces, each of which ends where an element begins, and what one begins with."""
        begin = b"<" + self._unit.encode()
        carry = b""
        first = True
        for block in self._parts.blocks(self._part):
            data = carry + block
            if first:
                begin = self._begin(data)
                first = False
            cut = data.rfind(begin)
            if cut <= 0 and len(data) <= _MAX_UNIT_BYTES:
                carry = data
                continue
            cut = len(data) if cut <= 0 else cut
            yield data[:cut], begin
            carry = data[cut:]
        yield carry, begin

    def _begin(self, head: bytes) -> bytes:
        """Find the prefix of the part's names at its beginning, and with it the fast way."""
        opening = re.search(rb"<([A-Za-z0-9_]+:)?" + self._around.encode() + rb"[ >]", head)
        prefix = (opening[1] or b"") if opening else b""
        if opening:
            self._fast = self.pattern(prefix)
        return b"<" + prefix + self._unit.encode()

    def _feed(self, data: bytes) -> None:
        if b"<!" in data or b"<?" in data[4:]:  # beyond the declaration: what follows might be a comment
            self._fast = None
        self._between = False
        _feed(self._parser, data, self._part)

    def _declare(self, prefix: str | None, _uri: str) -> None:
        self.declared.add((prefix or "").encode())

    def _start(self, tag: str, attrs: dict[str, str]) -> None:
        name = local_name(tag)
        self._stack.append(name)
        depth = len(self._stack)
        if depth == 1:
            check_root(tag, self._root, self._part)
        self._between = name == self._around and depth == self._depth
        if self._between:
            if self._opened:
                raise Unreadable(f"a damaged workbook: {self._part} holds {name} twice")
            self._opened = True
        self.start(name, depth, attrs)

    def _end(self, _tag: str) -> None:
        depth = len(self._stack)
        name = self._stack.pop()
        self._between = name == self._unit and depth == self._depth + 1
        self.end(name, depth)

    def is_within(self, name: str) -> bool:
        """Tell whether the present element stands anywhere within one of this name."""
        return name in self._stack

    def hear(self, text: Callable[[str], Any] | None) -> None:
        """Give text to a function from here on, or to nobody."""
        self._parser.CharacterDataHandler = text
