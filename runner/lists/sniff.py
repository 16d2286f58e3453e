"""What a file is that is no list, told by its first bytes or characters: its kind, and what to do with it.

Keeps "content decides, not the name": an archive, an old workbook or a web page is named for what it is, and
never read as a text that happens to hold numbers. It only looks; whoever reads the file refuses it.
"""

import re
from typing import NamedTuple

__all__ = ["HEAD_BYTES", "NotAList", "directory_offset", "foreign_bytes", "foreign_inside", "foreign_text"]

HEAD_BYTES = 512
"""Bytes at the start of a file that tell what it is; of an old Office file, see `directory_offset`."""


class NotAList(NamedTuple):
    """What a file is, in words that follow "this is", and what to do."""

    what: str
    hint: str


_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_SAVE = "Open it in the program that made it, and save the list as .xlsx (or as CSV in UTF-8)."
_UNPACK = "Unpack it, or pack it with gzip or zstd."
_EXTRACT = "Unpack it, and give the files in it."
_MAGICS = {
    b"BZh": NotAList("packed with bzip2", _UNPACK),
    b"\xfd7zXZ": NotAList("packed with xz", _UNPACK),
    b"\x04\x22\x4d\x18": NotAList("packed with lz4", _UNPACK),
    b"\x1f\x9d": NotAList("packed with compress", _UNPACK),
    b"7z\xbc\xaf": NotAList("a 7z archive", _EXTRACT),
    b"Rar!": NotAList("a RAR archive", _EXTRACT),
    b"%PDF": NotAList("a PDF", _SAVE),
    b"PAR1": NotAList("a Parquet file", "Export the list as CSV."),
    b"SQLite format 3": NotAList("an SQLite database", "Export the list as CSV."),
    b"\x89PNG": NotAList("a picture", "Only text, JSON and .xlsx can be read."),
    b"\xff\xd8\xff": NotAList("a picture", "Only text, JSON and .xlsx can be read."),
}
_PACKED_INSIDE = {
    b"PK\x03\x04": NotAList(
        "a workbook or another zip archive, packed once more", "Unpack the outer packing: gunzip FILE."
    ),
    b"\x1f\x8b": NotAList("packed twice", "Unpack the outer packing: gunzip FILE."),
    b"\x28\xb5\x2f\xfd": NotAList("packed twice", "Unpack the outer packing: zstd -d FILE."),
}
_TAR = NotAList("a tar archive", _EXTRACT)
_TAR_AT = 257

_PASSWORD = "EncryptedPackage".encode("utf-16-le")
_WITH_PASSWORD = NotAList(
    "a workbook with a password", "Open it, take the password off, and save it as .xlsx."
)
_OLD_OFFICE = NotAList("an old Excel file (.xls) or another old Office file", _SAVE)

_MARKUP = re.compile(r"<(?:!doctype|!--|\?xml|[a-z][a-z0-9:]*[\s/>])", re.IGNORECASE)
_WORKBOOK_XML = re.compile(r"mso-application|<(?:ss:)?workbook[\s>]", re.IGNORECASE)
_TEXTS = (
    (re.compile(r"\{\\rtf"), NotAList("a rich text document (.rtf)", "Save it as plain text.")),
    (re.compile(r"BEGIN:VCARD"), NotAList("a file of contacts (.vcf)", "Export the contacts as CSV.")),
    (re.compile(r"%!PS"), NotAList("a PostScript document", _SAVE)),
)


def foreign_bytes(head: bytes, directory: bytes) -> NotAList | None:
    """Return what a file is that begins with these bytes, if it is something that cannot be read.

    Args:
        head: The first `HEAD_BYTES`.
        directory: Of a file with a `directory_offset`, some thousand bytes from there.
    """
    if head.startswith(_OLE):
        return _WITH_PASSWORD if _PASSWORD in directory else _OLD_OFFICE
    if head[_TAR_AT : _TAR_AT + 5] == b"ustar":
        return _TAR
    return next((foreign for magic, foreign in _MAGICS.items() if head.startswith(magic)), None)


def directory_offset(head: bytes) -> int:
    """Return where an old Office file names its parts; 0 of any other file."""
    if not head.startswith(_OLE) or len(head) < HEAD_BYTES:
        return 0
    sector_bits = min(head[30], 16)
    return (int.from_bytes(head[48:52], "little") + 1) << sector_bits


def foreign_inside(head: bytes) -> NotAList | None:
    """Return what stands in a packed file, if it is something that is not read from there."""
    packed = next((foreign for magic, foreign in _PACKED_INSIDE.items() if head.startswith(magic)), None)
    return packed or foreign_bytes(head, b"")


def foreign_text(head: str) -> NotAList | None:
    """Return what a text is that begins with these characters, if it is no list but a page or a document."""
    text = head.lstrip()
    if _MARKUP.match(text):
        kind = "a workbook saved as XML" if _WORKBOOK_XML.search(text) else "a web page (HTML), or XML"
        return NotAList(f"{kind}, whatever its name says", _SAVE)
    return next((foreign for pattern, foreign in _TEXTS if pattern.match(text)), None)
