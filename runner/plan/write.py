"""Writing a plan: a private file that is whole when it is there, and that takes nothing else's place.

A plan names phones in full, so that its file is readable by its owner only from the moment it exists.
"""

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from runner.errors import Refused
from runner.files import already_there, create_private, refuse_existing, sync_folder
from runner.plan.header import MAX_HEADER_BYTES, PlanHeader

__all__ = ["DIGEST_BYTES", "digest_field", "new_plan_file", "write_plan"]

_CHUNK: Final = 1 << 20
_DIGEST_HEX: Final = 64


def digest_field(digest: bytes) -> bytes:
    """Return the end of a header, from behind its last field on; `digest` is in hex."""
    return b',"digest":"%b"}\n' % digest


DIGEST_BYTES: Final = len(digest_field(b"0" * _DIGEST_HEX))
"""Of what `digest_field` returns."""


def write_plan(path: Path, header: PlanHeader, body: Iterable[bytes]) -> None:
    """Write a plan, durable and mode 0600; when this returns it is whole, before that it does not exist.

    Args:
        path: Where; nothing may be there.
        header: With the totals of `body`.
        body: The batch lines in `seq` order, in chunks of any size.

    Raises:
        Refused: Something is there already, or the file cannot be written.
    """
    head = header.to_json()[:-1]
    if len(head) + DIGEST_BYTES > MAX_HEADER_BYTES:
        raise Refused("the plan's header is too long to be read again", hint="Choose longer slices.")
    with new_plan_file(path) as file:
        digest = hashlib.sha256(head)
        file.write(head + digest_field(b"0" * _DIGEST_HEX))
        for chunk in body:
            digest.update(chunk)
            file.write(chunk)
        file.seek(len(head))
        file.write(digest_field(digest.hexdigest().encode()))


@contextmanager
def new_plan_file(path: Path) -> Iterator[BinaryIO]:
    """Give a private file beside `path` and, where the block ends well, put it there whole and durable.

    Raises:
        Refused: Something is there already, or the file cannot be written.
    """
    beside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")
    try:
        refuse_existing(path)
        with os.fdopen(create_private(beside), "w+b", buffering=_CHUNK) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _put(beside, path)
        sync_folder(path.parent)
    except FileExistsError as error:
        raise already_there(path) from error
    except OSError as error:
        hint = "Choose another path, or make room on the disk."
        raise Refused(f"{path}: cannot be written: {error.strerror}", hint=hint) from error
    finally:
        with suppress(OSError):  # gone already, or never there; the error that matters is under way
            beside.unlink()


def _put(beside: Path, path: Path) -> None:
    """Give a finished file its name; a link fails where that is taken, which a rename would overwrite."""
    try:
        os.link(beside, path, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: claim the name first, then rename over the claim
        os.close(create_private(path))
        beside.replace(path)
