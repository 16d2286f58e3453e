"""A shard's private folder on a worker's disk: it names phone numbers, and so none outlives its worker long.

Keeps the promise that what a killed worker left is removed by the next one that starts here, and that no
folder is which somebody still uses.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from runner.files import opened_folder

__all__ = ["clear_abandoned", "private_folder"]

_PREFIX: Final = "bulk-delete-shard-"


@contextmanager
def private_folder() -> Iterator[Path]:
    """Give a new folder that is gone afterwards; raises OSError where there is no room for one."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name, opened_folder(Path(name)) as folder:
        # Where the file system knows no locks, nobody else gets one either, and nothing is cleared.
        with suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield Path(name)


def clear_abandoned() -> int:
    """Remove what workers of this user left behind that were killed; return how many folders."""
    cleared = 0
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # it is somebody else's, or in use, or gone
            cleared += _cleared(path)
    return cleared


def _cleared(path: Path) -> bool:
    with opened_folder(path, os.O_NOFOLLOW) as folder:
        if os.fstat(folder).st_uid != os.geteuid() or not any(path.iterdir()):  # empty: it is being made
            return False
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path)
    return True
