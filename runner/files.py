"""New files and folders that only their owner may read: an audit, a plan, a list of rejects name people.

Keeps the promise that none of them is readable by others for a moment, that no link is followed, and that
nothing is ever written over. It knows nothing of what is in them.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from runner.errors import Refused

__all__ = [
    "already_there",
    "copy_private",
    "create_private",
    "make_private_folder",
    "new_private",
    "open_own",
    "opened_folder",
    "read_private",
    "refuse_existing",
    "sync_folder",
    "what_became",
    "write_private",
]

_PRIVATE_FOLDER = 0o700


def refuse_existing(*paths: Path | None) -> None:
    """Raise Refused where something stands already at one of these places, even a dangling link."""
    for path in paths:
        if path is not None and os.path.lexists(path):
            raise already_there(path)


def already_there(path: Path) -> Refused:
    """Return the refusal to write over what stands at a place."""
    return Refused(f"{path} exists already", hint="name another file: nothing is written over")


def create_private(path: Path, *, append: bool = False) -> int:
    """Return the descriptor of a new file, mode 0600 from its first moment, open to read and write.

    Raises:
        FileExistsError: Something stands there, even a dangling link.
        OSError: It cannot be made.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags | (os.O_APPEND if append else 0), 0o600)


@contextmanager
def new_private(path: Path) -> Iterator[BinaryIO]:
    """Give a new private file, which goes away again where the block does not end well.

    Raises:
        Refused: Something stands there already, or it cannot be written.
    """
    try:
        with os.fdopen(create_private(path), "wb") as file:
            try:
                yield file
                file.flush()
            except BaseException:
                path.unlink()
                raise
    except OSError as error:
        raise Refused(f"{path}: cannot be written: {error.strerror}", hint="name another file") from error


def write_private(path: Path, data: bytes) -> None:
    """Write a whole new file; Refused where something stands there already or it cannot be written."""
    with new_private(path) as file:
        file.write(data)


def copy_private(source: Path, target: Path) -> None:
    """Copy a file of any length to a whole new one; raises Refused as `write_private` does."""
    with new_private(target) as file, source.open("rb") as given:
        shutil.copyfileobj(given, file)


def read_private(
    path: str, what: str, most_bytes: int, *, of_root: bool = False, readable: bool = False
) -> bytes:
    """Return what a file holds that only its owner may read; links are followed, then it is checked.

    Args:
        path: Of a regular file of this user's or of root's.
        what: Begins the messages.
        most_bytes: What is longer cannot be what is meant.
        of_root: Let a file of root's be readable by its group: so systemd shows a credential that it grants
            by an ACL, and Kubernetes a secret.
        readable: It is no secret: others may read it, and not write it.

    Raises:
        Refused: It is something else, somebody else's, open to others, or too long.
        OSError: It cannot be opened or read.
        ValueError: The path is none.
    """
    # not blocking: a FIFO without a writer would hold the program for ever
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Refused(f"{what}: it is no regular file", hint="Give the path of a plain file.")
        if status.st_uid not in {0, os.geteuid()}:
            raise Refused(f"{what}: it belongs to somebody else", hint="Use a file of your own.")
        allowed = stat.S_IRGRP if of_root and status.st_uid == 0 else 0
        if readable and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise Refused(f"{what}: others may write it", hint=f"Type: chmod go-w {path}")
        if not readable and stat.S_IMODE(status.st_mode) & 0o077 & ~allowed:
            raise Refused(f"{what}: others may read or write it", hint=f"Type: chmod 600 {path}")
        raw = os.read(descriptor, most_bytes + 1)
    finally:
        os.close(descriptor)
    if len(raw) > most_bytes:
        raise Refused(f"{what}: it is longer than any such file", hint="Check the path.")
    return raw


def open_own(path: Path, flags: int, what: str) -> int:
    """Return the descriptor of a regular file of this user's, opened with `flags`; no link is followed.

    Raises:
        Refused: It is missing, a link, no regular file or another user's; the message begins with `what`.
    """
    try:
        # Never wait for a writer, should it be a pipe.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        linked = "is a symbolic link" if path.is_symlink() else f"cannot be opened: {error.strerror}"
        raise Refused(f"{what} {linked}") from error
    try:
        _check_own(os.fstat(descriptor), what)
        os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_own(found: os.stat_result, what: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"{what} is no regular file")
    if found.st_uid != os.geteuid():
        raise Refused(f"{what} belongs to another user", hint="do it as the user who ran it")


def what_became(path: Path, mine: os.stat_result) -> str | None:
    """Return what stands at the path of an open file, in words; None where it is that very file."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return "it was moved away" if mine.st_nlink else "it was removed"
    except OSError as error:
        return f"it cannot be looked at: {error.strerror}"
    return None if os.path.samestat(mine, there) else f"{_kind(there.st_mode)} stands in its place"


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "another file"
    return "a folder" if stat.S_ISDIR(mode) else "a symbolic link" if stat.S_ISLNK(mode) else "something else"


def make_private_folder(folder: Path) -> list[Path]:
    """Make a folder and its missing parents, each 0700 and durable; returns those made, inmost first.

    Raises:
        Refused: It cannot be made.
    """
    try:
        missing = [part for part in (folder, *folder.parents) if not part.exists()]
        for part in reversed(missing):
            part.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
            if stat.S_IMODE(part.stat().st_mode) & _PRIVATE_FOLDER != _PRIVATE_FOLDER:
                part.chmod(_PRIVATE_FOLDER)  # a umask can only have taken rights from its owner
            sync_folder(part.parent)
    except OSError as error:
        raise Refused(f"the folder {folder} cannot be made: {error.strerror}") from error
    return missing


@contextmanager
def opened_folder(folder: Path, flags: int = 0) -> Iterator[int]:
    """Give a folder's descriptor, opened with more `flags` of `os.open`; raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; raises OSError."""
    with opened_folder(folder) as descriptor:
        os.fsync(descriptor)
