"""The two ends of an audit: its first record, and its last ones; no more is read, whatever the length.

What stands between is taken as it is; `fold` and `verify` read all of it.
"""

import os
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from runner.audit.reader import check_is_audit
from runner.audit.records import MALFORMED, Record, RunRecord, SummaryRecord, decode_record
from runner.errors import AuditDamaged, Refused

__all__ = ["Edges", "Flaw", "count_batches", "moment", "read_edges"]

Flaw = Literal["foreign", "empty", "torn", "damaged", "unreadable"]
"""Why a file says nothing of a run: it is no audit, has not one whole record, or cannot be read."""

_HEAD: Final = 1 << 14
_TAIL: Final = 1 << 16
_LONGEST_LINE: Final = 1 << 20
_BLOCK: Final = 1 << 22
_FIRST_YEAR, _LAST_YEAR = 1970, 9000
_CHAIN: Final = slice(-66, -2)
_BATCH: Final = b'\n{"type":"batch",'


@dataclass(frozen=True, slots=True)
class Edges:
    """The ends of one audit."""

    path: Path
    size: int
    first: RunRecord
    last: tuple[Record, ...]
    """The last records, as many as stand in the file's last 64 KiB; the last alone where it is a summary."""
    head: str
    """The last record's chain, as it stands there."""

    @property
    def summary(self) -> SummaryRecord | None:
        """Its last record, where that is a summary: no session is under way, and none was killed."""
        record = self.last[-1]
        return record if isinstance(record, SummaryRecord) else None


def moment(record: Record) -> datetime:
    """Return when a record was written; ValueError where it does not say so."""
    at = datetime.fromisoformat(record.at)
    if at.tzinfo is None or not _FIRST_YEAR <= at.year <= _LAST_YEAR:
        raise ValueError(f"{record.at} is no moment")
    return at


def read_edges(path: Path) -> Edges | Flaw:
    """Return the ends of an audit, or in a word why it has none."""
    try:
        # Never wait for a writer, should the path be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return "unreadable"
    try:
        return _edges_of(path, descriptor)
    except AuditDamaged:
        return "damaged"
    except Refused:
        return "foreign"
    except MALFORMED:
        return "damaged"
    except OSError:
        return "unreadable"
    finally:
        os.close(descriptor)


def _edges_of(path: Path, descriptor: int) -> Edges | Flaw:
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and not found.st_size:
        return "empty"
    check_is_audit(path, descriptor)
    head = os.pread(descriptor, _HEAD, 0)
    if b"\n" not in head:
        head = os.pread(descriptor, _LONGEST_LINE, 0)
    first, newline, _ = head.partition(b"\n")
    if not newline:
        return "torn" if found.st_size < _LONGEST_LINE else "damaged"
    run = decode_record(first)
    if not isinstance(run, RunRecord):
        return "damaged"
    moment(run)
    return Edges(path, found.st_size, run, *_last_records(descriptor, found.st_size))


def _last_records(descriptor: int, size: int) -> tuple[tuple[Record, ...], str]:
    """Return the last whole records, and the chain of the last one; a torn line after them is none."""
    for span in (_TAIL, 2 * _LONGEST_LINE):
        start = max(0, size - span)
        tail = os.pread(descriptor, span, start)
        lines = tail[: tail.rfind(b"\n") + 1].split(b"\n")[:-1]
        whole = lines if start == 0 else lines[1:]
        if whole:
            last, head = _dated(whole[-1]), whole[-1][_CHAIN].decode("ascii", errors="replace")
            return (last,) if isinstance(last, SummaryRecord) else (*map(_dated, whole[:-1]), last), head
    raise ValueError("a line longer than any record")


def _dated(line: bytes) -> Record:
    record = decode_record(line)
    moment(record)
    return record


def count_batches(path: Path) -> int:
    """Return how many `batch` records an audit has, without reading them: each batch has one at most.

    Raises:
        OSError: The file cannot be read.
    """
    batches, kept = 0, b""
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            whole = kept + block
            batches += whole.count(_BATCH)
            kept = whole[-len(_BATCH) + 1 :]
    return batches
