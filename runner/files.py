"""New files and folders that only their owner may read: an audit, a plan, a list of rejects name people.

Keeps the promise that none of them is readable by others for a moment, that no link is followed, and that
nothing is ever written over. It knows nothing of what is in them.
"""

import os
import shutil
from pathlib import Path

from runner.errors import Refused

__all__ = ["copy_private", "create_private", "make_private_folder", "sync_folder", "write_private"]


def create_private(path: Path, *, append: bool = False) -> int:
    """Return the descriptor of a new file, mode 0600 from its first moment, open to read and write.

    Raises:
        FileExistsError: Something stands there, even a dangling link.
        OSError: It cannot be made.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags | (os.O_APPEND if append else 0), 0o600)


def write_private(path: Path, data: bytes) -> None:
    """Write a whole new file; Refused where something stands there already or it cannot be written."""
    try:
        with os.fdopen(create_private(path), "wb") as file:
            file.write(data)
    except OSError as error:
        raise Refused(f"{path}: cannot be written: {error.strerror}", hint="name another file") from error


def copy_private(source: Path, target: Path) -> None:
    """Copy a file of any length to a whole new one; raises Refused as `write_private` does."""
    try:
        with source.open("rb") as given, os.fdopen(create_private(target), "wb") as file:
            shutil.copyfileobj(given, file)
    except OSError as error:
        raise Refused(f"{target}: cannot be written: {error.strerror}", hint="name another file") from error


def make_private_folder(folder: Path) -> list[Path]:
    """Make a folder and its missing parents, each 0700 and durable; returns those made, inmost first.

    Raises:
        Refused: It cannot be made.
    """
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    try:
        for part in reversed(missing):
            part.mkdir(mode=0o700, exist_ok=True)
            sync_folder(part.parent)
    except OSError as error:
        raise Refused(f"the folder {folder} cannot be made: {error.strerror}") from error
    return missing


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
