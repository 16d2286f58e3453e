"""The standard streams of the program: what the screen cannot show changes nothing, a lost result is said.

A terminal may vanish and the disk under a log may be full while requests are on the wire; nothing of that is
a reason to end a run otherwise than it ended. A result is different: whoever reads standard output must not
take nothing, or half of something, for all of it.
"""

import codecs
import io
import os
import sys
from contextlib import suppress
from typing import Final, TextIO

from runner.errors import Refused

__all__ = ["Shielded", "Unwritten", "open_streams"]

_ESCAPED: Final = "bulk-delete-escaped"


class Unwritten(Refused):
    """The result could not be written to standard output."""


class _Wrapped(io.TextIOBase):
    """A text stream with the parts of another one that callers ask for."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        try:
            self._on_terminal = stream.isatty()
        except (OSError, ValueError):
            self._on_terminal = False

    @property
    def encoding(self) -> str:  # type: ignore[override]  # read here, where the base class has a plain attribute
        """The encoding of what is written."""
        return self._stream.encoding or "utf-8"

    def isatty(self) -> bool:
        """Tell whether this was a terminal at the start; one that vanishes does not change how is written."""
        return self._on_terminal

    def fileno(self) -> int:
        """Return the stream's descriptor."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Tell that this is written to."""
        return True


class Shielded(_Wrapped):
    """A stream for people: what cannot be written is dropped, and nobody hears of it."""

    def write(self, text: str) -> int:
        """Write, if that is possible."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written, if that is possible."""
        with suppress(OSError, ValueError):
            self._stream.flush()


class _ForResults(_Wrapped):
    """Standard output: what cannot be written is said, once, unless its reader has left."""

    def write(self, text: str) -> int:
        """Write; raises Unwritten."""
        if text == "":  # click only asks so whether text can be written, and keeps a failure to itself
            return 0
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as error:
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written; raises Unwritten."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        """Drop what waits in the stream and what is still to come: Python would complain at exit, too."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        if isinstance(error, BrokenPipeError):  # `| head`: it has read what it wanted
            return
        why = error.strerror if isinstance(error, OSError) else None
        raise Unwritten(
            f"the result could not be written to standard output: {why or error}",
            hint="make room, or name another place after >, and type the command again",
        ) from error


def open_streams() -> None:
    """Set up the standard streams for the rest of the process; call it once, at the start."""
    _fill_closed()
    codecs.register_error(_ESCAPED, _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPED)
    sys.stdout, sys.stderr = _ForResults(sys.stdout), Shielded(sys.stderr)


def _escape(error: UnicodeError) -> tuple[str, int]:
    r"""Write as `\uXXXX` what an encoding lacks, as JSON does: half a result is none."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)), error.end


def _fill_closed() -> None:
    """Put /dev/null where a standard stream was closed before the start.

    Otherwise the next file opened would get its number, and what is said on standard error would land in it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
