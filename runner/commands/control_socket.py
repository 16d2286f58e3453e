"""Where a run that is under way can be spoken to: a socket that only its user can reach.

Keeps the promise that nobody else steers a run: the socket lies in the state folder, is its owner's alone,
and the kernel says who speaks over it. It is found by the audit's file itself, so that no path, however long
or by which link, makes a difference.
"""

import hashlib
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from runner.errors import Refused
from runner.files import make_private_folder, opened_folder
from runner.locks import state_directory

__all__ = ["ask", "is_own_peer", "listen", "socket_of"]

_LONGEST_NAME: Final = 100
"""Bytes that a socket's path may have everywhere (Linux takes 107, macOS 103)."""
_WAITING: Final = 16
"""Callers that the kernel lets wait."""
_AGAIN_S: Final = 0.05
_BLOCK: Final = 1 << 16
_LONGEST_ANSWER: Final = 1 << 18
_CREDENTIALS: Final = struct.Struct("3i")
"""Process, user and group."""


def socket_of(audit: Path) -> Path:
    """Return where the run of an audit listens, if it does; raises OSError where there is no such audit."""
    found = audit.stat()
    name = hashlib.sha256(f"{found.st_dev}:{found.st_ino}".encode()).hexdigest()[:16]
    return state_directory() / f"{name}.sock"


def listen(path: Path) -> socket.socket:
    """Return a listening socket at that path, for the run that holds the audit's lock.

    Whatever stands there was left by a run that was killed, and is replaced; others of the kind are removed.

    Raises:
        OSError: It cannot be made.
        Refused: Its folder cannot be made, or others may write there.
    """
    make_private_folder(path.parent)
    folder = path.parent.stat()
    if folder.st_uid != os.geteuid() or folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Refused(f"others may write in the folder {path.parent}")
    _remove_dead(path.parent)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        with _short_name(draft) as name:
            listener.bind(name)
        draft.chmod(stat.S_IRUSR | stat.S_IWUSR)
        listener.listen(_WAITING)
        draft.replace(path)  # not sooner: a socket that has its name and listens not is a dead one
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_dead(folder: Path) -> None:
    """Remove the sockets of runs that were killed: nobody listens there, and the kernel says so at once."""
    for path in filter(Path.is_socket, folder.glob("*.sock")):
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            found = path.lstat()
            try:
                with _short_name(path) as name:
                    connection.connect(name)
            except ConnectionRefusedError:
                if os.path.samestat(path.lstat(), found):  # and not that of a run which began just now
                    path.unlink()


def ask(path: Path, line: bytes, *, timeout_s: float) -> bytes:
    """Say one line to the run that listens there, and return its answer, whole.

    Raises:
        FileNotFoundError, ConnectionRefusedError: Nobody listens.
        TimeoutError: It did not answer in time.
        OSError: It cannot be reached, or another user listens there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        with _short_name(path) as name:
            _connect(connection, name, time.monotonic() + timeout_s)
        if not is_own_peer(connection):
            raise PermissionError("another user listens there")
        connection.sendall(line)
        answer = b""
        while len(answer) < _LONGEST_ANSWER and (block := connection.recv(_BLOCK)):
            answer += block
    return answer


def _connect(connection: socket.socket, name: str, until_s: float) -> None:
    """Connect, after others if many are waiting: the kernel then says "again" at once."""
    while True:
        try:
            return connection.connect(name)
        except BlockingIOError:
            if time.monotonic() > until_s:
                raise TimeoutError from None
            time.sleep(_AGAIN_S)


def is_own_peer(connection: socket.socket) -> bool:
    """Tell whether who is at the other end runs as this process's user."""
    if not hasattr(socket, "SO_PEERCRED"):  # not on Linux: there the folder alone keeps others out
        return True
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(told)[1] == os.geteuid())


@contextmanager
def _short_name(path: Path) -> Iterator[str]:
    """Give a name of a socket that is short enough for the kernel: a long one goes by its open folder."""
    if len(os.fsencode(path)) <= _LONGEST_NAME:
        yield str(path)
        return
    with opened_folder(path.parent) as folder:
        yield f"/proc/self/fd/{folder}/{path.name}"
