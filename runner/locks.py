"""Who may run: one process per origin and user of the machine, one process per audit.

Owns the `flock` locks and the words that name their holder, so that the rate is one rate (README,
locks). The kernel frees a lock when its holder dies, however it dies; a lock file itself is
never removed, because removing it would let two processes hold two files of one name.
"""

import asyncio
import errno
import fcntl
import hashlib
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from runner.errors import Busy, Refused
from runner.files import make_private_folder
from runner.model import WallClock
from runner.process import utc_now

__all__ = ["Holder", "holder_of", "lock_descriptor", "origin_lock", "state_directory"]

_POLL_S = 1.0
_NOTE_BYTES = 4096
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_LOCKLESS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_GLANCES = 5
_GLANCE_S = 0.01
"""Who only asks whether a file is held (`holder_of`) holds it for a moment: then it is free again."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock; None where the system does not tell."""

    pid: int | None = None
    start: str | None = None
    """When it took the lock or began, ISO 8601 with offset."""

    def __str__(self) -> str:
        if self.pid is None:
            return "another process"
        return f"process {self.pid}" + (f", started {self.start}" if self.start else "")


def state_directory() -> Path:
    """Return `$XDG_STATE_HOME/bulk-delete`, else `~/.local/state/bulk-delete`; nothing is created.

    Raises:
        Refused: No home is known.
    """
    given = os.environ.get("XDG_STATE_HOME", "")
    # A relative path there is invalid by the XDG specification and would make the lock depend on the folder.
    if given.startswith("/"):
        return Path(given) / "bulk-delete"
    try:
        return Path.home() / ".local" / "state" / "bulk-delete"
    except RuntimeError as error:
        raise Refused(
            "there is no home folder for the lock", hint="point XDG_STATE_HOME to a folder that is writable"
        ) from error


def _lock_name(base_url: str) -> str:
    """Return the file name of an origin (scheme, host, port): readable first, exact by its hash."""
    parts = urlsplit(base_url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    host = (parts.hostname or "").lower()
    readable = re.sub(r"[^a-z0-9.-]", "_", host)[:80]
    digest = hashlib.sha256(f"{parts.scheme}://{host}:{port}".encode()).hexdigest()[:16]
    return f"{readable}-{digest}.lock"


def _try_flock(descriptor: int, what: str, *, shared: bool = False) -> bool:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        lockless = error.errno in _LOCKLESS
        why = "its file system has no locks (flock)" if lockless else error.strerror
        raise Refused(
            f"{what} cannot be locked: {why}",
            hint="nothing was sent; without a lock two runs could not know of each other: use a local disk",
        ) from error
    return True


def lock_descriptor(descriptor: int, what: str, on_wait: Callable[[Holder], None] | None = None) -> None:
    """Lock an open file for this process until the descriptor closes.

    Args:
        descriptor: Open for reading and writing.
        what: Begins the messages.
        on_wait: Given: wait until it is free, and call this once, with the holder, before waiting.

    Raises:
        Busy: Another process holds it; the message names its pid and its start.
        Refused: The file system has no locks.
    """
    for _ in range(_GLANCES):
        if _try_flock(descriptor, what):
            return
        time.sleep(_GLANCE_S)
    holder = _holder_by_kernel(descriptor)
    if on_wait is None:
        raise _busy(what, holder)
    on_wait(holder)
    while not _try_flock(descriptor, what):
        time.sleep(_POLL_S)


def holder_of(path: Path) -> Holder | None:
    """Return who holds the lock of a file, or None: nobody, or nobody can (no such file, no locks).

    It is looked at without a wait and read-only, so that it works for what another user may only read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return _holder_by_kernel(descriptor) if error.errno in _HELD else None
    finally:
        os.close(descriptor)
    return None


def _busy(what: str, holder: Holder) -> Busy:
    return Busy(f"{what} is held by {holder}", hint="wait for it to end, or give --wait")


def _holder_by_kernel(descriptor: int) -> Holder:
    """Return the holder of a `flock` by the kernel's own list (Linux), or an unknown one."""
    inode = os.fstat(descriptor).st_ino
    try:
        rows = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
    except OSError:
        return Holder()
    for row in rows:
        if len(row) > 5 and row[1] == "FLOCK" and row[5].endswith(f":{inode}") and int(row[4]) > 0:
            return Holder(int(row[4]), _start_of(int(row[4])))
    return Holder()


def _start_of(pid: int) -> str | None:
    """Return when a process began, or None where that cannot be read."""
    try:
        # The process name may hold spaces and brackets: fields are counted after its last bracket.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        ticks = int(fields.split()[19])
        boot = re.search(r"^btime ([0-9]+)$", Path("/proc/stat").read_text(encoding="ascii"), re.MULTILINE)
    except (OSError, ValueError, IndexError):
        return None
    if boot is None:
        return None
    began = int(boot[1]) + ticks / os.sysconf("SC_CLK_TCK")
    return datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds")


def _open_lock_file(path: Path) -> int:
    try:
        make_private_folder(path.parent)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except (OSError, Refused) as error:
        why = error.message if isinstance(error, Refused) else error.strerror
        raise Refused(
            f"the lock file {path} cannot be opened: {why}",
            hint="make its folder writable, or point XDG_STATE_HOME to a folder that is",
        ) from error


def _write_note(descriptor: int, holder: Holder | None) -> None:
    """Write down who holds the lock alone; of several the kernel knows who is still there."""
    # For the eyes of others only: a full disk takes nothing from the lock, which the kernel holds.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        if holder is not None:
            os.pwrite(descriptor, orjson.dumps({"pid": holder.pid, "start": holder.start}) + b"\n", 0)


def _read_note(descriptor: int) -> Holder:
    """Return the holder as it wrote itself down; between its lock and its note there is none yet."""
    try:
        note = orjson.loads(os.pread(descriptor, _NOTE_BYTES, 0))
        return Holder(int(note["pid"]), str(note["start"]))
    except (ValueError, TypeError, KeyError):
        return _holder_by_kernel(descriptor)


@asynccontextmanager
async def origin_lock(
    base_url: str,
    *,
    wait: bool,
    shared: bool = False,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    on_wait: Callable[[Holder], None] | None = None,
    directory: Path | None = None,
    now: WallClock = utc_now,
) -> AsyncIterator[Path]:
    """Hold the lock of an origin for as long as the context lasts; yields the lock file's path.

    Args:
        base_url: Its scheme, host and port make the origin; a path in it makes no difference.
        wait: True: try again every second, through `sleep`, until the lock is free.
        shared: Others may hold it beside this one, if they say the same: their rate is one rate elsewhere.
        sleep: Waits that many seconds; what it raises (`stop.Stopping`) ends the waiting.
        on_wait: Called once, with the holder, before the first wait.
        directory: Where lock files stand; None: `state_directory()`.
        now: The start that others are shown.

    Raises:
        Busy: Another process holds the origin and `wait` is False.
        Refused: The lock file cannot be made.
    """
    path = (directory or state_directory()) / _lock_name(base_url)
    descriptor = _open_lock_file(path)
    try:
        told = False
        what = f"the origin {base_url}"
        while not _try_flock(descriptor, what, shared=shared):
            holder = _read_note(descriptor)
            if not wait:
                raise _busy(what, holder)
            if on_wait is not None and not told:
                on_wait(holder)
                told = True
            await sleep(_POLL_S)
        _write_note(descriptor, None if shared else Holder(os.getpid(), now().isoformat(timespec="seconds")))
        yield path
    finally:
        os.close(descriptor)
