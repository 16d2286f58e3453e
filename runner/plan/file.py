"""The plan file: verified whole before it is believed, and block by block whenever it is read again.

Keeps the promise that exactly what was confirmed is applied: a plan that was edited, cut or torn is refused
before anything is sent, one that changes later yields nothing of the block that changed, and each batch that
comes out has passed `Batch`'s own rules in these very bytes. Nothing here decides what is in a plan.
"""

import hashlib
import os
import re
import stat
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Final

from runner.errors import AuditDamaged
from runner.model import Batch, Target
from runner.plan.by_user import UserNumbers, UserTally
from runner.plan.header import MAX_HEADER_BYTES, PlanHeader
from runner.plan.lines import MAX_LINE_BYTES, BatchLines
from runner.plan.sealed_file import BlockReader, Seal, Sealing, check_in_place, lines_of, open_regular
from runner.plan.write import DIGEST_BYTES, digest_field, new_plan_file

__all__ = ["PlanFile", "copy_plan", "is_plan", "read_plan"]

_MAGIC: Final = b'{"type":"plan",'
_HEX: Final = re.compile(rb"[0-9a-f]{64}")
_ALTERED: Final = "Plan again: a plan is applied exactly as it was written, or not at all."


def is_plan(path: Path) -> bool:
    """Tell by its first bytes whether a file is a plan; False for what cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except (OSError, ValueError):
        return False


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan that was found whole.

    Args:
        path: Where it is.
        header: Its first line.
        sha256: Of the whole file, in hex: the audit's `plan_sha256`.
        mtime_s: When the file was last changed, in seconds since 1970.
        sizes: The number of phones of each batch, a byte each, in `seq` order.
        ascending: In every batch they are in ascending order, as they are where a list was planned.
        seal: What the file was when it was verified.
        users: The largest users, the one with the most phones first.
    """

    path: Path
    header: PlanHeader
    sha256: str
    mtime_s: float
    sizes: bytes
    ascending: bool
    seal: Seal
    users: tuple[UserNumbers, ...]

    def phones_of(self, seq: int) -> int:
        """Return how many phones a batch has, 0 where it is a window; IndexError where there is none."""
        if seq < 1:
            raise IndexError(seq)
        return self.sizes[seq - 1]

    def check(self) -> None:
        """Look, without reading it, whether the file is still in its place.

        Raises:
            AuditDamaged: It is gone, or another one, or of another length than when it was verified.
        """
        check_in_place(self.path, self.seal)

    def batches(self, wanted: Callable[[int], bool] | None = None) -> Iterator[Batch]:
        """Yield the batches in `seq` order; the file is held open meanwhile.

        Each block is held against what was verified before any batch of it is yielded.

        Args:
            wanted: Yields only the batches for whose `seq` this is true; the others are not even parsed.

        Raises:
            AuditDamaged: The file is another one than was verified, or was changed since.
        """
        parser = BatchLines()
        for seq, line in enumerate(self.lines(), start=1):
            if wanted is None or wanted(seq):
                yield self._batch(parser, line, seq)

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the batches as they stand there, without newlines; otherwise as `batches`."""
        with BlockReader(self.path, self.seal) as reader:
            lines = lines_of(reader.blocks(), MAX_HEADER_BYTES)
            next(lines)
            yield from lines

    def blocks(self) -> Iterator[bytes]:
        """Yield the whole file in blocks, each held against what was verified; raises as `batches` does."""
        with BlockReader(self.path, self.seal) as reader:
            yield from reader.blocks()

    def _batch(self, parser: BatchLines, line: bytes, seq: int) -> Batch:
        try:
            return parser.parse(line, seq, self.phones_of(seq), ascending=self.ascending)
        except ValueError as error:
            raise AuditDamaged(str(self.path), seq + 1, str(error), hint=_ALTERED) from error

    @contextmanager
    def lookup(self) -> Iterator[Callable[[int], Batch]]:
        """Give what returns a batch by its `seq`, in any order; it takes 8 bytes a batch.

        Raises:
            AuditDamaged: As `batches` does, or there is no such batch.
        """
        with BlockReader(self.path, self.seal) as reader:
            ends = array("Q", [0])
            for line in lines_of(reader.blocks(), MAX_HEADER_BYTES):
                ends.append(ends[-1] + len(line) + 1)
            parser = BatchLines()

            def find(seq: int) -> Batch:
                if not 1 <= seq <= len(self.sizes):
                    raise AuditDamaged(str(self.path), 0, f"it has no batch {seq}", hint=_ALTERED)
                return self._batch(parser, reader.read(ends[seq], ends[seq + 1] - 1), seq)

            yield find


def copy_plan(plan: PlanFile, target: Path) -> PlanFile:
    """Copy a verified plan byte for byte to a new private file (0600), and return it there.

    Raises:
        AuditDamaged: It is no longer the file that was verified.
        Refused: `target` exists, or one of them cannot be read or written.
    """
    with new_plan_file(target) as file:
        file.writelines(plan.blocks())
        status = os.fstat(file.fileno())
    return replace(plan, path=target, seal=replace(plan.seal, device=status.st_dev, inode=status.st_ino))


def read_plan(path: Path) -> PlanFile:
    """Verify a whole plan: its digest, its header, and every batch, in bounded memory.

    Raises:
        AuditDamaged: It is no plan, of another version, altered or cut; with the line where that shows.
        Refused: It cannot be opened.
    """
    descriptor = open_regular(path)
    try:
        mtime_s = os.fstat(descriptor).st_mtime
        sealing = Sealing(path, descriptor)
        blocks = sealing.blocks()
        first, rest = _first_line(blocks)
        header, said = _parse_header(path, first)
        digest = hashlib.sha256(first[:-DIGEST_BYTES])
        check = _BodyCheck(path, header)
        check.lines(_noted(chain([rest], blocks), digest.update))
        check.end()
        if digest.hexdigest().encode() != said:
            raise AuditDamaged(
                str(path), 0, "it was altered: the digest is of another content", hint=_ALTERED
            )
        sizes, users = bytes(check.sizes), check.users.largest()
        return PlanFile(path, header, sealing.sha256, mtime_s, sizes, check.ascending, sealing.seal(), users)
    finally:
        os.close(descriptor)


def _first_line(blocks: Iterator[bytes]) -> tuple[bytes, bytes]:
    """Return the first line with its newline (without, where it is too long), and what follows it so far."""
    found = bytearray()
    for block in blocks:
        line, newline, rest = block.partition(b"\n")
        found += line + newline
        if newline or len(found) > MAX_HEADER_BYTES or not found.startswith(_MAGIC):
            return bytes(found), rest
    return bytes(found), b""


def _noted(chunks: Iterator[bytes], note: Callable[[bytes], object]) -> Iterator[bytes]:
    for chunk in chunks:
        note(chunk)
        yield chunk


def _parse_header(path: Path, line: bytes) -> tuple[PlanHeader, bytes]:
    """Return the header and the digest that stands at its end."""
    if not line.startswith(_MAGIC):
        raise AuditDamaged(str(path), 1, "this is no plan", hint="A plan is made by: plan JOB --out FILE")
    if not line.endswith(b"\n"):
        raise AuditDamaged(str(path), 1, "the header is cut", hint=_ALTERED)
    found = _HEX.search(line, len(line) - DIGEST_BYTES) if len(line) > DIGEST_BYTES else None
    if found is None or not line.endswith(digest_field(found[0])):
        raise AuditDamaged(str(path), 1, "the header has no digest", hint=_ALTERED)
    try:
        return PlanHeader.from_json(line[:-DIGEST_BYTES] + b"}"), found[0]
    except ValueError as error:
        raise AuditDamaged(str(path), 1, f"the header: {error}", hint=_ALTERED) from error


class _BodyCheck:
    """Batch lines as they come out of the file; knows at the end whether the header's totals are true."""

    def __init__(self, path: Path, header: PlanHeader) -> None:
        self._path = path
        self._header = header
        self.users = UserTally(Counter({window.seq: window.user_id for window in header.windows}.values()))
        self._lines = BatchLines()
        self.sizes = bytearray()
        self.ascending = True
        self._phones = 0
        self._windows: dict[int, Target] = {}

    def lines(self, chunks: Iterator[bytes]) -> None:
        """Check every line of the body."""
        try:
            for line in lines_of(chunks, MAX_LINE_BYTES):
                self._line(line)
        except ValueError as error:
            at = len(self.sizes) + 2
            raise AuditDamaged(str(self._path), at, str(error), hint=_ALTERED) from error

    def _line(self, line: bytes) -> None:
        seq = len(self.sizes) + 1
        target, phones, ascending = self._lines.prove(line, seq)
        if target.delete_window:
            self._windows[seq] = target
        elif self._windows:
            raise ValueError("phones behind a window: windows come last")
        else:
            self.users.add(target.user_id, phones)
        self.sizes.append(phones)
        self.ascending &= ascending
        self._phones += phones

    def end(self) -> None:
        """Hold the header's totals and windows against what was seen."""
        totals = self._header.totals
        if len(self.sizes) < totals.batches:
            what = f"it ends after {len(self.sizes):,} of {totals.batches:,} batches"
            raise AuditDamaged(str(self._path), len(self.sizes) + 1, what, hint=_ALTERED)
        seen = (len(self.sizes), self._phones, len(self._windows))
        if seen != (totals.batches, totals.unique, totals.windows):
            raise self._untrue("totals")
        # Only what the header says of a window is counted by the listing and held against `max_rows`.
        said = [(window.seq, window.target) for window in self._header.windows]
        if dict(said) != self._windows or any(self._windows[seq] != target for seq, target in said):
            raise self._untrue("windows")
        if self.users.count != totals.users:
            raise self._untrue("users")

    def _untrue(self, what: str) -> AuditDamaged:
        return AuditDamaged(
            str(self._path), 0, f"the header's {what} are not those of the batches", hint=_ALTERED
        )
