"""An audit as it is read: whole lines in order, their chain proved.

Owns how an audit's bytes become records, for everything that reads one. Lines end at a newline and nowhere
else; a last line without one is torn, is no record, and is only counted. Memory is one block, whatever the
file's size. Nothing here writes, and nothing here knows what a history of records adds up to.
"""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from runner.audit.records import MALFORMED, BatchRecord, RunRecord, decode_record
from runner.errors import AuditDamaged, Refused
from runner.files import open_own
from runner.model import Batch, Target, check_phones

__all__ = [
    "NOTHING_SENT",
    "AuditLines",
    "Inconsistent",
    "check_is_audit",
    "read_first",
    "read_unconfirmed",
    "select_for_rerun",
]

NOTHING_SENT: Final = "nothing was sent: remove it, then run the job again"
"""What to do with an audit that never got its first record."""


_BLOCK = 1 << 17
_LONGEST_LINE = 1 << 20
_NEWLINE = 0x0A
_TAIL = len(b',"chain":""}\n') + 64
_CHAIN = slice(-67, -3)
_FIRST = b'{"type":"run"'
_PLAN = b'{"type":"plan",'
_CHAINED = re.compile(rb',"chain":"[0-9a-f]{64}"\}\r?\n')


class Inconsistent(ValueError):
    """A record is malformed, or does not fit those before it; the reader adds the line."""


def check_chain(line: bytes, previous: str) -> str:
    """Return the chain of a line (with its newline) that follows `previous`, or raise `Inconsistent`."""
    link = hashlib.sha256(previous.encode() + line[:-_TAIL]).hexdigest()
    if line[-_TAIL:] != b',"chain":"%b"}\n' % link.encode():
        raise Inconsistent("the chain is broken: this line was changed, or lines before it moved or went")
    return link


class AuditLines:
    """Iterates over the whole lines of an audit, each with its newline.

    Args:
        path: The audit.
        verify_chain: Prove each line's chain before it is handed out (about 0.6 s a million lines).
        own: Refuse a link, and a file of another user's, as `resume` does.

    Raises:
        Refused: There is no such file, it cannot be read, or it is no audit.
        AuditDamaged: A chain is broken, or a line is longer than any record.
    """

    def __init__(self, path: Path, *, verify_chain: bool = False, own: bool = False) -> None:
        self.path = path
        self.number = 0
        """The last line handed out, counted from 1."""
        self.torn = 0
        """Bytes of a last line without a newline; known at the end."""
        self.chain = ""
        """The last whole line's chain; with `verify_chain` of the last one handed out, else at the end."""
        self._verify = verify_chain
        self._own = own

    def damaged(self, what: str, *, hint: str = "") -> AuditDamaged:
        """Return the error that names the line handed out last."""
        return AuditDamaged(str(self.path), self.number, what, hint=hint)

    def __iter__(self) -> Iterator[bytes]:
        try:
            with os.fdopen(self._open(), "rb", buffering=_BLOCK) as file:
                yield from self._lines(file.readline)
        except OSError as error:
            raise Refused(f"the audit {self.path} cannot be read: {error.strerror}") from error

    def _open(self) -> int:
        if self._own:
            descriptor = open_own(self.path, os.O_RDONLY, f"the audit {self.path}")
        else:
            # Never wait for a writer, should the path be a pipe.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            check_is_audit(self.path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _lines(self, readline: Callable[[int], bytes]) -> Iterator[bytes]:
        last = b""
        verify = self._verify
        while line := readline(_LONGEST_LINE):
            if line[-1] != _NEWLINE:
                self._end_in_torn_line(line)
                break
            self.number += 1
            if verify:
                self._prove(line)
            last = line
            yield line
        self.chain = last[_CHAIN].decode("ascii", errors="replace")

    def _prove(self, line: bytes) -> None:
        try:
            self.chain = check_chain(line, self.chain)
        except Inconsistent as error:
            raise self.damaged(str(error)) from error

    def _end_in_torn_line(self, line: bytes) -> None:
        if len(line) == _LONGEST_LINE:
            self.number += 1
            raise self.damaged("a line longer than any record")
        self.torn = len(line)


def check_is_audit(path: Path, descriptor: int) -> None:
    """Raise Refused unless an open file is an audit, be it torn or damaged: nobody else's file is called so.

    It is one when there is a chained record near its start, or when all it has is the torn start of one.
    """
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise Refused(f"{path} is no audit: it is no regular file")
    head = os.pread(descriptor, _BLOCK, 0)
    if not head:
        raise Refused(f"{path} is empty: no audit", hint=NOTHING_SENT)
    torn = b"\n" not in head and head[: len(_FIRST)] == _FIRST[: len(head)]
    if head.startswith(_PLAN):
        hint = "the audit that it belongs to has its name without .plan"
        raise Refused(f"{path} is no audit: it is a plan", hint=hint)
    if not torn and not _CHAINED.search(head):
        raise Refused(f"{path} is no audit", hint="an audit's first line begins with " + _FIRST.decode())


def read_first(path: Path) -> RunRecord | None:
    """Return an audit's first record; None where there is no whole one yet.

    Raises:
        Refused: The file cannot be read.
        AuditDamaged: It is no audit.
    """
    lines = AuditLines(path)
    for line in lines:
        try:
            record = decode_record(line)
        except MALFORMED as error:
            raise lines.damaged(f"no audit record: {error}") from error
        if not isinstance(record, RunRecord):
            raise lines.damaged("no audit: it does not begin with a run record")
        return record
    return None


def select_for_rerun(
    path: Path, statuses: Collection[str], asked: Callable[[int], Batch] | None = None
) -> Iterator[tuple[Target, tuple[str, ...]]]:
    """Yield what ended with one of these statuses and was not confirmed, in audit order.

    A window comes as its target without phones, a batch with the numbers that are left of it. The audit is
    taken as proved already (`fold_audit`); but a chain proves nothing against who can compute it anew, so
    that each batch is also held against the one that the plan `asked` under its `seq`.

    Raises:
        Refused: The file cannot be read.
        AuditDamaged: A batch record does not name the numbers that it says are left, or others than asked.
    """
    lines = AuditLines(path)
    for record in _unconfirmed(lines):
        if record.status in statuses:
            try:
                rest = _rest_of(record)
                if asked is not None:
                    _check_asked(rest, asked(record.seq))
            except ValueError as error:
                raise lines.damaged(f"a batch that cannot be sent again: {error}") from error
            yield rest


def read_unconfirmed(path: Path) -> Iterator[BatchRecord]:
    """Yield the `batch` records that did not end `deleted`, in audit order.

    Raises:
        Refused: The file cannot be read.
        AuditDamaged: Such a record is malformed.
    """
    return _unconfirmed(AuditLines(path))


def _unconfirmed(lines: AuditLines) -> Iterator[BatchRecord]:
    for line in lines:
        # A quote inside a JSON string is escaped, so these bytes are the field and nothing else.
        if not line.startswith(b'{"type":"batch",') or b'"status":"deleted"' in line:
            continue
        try:
            record = decode_record(line)
        except MALFORMED as error:
            raise lines.damaged(f"a batch that cannot be sent again: {error}") from error
        if isinstance(record, BatchRecord):
            yield record


def _check_asked(rest: tuple[Target, tuple[str, ...]], batch: Batch) -> None:
    if rest[0] != batch.target or not set(rest[1]) <= set(batch.phones):
        raise ValueError("it is not what the plan asked for")


def _rest_of(record: BatchRecord) -> tuple[Target, tuple[str, ...]]:
    target, left = record.target, record.phone[: record.phones_left]
    if len(left) != record.phones_left:
        raise ValueError("it does not name the numbers left")
    check_phones(target, left)
    return target, left
