"""Files as text: open, notice changes, unpack, bound, find the encoding.

Keeps "bombs, endless inputs and huge lines are bounded and named" and "a late decoding error is named with
its offset": a file is looked through once to settle its encoding before the first row of it is used, so that
no row is read in an encoding that was guessed from a beginning. Never holds more than a block of a file in
memory, never replaces or drops a byte that does not decode.
"""

import codecs
import gzip
import os
import re
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import IO, BinaryIO, Protocol, cast

from runner.errors import Fault
from runner.lists.hints import hint_at, is_given_alone
from runner.lists.sniff import HEAD_BYTES, directory_offset, foreign_bytes, foreign_inside

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = [
    "MAX_INPUT_BYTES",
    "MAX_LINE",
    "MAX_STDIN_BYTES",
    "Readable",
    "Source",
    "open_source",
    "read_text",
    "whole_lines",
]

BLOCK_BYTES = 1 << 18
"""How much is read at once."""
MAX_INPUT_BYTES = 16 << 30
"""Bytes of one file at most, unpacked; about 300 million rows."""
MAX_STDIN_BYTES = 4 << 30
"""Bytes on standard input at most: they are kept in a private temporary file while they are read."""
MAX_RATIO = 200
"""Unpacked bytes for one packed byte at most; real lists stay below 50."""
RATIO_FREE_BYTES = 16 << 20
"""Unpacked bytes up to which no ratio is looked at."""
MAX_LINE = 1 << 20
"""Characters in one line at most."""

_STDIN = "-"
_STDIN_NAME = "standard input"
_DIRECTORY_BYTES = 4096
_PACKINGS = (
    (re.compile(rb"\x1f\x8b"), "gzip"),
    (re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), "zstd"),  # perhaps after a frame to be skipped
    (re.compile(rb"PK\x03\x04"), "zip"),
)
_RETURNS = re.compile(r"\r+\n")
_UTF16_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SURE_UTF8 = 4
"""Characters of three bytes that make it sure that a text was meant as UTF-8: in GB18030 text they do not
occur by chance this often before the first byte that is no UTF-8."""


class Readable(Protocol):
    """What standard input is read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """One open file: what to call it, and how to read it from its start, as often as needed.

    Args:
        name: The path, or `standard input`.
        place: Where the job names it.
        file: The open file, unbuffered, at any position.
        size: Its size in bytes, packed.
        packing: `gzip`, `zstd`, `zip` (a workbook, perhaps) or nothing.
    """

    name: str
    place: str
    file: BinaryIO
    size: int
    packing: str

    def fault(self, message: str, *, line: int = 0, hint: str = "", part: str = "") -> Fault:
        """Return a fault that names the place in the job, this file and, if there is one, the line."""
        within = f"{part}:{line}" if line else part
        if is_given_alone(self.place, self.name):
            return Fault(f"{self.place}{within}", message, hint=hint)
        return Fault(self.place, f"{self.name}{within}: {message}", hint=hint)

    def hint_of_encoding(self, encoding: str, what: str) -> str:
        """Return a hint to name the encoding of this file in a job."""
        return hint_at(self.place, self.name, f"encoding: {encoding}", what)

    def blocks(self) -> Iterator[bytes]:
        """Yield the unpacked bytes from the start, within the bounds.

        Raises:
            Fault: The file is damaged, cannot be read, or holds more than that.
        """
        self.file.seek(0)
        total = 0
        ratio_bound = max(RATIO_FREE_BYTES, self.size * MAX_RATIO)
        with self._unpacked() as stream:
            while block := self._read(stream):
                if not total and self.packing and (foreign := foreign_inside(block[:HEAD_BYTES])):
                    raise self.fault(f"this is {foreign.what}", hint=foreign.hint)
                total += len(block)
                if total > MAX_INPUT_BYTES:
                    raise self.fault(f"more than {MAX_INPUT_BYTES} bytes unpacked", hint="Split the list.")
                if self.packing and total > ratio_bound:
                    raise self.fault(
                        f"{self.size} packed bytes unpack to more than {ratio_bound}: this looks like a bomb",
                        hint="If it is a real list, unpack it first.",
                    )
                yield block

    def _unpacked(self) -> AbstractContextManager[IO[bytes]]:
        if self.packing == "gzip":
            return cast(IO[bytes], gzip.GzipFile(fileobj=self.file))
        if self.packing == "zstd":
            return cast(IO[bytes], zstd.ZstdFile(self.file))
        return nullcontext(self.file)

    def _read(self, stream: IO[bytes]) -> bytes:
        try:
            return stream.read(BLOCK_BYTES)
        except (EOFError, gzip.BadGzipFile, zlib.error, zstd.ZstdError) as error:
            what = f"damaged or cut ({self.packing}): {error}"
            raise self.fault(what, hint="Fetch the file again.") from error
        except OSError as error:
            raise self.fault(f"cannot be read: {error.strerror or error}") from error


@contextmanager
def open_source(path: str, place: str, *, stdin: Readable | None = None) -> Iterator[Source]:
    """Open one file, or `-`, and at the end of a whole reading make sure that it did not change meanwhile.

    Args:
        path: The file.
        place: Where the job names it.
        stdin: What `-` is; by default `sys.stdin.buffer`.

    Raises:
        Fault: Missing, a directory, no regular file, unreadable, of a foreign format, or changed.
    """
    with _open_file(path, place, stdin) as file:
        before = os.fstat(file.fileno())
        name = _STDIN_NAME if path == _STDIN else path
        source = Source(name, place, file, before.st_size, "")
        try:
            source = replace(source, packing=_packing(source))
        except OSError as error:
            raise source.fault(f"cannot be read: {error.strerror or error}") from error
        yield source
        if path != _STDIN:
            _check_unchanged(source, before)


def _open_file(path: str, place: str, stdin: Readable | None) -> BinaryIO:
    if path == _STDIN:
        if stdin is None and sys.stdin is None:  # it was closed before the program started
            raise Fault(place, "standard input is closed", hint="Give the path of a file.")
        return _spool_stdin(place, stdin or sys.stdin.buffer)
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - before opening: opening a FIFO would wait
        if stat.S_ISDIR(mode):
            raise Fault(place, f"{path}: this is a directory", hint="Name its files: DIRECTORY/*.csv")
        if not stat.S_ISREG(mode):
            raise Fault(place, f"{path}: no regular file", hint="Give a pipe's end as standard input: -")
        return open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb", 0)  # noqa: PTH123 - of a descriptor
    except FileNotFoundError as error:
        raise Fault(place, f"{path}: there is no such file") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Fault(place, f"{path}: cannot be opened: {why}") from error


def _spool_stdin(place: str, stdin: Readable) -> BinaryIO:
    """Copy standard input into a private file without a name: it is read twice, and it may be a workbook."""
    with ExitStack() as unless_kept:
        spool = unless_kept.enter_context(tempfile.TemporaryFile(buffering=0, prefix="bulk-delete-"))
        try:
            _copy_stdin(spool, place, stdin)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise Fault(place, f"standard input: cannot be kept: {why}") from error
        unless_kept.pop_all()
        return cast(BinaryIO, spool)


def _copy_stdin(spool: IO[bytes], place: str, stdin: Readable) -> None:
    total = 0
    while block := stdin.read(BLOCK_BYTES):
        total += len(block)
        if total > MAX_STDIN_BYTES:
            raise Fault(place, f"standard input: more than {MAX_STDIN_BYTES} bytes", hint="Give a file.")
        rest = memoryview(block)
        while rest:
            rest = rest[spool.write(rest) :]


def _check_unchanged(source: Source, before: os.stat_result) -> None:
    def identity(found: os.stat_result) -> tuple[int, ...]:
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    try:
        after = (os.fstat(source.file.fileno()), os.stat(source.name))  # noqa: PTH116 - a name, no Path
    except OSError as error:
        raise source.fault("the file went away while it was read") from error
    if any(identity(found) != identity(before) for found in after):
        raise source.fault("the file changed while it was read", hint="Start again when it is complete.")


def _packing(source: Source) -> str:
    source.file.seek(0)
    head = source.file.read(HEAD_BYTES)
    at = directory_offset(head)
    directory = b""
    if 0 < at < source.size:
        source.file.seek(at)
        directory = source.file.read(_DIRECTORY_BYTES)
    foreign = foreign_bytes(head, directory)
    if foreign is not None:
        raise source.fault(f"this is {foreign.what}", hint=foreign.hint)
    return next((packing for magic, packing in _PACKINGS if magic.match(head)), "")


# ---- encoding -----------------------------------------------------------------------------------------


class _Trial:
    """One encoding tried on a whole file, block by block; remembers where it failed."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self.failed_at: int | None = None
        self.wide = 0
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        self._fed = 0
        self._clean = True

    def feed(self, block: bytes, *, final: bool = False) -> None:
        """Decode one more block; nothing may follow when this encoding has failed."""
        if self._clean and block.isascii():  # nothing pending: the encodings tried here agree on ASCII
            self._fed += len(block)
            return
        self._fed += len(block)
        try:
            text = self._decoder.decode(block, final)
        except UnicodeDecodeError as error:
            self.failed_at = offset_of(error, self._fed)
            text = error.object[: error.start].decode(self.encoding, "replace")
        self._clean = not self._decoder.getstate()[0]
        if self.wide < _SURE_UTF8:
            self.wide += sum(1 for _ in _WIDE.finditer(text))


_WIDE = re.compile("[\u0800-\uffff]")


def offset_of(error: UnicodeDecodeError, fed: int) -> int:
    """Return the offset in the file of the first byte that does not decode, `fed` bytes having been given."""
    return fed - len(error.object) + error.start


def _find_encoding(source: Source) -> str:
    """Settle the encoding by BOM, else by strict decoding of the whole file: UTF-8, then GB18030."""
    head = next(source.blocks(), b"")
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8"
    if head.startswith(_UTF16_BOMS):
        return "utf-16"
    utf8 = _try(source, "utf-8")
    if utf8.failed_at is None:
        return "utf-8"
    if utf8.wide >= _SURE_UTF8:
        raise source.fault(
            f"damaged UTF-8: the byte at offset {utf8.failed_at} does not decode, what stands before it does",
            hint="Mend the file, or name its encoding. "
            + source.hint_of_encoding("gb18030", "if that is its encoding"),
        )
    gb18030 = _try(source, "gb18030")
    if gb18030.failed_at is not None:
        raise source.fault(
            "neither UTF-8 nor GB18030: the bytes at the offsets "
            f"{utf8.failed_at} and {gb18030.failed_at} do not decode",
            hint=source.hint_of_encoding("big5", "or what its encoding is"),
        )
    return "gb18030"


def _try(source: Source, encoding: str) -> _Trial:
    """Try an encoding on a whole file, up to the first byte that does not decode."""
    trial = _Trial(encoding)
    offset = 0
    for block in source.blocks():
        nul = block.find(b"\0")
        if nul >= 0:
            raise source.fault(
                f"a NUL byte at offset {offset + nul}: no text, or UTF-16 without a mark",
                hint=source.hint_of_encoding("utf-16-le", "if it is UTF-16"),
            )
        offset += len(block)
        trial.feed(block)
        if trial.failed_at is not None:
            return trial
    trial.feed(b"", final=True)
    return trial


def _forced(source: Source, encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
        b"0".decode(name, "ignore")  # only text encodings pass
        codecs.getincrementaldecoder(name)
    except (LookupError, ValueError) as error:
        what = f"no encoding is called {encoding!r}"
        raise source.fault(what, hint="Try utf-8, gb18030 or utf-16.") from error
    return name


def read_text(source: Source, encoding: str | None) -> Iterator[str]:
    """Yield the text of a file in pieces of some hundred kilobytes, without a byte order mark.

    Args:
        source: What to read.
        encoding: The encoding to force; None: found.

    Raises:
        Fault: It does not decode (with the byte's offset), holds NUL, is damaged or exceeds the bounds.
    """
    name = _forced(source, encoding) if encoding is not None else _find_encoding(source)
    decoder = codecs.getincrementaldecoder(name)("strict")
    fed = 0
    first = True
    blocks = source.blocks()
    while True:
        block = next(blocks, b"")
        fed += len(block)
        try:
            text = decoder.decode(block, not block)
        except UnicodeDecodeError as error:
            cut = "" if block else ", and nothing follows: it is cut in the middle of a character"
            raise source.fault(
                f"the byte at offset {offset_of(error, fed)} does not decode as {name}{cut}",
                hint="Leave `encoding` away, so that it is found, or mend the file."
                if encoding is not None
                else "Fetch or save the file again.",
            ) from error
        except UnicodeError as error:
            raise source.fault(f"does not decode as {name}: {error}") from error
        if first and text:
            text = text.removeprefix("\ufeff")
            first = False
        if "\0" in text:
            raise source.fault(
                "a NUL character: no text, or another encoding",
                hint=source.hint_of_encoding("utf-16-le", "or what its encoding is"),
            )
        if text:
            yield text
        if not block:
            return


def whole_lines(source: Source, pieces: Iterable[str]) -> Iterator[str]:
    r"""Cut a text anew so that every piece ends at a newline (`\n`; Windows' and old Macs' made so).

    Raises:
        Fault: A line has more than `MAX_LINE` characters.
    """
    carry = ""
    line = 1
    carriage_returns = None
    for text in pieces:
        if carriage_returns is None:
            carriage_returns = "\r" in text and "\n" not in text
        piece = carry + (text.replace("\r", "\n") if carriage_returns else text)
        cut = piece.rfind("\n") + 1
        first_end = piece.find("\n", len(carry)) if cut else len(piece)
        if max(first_end, len(piece) - cut) > MAX_LINE:
            line += piece.count("\n") if first_end <= MAX_LINE else 0
            raise source.fault(f"a line of more than {MAX_LINE} characters", line=line)
        carry = piece[cut:]
        if cut:
            line += piece.count("\n")
            yield _with_plain_ends(piece[:cut])
    if carry:
        yield _with_plain_ends(carry + "\n")


def _with_plain_ends(lines: str) -> str:
    r"""Make `\n` of `\r\n`, and of `\r\r\n`, which programs write that make the one of the other twice."""
    plain = lines.replace("\r\n", "\n")
    return _RETURNS.sub("\n", plain) if "\r\n" in plain else plain
