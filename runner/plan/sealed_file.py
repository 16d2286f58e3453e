"""A file that was read once and believed, read again: block by block, each held against what it was.

Keeps the promise that what was confirmed is what goes. While a file is verified, the digest of each of its
blocks is kept; when it is read again later, no byte of a block is handed out before the block is the one that
was verified, and before the path still leads to that very file. Knows nothing of what stands in it.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runner.errors import AuditDamaged, Refused

__all__ = [
    "BLOCK_BYTES",
    "BlockReader",
    "Seal",
    "Sealing",
    "check_in_place",
    "lines_of",
    "open_regular",
]

BLOCK_BYTES = 1 << 18
"""Of one block; its digest takes 32 bytes of memory."""

_CACHED_BLOCKS: Final = 16
_HINT: Final = "Plan again: a plan is applied exactly as it was confirmed, or not at all."


@dataclass(frozen=True, slots=True)
class Seal:
    """Which file was verified, how long it was, and the SHA-256 of each of its blocks, in a row."""

    device: int
    inode: int
    size: int
    digests: bytes

    @property
    def blocks(self) -> int:
        """Return how many blocks there are; the last may be short."""
        return len(self.digests) // hashlib.sha256().digest_size


class Sealing:
    """Reads a file once, from its start to its end, and knows then what it was.

    Args:
        path: For messages.
        descriptor: Open, at its start, of a regular file; stays the caller's.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._whole = hashlib.sha256()
        self._digests = bytearray()
        self._size = 0

    def blocks(self) -> Iterator[bytes]:
        """Yield the blocks in order.

        Raises:
            AuditDamaged: The file cannot be read.
        """
        while block := _read(self._path, self._descriptor, self._size):
            self._size += len(block)
            self._whole.update(block)
            self._digests += hashlib.sha256(block).digest()
            yield block

    @property
    def sha256(self) -> str:
        """Return the digest of what was read, in hex."""
        return self._whole.hexdigest()

    def seal(self) -> Seal:
        """Return what the file was; all of its blocks were taken."""
        status = os.fstat(self._descriptor)
        return Seal(status.st_dev, status.st_ino, self._size, bytes(self._digests))


class BlockReader:
    """A sealed file, open until `close`; use it as a context manager.

    Raises:
        AuditDamaged: It is gone, or another file stands there, or it has another length.
        Refused: It cannot be opened.
    """

    def __init__(self, path: Path, seal: Seal) -> None:
        self._path = path
        self._seal = seal
        self._cache: dict[int, bytes] = {}
        check_in_place(path, seal)
        self._descriptor = open_regular(path)

    def __enter__(self) -> "BlockReader":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def block(self, number: int) -> bytes:
        """Return a block, counted from 0, as it was verified.

        Raises:
            AuditDamaged: It is another one now, the file is another one, or it cannot be read.
        """
        check_in_place(self._path, self._seal)
        block = _read(self._path, self._descriptor, number * BLOCK_BYTES)
        digest = hashlib.sha256(block).digest()
        if digest != self._seal.digests[number * len(digest) : (number + 1) * len(digest)]:
            raise _changed(self._path, f"other bytes stand there from byte {number * BLOCK_BYTES:,} on")
        return block

    def blocks(self) -> Iterator[bytes]:
        """Yield the blocks in order, each as `block` does."""
        for number in range(self._seal.blocks):
            yield self.block(number)

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` up to `end`, out of blocks as `block` gives them; keeps a few."""
        first, last = start // BLOCK_BYTES, max(start, end - 1) // BLOCK_BYTES
        joined = b"".join(map(self._cached, range(first, last + 1)))
        return joined[start - first * BLOCK_BYTES : end - first * BLOCK_BYTES]

    def _cached(self, number: int) -> bytes:
        block = self._cache.pop(number, None)
        if block is None:
            block = self.block(number)
        self._cache[number] = block
        if len(self._cache) > _CACHED_BLOCKS:
            del self._cache[next(iter(self._cache))]
        return block


def check_in_place(path: Path, seal: Seal) -> None:
    """Look, without reading it, whether a path still leads to the file that was verified.

    Raises:
        AuditDamaged: It is gone, or another file stands there, or it has another length.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise _changed(path, f"it is gone ({error.strerror})") from error
    if (status.st_dev, status.st_ino) != (seal.device, seal.inode):
        raise _changed(path, "another file stands in its place")
    if status.st_size != seal.size:
        raise _changed(path, f"it has {status.st_size:,} bytes and had {seal.size:,}")


def _changed(path: Path, what: str) -> AuditDamaged:
    return AuditDamaged(str(path), 0, f"it was changed after it was verified: {what}", hint=_HINT)


def open_regular(path: Path) -> int:
    """Return a descriptor to read a regular file; raises Refused where there is none that can be read."""
    hint = "Check the path of the plan."
    try:
        # Not blocking: a pipe without a writer would hold the program for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no path"
        raise Refused(f"{path}: {why}", hint=hint) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refused(f"{path}: no regular file", hint=hint)
    return descriptor


def _read(path: Path, descriptor: int, offset: int) -> bytes:
    """Return a whole block from `offset` on, a short one only at the end."""
    pieces, missing = [], BLOCK_BYTES
    try:
        while missing and (piece := os.pread(descriptor, missing, offset + BLOCK_BYTES - missing)):
            pieces.append(piece)
            missing -= len(piece)
    except OSError as error:
        raise AuditDamaged(str(path), 0, f"it cannot be read: {error.strerror}") from error
    return b"".join(pieces)


def lines_of(blocks: Iterator[bytes], most_bytes: int) -> Iterator[bytes]:
    r"""Yield the lines of a file, without their newlines; lines end at `\n` only.

    Raises:
        ValueError: A line is longer than `most_bytes` or so, or the last one has no end.
    """
    rest = b""
    for block in blocks:
        start, end = 0, block.find(b"\n")
        if end >= 0 and rest:
            yield rest + block[:end]
            rest, start = b"", end + 1
            end = block.find(b"\n", start)
        while end >= 0:  # one look for each line is much faster than a split
            yield block[start:end]
            start = end + 1
            end = block.find(b"\n", start)
        rest += block[start:]
        if len(rest) > most_bytes + BLOCK_BYTES:
            raise ValueError("a line that is longer than any batch")
    if rest:
        raise ValueError("the last line is cut")
