"""A message to a command of the operator's: started, given its standard input, and killed when time is up."""

import asyncio
import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from typing import IO, Final

from runner.tell.post import Unsent

__all__ = ["run_command"]

_OWN_VARIABLES: Final = "BULK_DELETE_"
"""A command is given none of these: one of them is the token."""
_LOOK_EVERY_S: Final = 0.02
_MOST_BYTES: Final = 200


async def run_command(command: tuple[str, ...], given: bytes) -> None:
    """Run a command with this on its standard input; cancelled, it leaves nothing of it running.

    Raises:
        Unsent: It cannot be started, or ended with another status than 0.
    """
    # Files, not pipes: nobody waits for what the command leaves running behind it.
    with tempfile.TemporaryFile() as read, tempfile.TemporaryFile() as said:
        read.write(given)
        read.seek(0)
        process = _started(command, read, said)
        try:
            while process.poll() is None:  # noqa: ASYNC110 - no event tells of it without a thread that stays
                await asyncio.sleep(_LOOK_EVERY_S)
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if process.returncode:
            said.seek(0)
            words = said.read(_MOST_BYTES).decode(errors="replace").strip()
            raise Unsent(f"it ended with {process.returncode}{f': {words}' if words else ''}")


def _started(command: tuple[str, ...], read: IO[bytes], said: IO[bytes]) -> "subprocess.Popen[bytes]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_OWN_VARIABLES)}
    try:
        return subprocess.Popen(  # noqa: S603 - the operator's own words, and no shell
            command,
            stdin=read,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise Unsent(f"it cannot be started: {getattr(error, 'strerror', None) or error}") from error
