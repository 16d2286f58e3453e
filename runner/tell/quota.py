"""How many messages a robot was sent of late, by all processes of this user together.

DingTalk, for one, falls silent for ten minutes where more come than it allows. So each message is noted in a
file of the state folder before it leaves; what is named there is a time and nothing else.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import orjson

from runner.files import make_private_folder

__all__ = ["take_turn"]

_MOST_BYTES = 64 * 1024
_HELD_S = 0.05
"""Another process looks at the file just now; none takes longer."""


def take_turn(
    folder: Path, address: str, limits: Sequence[tuple[int, float]], now_s: float | None = None
) -> float:
    """Note one message to an address; return 0.0, or the seconds until one may be noted.

    Args:
        folder: Where states are kept.
        address: Of the robot; only its hash is written.
        limits: How many messages in how many seconds, each.
        now_s: Unix time; None: the wall's.

    Raises:
        OSError: The file cannot be kept.
    """
    make_private_folder(folder)
    name = hashlib.sha256(address.encode()).hexdigest()[:16]
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(folder / f"messages-{name}", flags, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _HELD_S
        now_s = time.time() if now_s is None else now_s
        longest_s = max(window_s for _, window_s in limits)
        sent = sorted(at for at in _read(descriptor) if now_s - longest_s < at <= now_s)
        wait_s = max((_wait(sent, most, window_s, now_s) for most, window_s in limits), default=0.0)
        if not wait_s:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, orjson.dumps([*sent, now_s]), 0)
        return wait_s
    finally:
        os.close(descriptor)


def _wait(sent: Sequence[float], most: int, window_s: float, now_s: float) -> float:
    """Return how long until fewer than `most` were sent in the last `window_s` seconds."""
    return max(0.0, sent[-most] + window_s - now_s) if len(sent) >= most else 0.0


def _read(descriptor: int) -> list[float]:
    """Return the times of a file; one that a crash left half written says nothing."""
    with suppress(orjson.JSONDecodeError):
        times = orjson.loads(os.pread(descriptor, _MOST_BYTES, 0))
        if isinstance(times, list):
            return [float(at) for at in times if isinstance(at, int | float)]
    return []
