"""The audit as it is written: one record at a time, durable when it says so, chained.

Keeps the half of promise 6 that lies on the disk: what was appended survives `kill -9`, what was synced
survives a power cut, and a record is in the file whole or not at all. After any failed write or sync the
journal is broken for good: it writes nothing more and every later call raises `Stopped`. It must never retry
a failed sync, never truncate more than a torn record, and never know what a record means.
"""

import asyncio
import errno
import hashlib
import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from runner.audit.reader import NOTHING_SENT, check_is_audit
from runner.audit.records import Record, as_json, encode_line, stamp
from runner.errors import AuditDamaged, Refused, Stopped
from runner.files import create_private, make_private_folder, open_own, sync_folder, what_became
from runner.locks import Holder, lock_descriptor
from runner.model import WallClock

__all__ = ["AppendFile", "DiskFile", "Journal", "encode_record"]

_BLOCK = 1 << 16

# macOS has no fdatasync; its fsync is the nearest there is.
_fdatasync = getattr(os, "fdatasync", os.fsync)


class AppendFile(Protocol):
    """Where a journal writes: a real file, or a simulated disk that forgets what was not synced."""

    def append(self, data: bytes) -> None:
        """Add `data` at the end, all or nothing; raises OSError."""
        ...

    async def sync(self) -> None:
        """Return once everything appended before this call is durable, and the file is still in its place.

        Raises:
            OSError: The disk does not take it.
            Stopped: The file is gone, another stands in its place, or somebody else wrote to it.
        """
        ...

    def close(self) -> None:
        """Close it; nothing is synced."""
        ...


class DiskFile:
    """An `AppendFile` on disk, locked for this process (`flock`) until it closes.

    Built by `create` or `reopen`. Only the sync itself runs in a thread, one at a time, and it serves every
    waiter that came before it began.
    """

    def __init__(self, descriptor: int, path: Path, *, new: bool = False) -> None:
        self.path = path
        self._descriptor = descriptor
        self._new = new
        self._size = os.fstat(descriptor).st_size
        self._synced = self._size
        self._failure: OSError | Stopped | None = None
        self._round: asyncio.Future[None] | None = None
        self._closing = threading.Lock()
        self._closed = False

    @classmethod
    def create(cls, path: Path) -> "DiskFile":
        """Make a new file (mode 0600), its folder (0700) where there is none, and sync the folder.

        Raises:
            Refused: Something stands there already, even a dangling link, or it cannot be made.
        """
        try:
            make_private_folder(path.parent)
            file = cls(create_private(path, append=True), path, new=True)
        except FileExistsError as error:
            hint = "an audit is never written over: name another with --audit"
            raise Refused(f"the audit {path} exists", hint=hint) from error
        except OSError as error:
            raise Refused(f"the audit {path} cannot be made: {error.strerror}") from error
        try:
            lock_descriptor(file._descriptor, f"the audit {path}")
            sync_folder(path.parent)
        except OSError as error:
            file.close()
            raise Refused(f"the folder of {path} cannot be synced: {error.strerror}") from error
        except BaseException:
            file.close()
            raise
        return file

    @classmethod
    def reopen(cls, path: Path, *, on_wait: Callable[[Holder], None] | None = None) -> "DiskFile":
        """Open an existing audit for `resume`, locked; nothing is changed yet (see `repair_tail`).

        Args:
            path: The audit.
            on_wait: Given: wait until no other process holds it; called once before waiting.

        Raises:
            Refused: It is missing, a link, no regular file, no audit, or another user's.
            Busy: Another process holds it.
        """
        descriptor = open_own(path, os.O_RDWR | os.O_APPEND, f"the audit {path}")
        try:
            lock_descriptor(descriptor, f"the audit {path}", on_wait)
            check_is_audit(path, descriptor)
            return cls(descriptor, path)
        except BaseException:
            os.close(descriptor)
            raise

    def repair_tail(self) -> int:
        """Cut back a last line that has no newline, durably; returns how many bytes went (0: it was whole).

        Appending after a torn record would spoil the next one too.

        Raises:
            AuditDamaged: There is no whole record at all.
            Stopped: The disk does not take the cut.
        """
        end = self._end_of_last_line()
        cut = self._size - end
        if not cut:
            return 0
        if not end:
            raise AuditDamaged(str(self.path), 0, "no whole record in it", hint=NOTHING_SENT)
        try:
            os.ftruncate(self._descriptor, end)
            os.fsync(self._descriptor)
        except OSError as error:
            raise _not_writable(error) from error
        self._size = self._synced = end
        return cut

    def _end_of_last_line(self) -> int:
        position = self._size
        while position:
            start = max(0, position - _BLOCK)
            newline = os.pread(self._descriptor, position - start, start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            position = start
        return 0

    def append(self, data: bytes) -> None:
        """Add `data` at the end in one write; after a short or failed one, cut back to where it began."""
        try:
            _write_whole(self._descriptor, data)
        except OSError:
            self._cut_back()
            raise
        self._size += len(data)

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            return  # The record stays torn; the next opening repairs it.

    async def sync(self) -> None:
        """Return once everything appended before this call is on the disk; waiters share one sync."""
        wanted = self._size
        while self._synced < wanted:
            if self._failure is not None:
                raise self._failure
            if self._round is None:
                self._round = asyncio.ensure_future(self._sync_once())
            # Shielded: a waiter that is cancelled must not take the others' sync with it.
            await asyncio.shield(self._round)

    async def _sync_once(self) -> None:
        covers = self._size
        try:
            await asyncio.to_thread(self._sync_in_thread)
            if not self._closed:
                self._look()
            self._synced = covers
        except (OSError, Stopped) as error:
            # After a failed fsync the kernel may have dropped the pages: a second one would lie.
            self._failure = error
        finally:
            self._round = None

    def _sync_in_thread(self) -> None:
        with self._closing:
            if self._closed:
                raise OSError(errno.EBADF, "closed")
            _fdatasync(self._descriptor)

    def _look(self) -> None:
        """Raise Stopped unless the path still leads to this file, with what was written and nothing else."""
        mine = os.fstat(self._descriptor)
        found, size = what_became(self.path, mine), mine.st_size
        if found is None and size < self._size:
            found = f"it was cut to {size:,} of {self._size:,} bytes"
        elif found is None and size > self._size:
            found = f"somebody else wrote to it: it has {size:,} bytes, not {self._size:,}"
        if found is not None:
            raise Stopped(f"audit {self.path}: {found}", hint="if it was moved, put it back")

    def close(self) -> None:
        """Close the file and free its lock, after a sync that is under way.

        A new one that never got a whole record is removed: it would say nothing, and stand in the way.
        """
        with self._closing:
            if self._closed:
                return
            self._closed = True
            if self._new and not self._size:
                with suppress(OSError):
                    if what_became(self.path, os.fstat(self._descriptor)) is None:
                        self.path.unlink()
            os.close(self._descriptor)


def _write_whole(descriptor: int, data: bytes) -> None:
    """Write in one call; a full disk shows first as a short write, without an exception."""
    if os.write(descriptor, data) != len(data):
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} (short write)")


def _not_writable(error: OSError) -> Stopped:
    why = f"audit not writable: {error.strerror or error}"
    return Stopped(why, hint="make room or mend the disk")


def encode_record(record: Record, *, chain: str) -> tuple[bytes, str]:
    """Return a stamped record's line, with its newline, and its chain, which continues `chain` (or empty)."""
    try:
        body = encode_line(record)
    except UnicodeEncodeError:
        # A file name that is not UTF-8 arrives with lone surrogates; a record must not fail for that.
        body = json.dumps(as_json(record), ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    head = body[:-1]
    link = hashlib.sha256(b"%b%b" % (chain.encode(), head)).hexdigest()
    return b'%b,"chain":"%b"}\n' % (head, link.encode()), link


class Journal:
    """Appends records to an audit.

    Args:
        file: Where they go.
        now: The wall's time, for `at`.
        on_record: Called with each record, stamped, once it is written, and with its chain; the live fold.
        chain: The chain of the audit's last record; empty for a new audit.
    """

    def __init__(
        self,
        file: AppendFile,
        *,
        now: WallClock,
        on_record: Callable[[Record, str], None],
        chain: str = "",
    ) -> None:
        self._file = file
        self._now = now
        self._on_record = on_record
        self._chain = chain
        self._broken: Stopped | None = None

    @property
    def chain(self) -> str:
        """The chain of the last record written: after a session's summary, the audit's head value."""
        return self._chain

    def append(self, record: Record) -> None:
        """Write one record (see `records`), whole or not at all; it survives a kill, not yet a power cut.

        Raises:
            Stopped: The audit is not writable, now or since an earlier call.
        """
        self._check()
        stamped = stamp(record, self._now().isoformat(timespec="milliseconds"))
        line, link = encode_record(stamped, chain=self._chain)
        try:
            self._file.append(line)
        except OSError as error:
            raise self._break(error) from error
        self._chain = link
        self._on_record(stamped, link)

    async def sync(self) -> None:
        """Return once every record appended before this call is durable.

        Raises:
            Stopped: The audit is not writable, now or since an earlier call.
        """
        self._check()
        try:
            await self._file.sync()
        except (OSError, Stopped) as error:
            raise self._break(error) from error
        # Another task's write may have failed meanwhile: what would follow this sync could not be recorded.
        self._check()

    def _check(self) -> None:
        if self._broken is not None:
            raise Stopped(self._broken.why, hint=self._broken.hint)

    def _break(self, error: OSError | Stopped) -> Stopped:
        if self._broken is None:
            self._broken = error if isinstance(error, Stopped) else _not_writable(error)
        return Stopped(self._broken.why, hint=self._broken.hint)
