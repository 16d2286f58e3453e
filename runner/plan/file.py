"""The plan file: one header line and one line a batch, written once and verified whole before it is believed.

Keeps the promise that exactly what was confirmed is applied: a plan that was edited, cut or torn is refused
before anything is sent, and each batch that comes out of it has passed `Batch`'s own rules again. A plan
names phones in full, so that its file is private from the moment it exists, and it never takes another
file's place. Nothing here decides what is in a plan.
"""

import hashlib
import os
import re
import secrets
import stat
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

import orjson

from runner.errors import AuditDamaged, Refused
from runner.files import create_private, sync_folder
from runner.model import MAX_PHONES, Batch, Target
from runner.plan.header import (
    MAX_HEADER_BYTES,
    PlanHeader,
    PlanSource,
    PlanTotals,
    PlanWindow,
    Reject,
)

__all__ = [
    "PlanFile",
    "PlanHeader",
    "PlanSource",
    "PlanTotals",
    "PlanWindow",
    "Reject",
    "batch_prefix",
    "copy_plan",
    "is_plan",
    "read_plan",
    "refuse_existing",
    "write_plan",
]

_MAGIC: Final = b'{"type":"plan",'
_DIGEST_KEY: Final = b',"digest":"'
_DIGEST_END: Final = b'"}\n'
_DIGEST_HEX: Final = 64
_DIGEST_FIELD: Final = len(_DIGEST_KEY) + _DIGEST_HEX + len(_DIGEST_END)
_CHUNK: Final = 1 << 20
_MAX_LINE_BYTES: Final = 1 << 20
"""Of one batch: 100 opaque values of 512 characters, escaped, with room to spare."""
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
_PHONE_KEY: Final = b',"phone":'
_HEX: Final = re.compile(rb"[0-9a-f]{64}")
_ALTERED: Final = "Plan again: a plan is applied exactly as it was written, or not at all."


def is_plan(path: Path) -> bool:
    """Tell by its first bytes whether a file is a plan; False for what cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except (OSError, ValueError):
        return False


# ---- writing ------------------------------------------------------------------------------------------


def batch_prefix(target: Target) -> bytes:
    """Return what stands between the `seq` and the phones of every batch line of a target."""
    fields: dict[str, object] = {"user_id": target.user_id}
    if target.created_at is not None:
        fields["created_at"] = target.created_at
    if target.encryption:
        fields["encryption"] = True
    if target.delete_window:
        fields["delete_window"] = True
    return b"," + orjson.dumps(fields)[1:-1]


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
    if len(head) + _DIGEST_FIELD > MAX_HEADER_BYTES:
        raise Refused("the plan's header is too long to be read again", hint="Choose longer slices.")
    with _new_file(path) as file:
        digest = hashlib.sha256(head)
        file.write(head + _DIGEST_KEY)
        digest_at = file.tell()
        file.write(b"0" * _DIGEST_HEX + _DIGEST_END)
        for chunk in body:
            digest.update(chunk)
            file.write(chunk)
        file.seek(digest_at)
        file.write(digest.hexdigest().encode())


def copy_plan(plan: "PlanFile", target: Path) -> "PlanFile":
    """Copy a verified plan byte for byte to a new private file (0600), and return it there.

    Raises:
        AuditDamaged: It is no longer the file that was verified.
        Refused: `target` exists, or one of them cannot be read or written.
    """
    whole = hashlib.sha256()
    with _opened(plan.path) as original, _new_file(target) as file:
        while chunk := original.read(_CHUNK):
            whole.update(chunk)
            file.write(chunk)
        if whole.hexdigest() != plan.sha256:
            raise AuditDamaged(str(plan.path), 0, "it was changed after it was verified", hint=_ALTERED)
    with _opened(target) as file:
        return replace(plan, path=target, _identity=_identity(file))


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Give a private file beside `path` and, where the block ends well, put it there whole."""
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
        raise _exists(path) from error
    except OSError as error:
        hint = "Choose another path, or make room on the disk."
        raise Refused(f"{path}: cannot be written: {error.strerror}", hint=hint) from error
    finally:
        with suppress(OSError):  # gone already, or never there; the error that matters is under way
            beside.unlink()


def refuse_existing(path: Path) -> None:
    """Raise Refused where something stands already, even a dangling link."""
    if os.path.lexists(path):
        raise _exists(path)


def _exists(path: Path) -> Refused:
    return Refused(f"{path} exists already", hint="Choose another path: a plan never takes a file's place.")


def _put(beside: Path, path: Path) -> None:
    """Give a finished file its name; a link fails where that is taken, which a rename would overwrite."""
    try:
        os.link(beside, path, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: claim the name first, then rename over the claim
        os.close(create_private(path))
        beside.replace(path)


# ---- reading ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan that was found whole.

    Args:
        path: Where it is.
        header: Its first line.
        sha256: Of the whole file, in hex: the audit's `plan_sha256`.
        size: In bytes.
        mtime_s: When the file was last changed, in seconds since 1970.
        sizes: The number of phones of each batch, a byte each, in `seq` order.
    """

    path: Path
    header: PlanHeader
    sha256: str
    size: int
    mtime_s: float
    sizes: bytes
    _identity: tuple[int, ...]

    def phones_of(self, seq: int) -> int:
        """Return how many phones a batch has, 0 where it is a window; IndexError where there is none."""
        if seq < 1:
            raise IndexError(seq)
        return self.sizes[seq - 1]

    def batches(self, wanted: Callable[[int], bool] | None = None) -> Iterator[Batch]:
        """Yield the batches in `seq` order, one in memory at a time.

        Args:
            wanted: Yields only the batches for whose `seq` this is true; the others are not even parsed.

        Raises:
            AuditDamaged: The file is another one than was verified, or was changed since.
        """
        with _opened(self.path) as file:
            if _identity(file) != self._identity:
                raise AuditDamaged(str(self.path), 0, "it was changed after it was verified", hint=_ALTERED)
            file.readline()
            lines = _BatchLines()
            for seq in range(1, self.header.totals.batches + 1):
                line = file.readline(_MAX_LINE_BYTES)
                if wanted is None or wanted(seq):
                    try:
                        target, phones = lines.parse(line, seq)
                        batch = Batch(seq, target, tuple(phones))
                    except ValueError as error:
                        raise AuditDamaged(str(self.path), seq + 1, str(error), hint=_ALTERED) from error
                    yield batch

    @contextmanager
    def lookup(self) -> Iterator[Callable[[int], Batch]]:
        """Give what returns a batch by its `seq`, in any order; it takes 8 bytes a batch.

        Raises:
            AuditDamaged: As `batches` does, or there is no such batch.
        """
        with _opened(self.path) as file:
            if _identity(file) != self._identity:
                raise AuditDamaged(str(self.path), 0, "it was changed after it was verified", hint=_ALTERED)
            starts = array("Q")
            while file.readline():
                starts.append(file.tell())
            lines = _BatchLines()

            def find(seq: int) -> Batch:
                try:
                    file.seek(starts[seq - 1])
                    target, phones = lines.parse(file.readline(_MAX_LINE_BYTES), seq)
                    return Batch(seq, target, tuple(phones))
                except (ValueError, IndexError) as error:
                    raise AuditDamaged(str(self.path), seq + 1, str(error), hint=_ALTERED) from error

            yield find


def read_plan(path: Path) -> PlanFile:
    """Verify a whole plan: its digest, its header, and every batch, in bounded memory.

    Raises:
        AuditDamaged: It is no plan, of another version, altered, cut or torn; with the line where that shows.
        Refused: It cannot be read.
    """
    with _opened(path) as file:
        identity = _identity(file)
        status = os.fstat(file.fileno())
        first = file.readline(MAX_HEADER_BYTES)
        if not first.startswith(_MAGIC):
            raise AuditDamaged(str(path), 1, "this is no plan", hint="A plan is made by: plan JOB --out FILE")
        header, said = _parse_header(path, first)
        whole, digest = hashlib.sha256(first), hashlib.sha256(first[:-_DIGEST_FIELD])
        check = _BodyCheck(path)
        while chunk := file.read(_CHUNK):
            whole.update(chunk)
            digest.update(chunk)
            check.feed(chunk)
        check.end(header)
        if digest.hexdigest().encode() != said:
            raise AuditDamaged(
                str(path), 0, "it was altered: the digest is of another content", hint=_ALTERED
            )
        if _identity(file) != identity:
            raise AuditDamaged(str(path), 0, "it was changed while it was read", hint=_ALTERED)
    return PlanFile(
        path, header, whole.hexdigest(), status.st_size, status.st_mtime, bytes(check.sizes), identity
    )


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}", hint="Check the path of the plan.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refused(f"{path}: no regular file", hint="Check the path of the plan.")
    with os.fdopen(descriptor, "rb", buffering=_CHUNK) as file:
        yield file


def _identity(file: BinaryIO) -> tuple[int, ...]:
    status = os.fstat(file.fileno())
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _parse_header(path: Path, line: bytes) -> tuple[PlanHeader, bytes]:
    """Return the header and the digest that stands at its end."""
    said = line[-_DIGEST_FIELD:].removeprefix(_DIGEST_KEY).removesuffix(_DIGEST_END)
    if not _HEX.fullmatch(said):
        raise AuditDamaged(str(path), 1, "the header is cut or has no digest", hint=_ALTERED)
    try:
        return PlanHeader.from_json(orjson.loads(line)), said
    except (ValueError, RecursionError) as error:
        raise AuditDamaged(str(path), 1, f"the header: {error}", hint=_ALTERED) from error


class _BatchLines:
    """Batch lines to targets and phones; a line passes only in the very form in which it is written."""

    def __init__(self) -> None:
        self._prefix = b""
        self._target: Target | None = None

    def parse(self, line: bytes, seq: int) -> tuple[Target, list[str]]:
        """Return what a line says.

        Raises:
            ValueError: It is not the line that stands for one batch with this `seq`.
        """
        head = b'{"seq":%d' % seq
        if not (line.startswith(head + b",") and line.endswith(b"}\n")):
            raise ValueError("no whole batch with the next seq")
        prefix, has_phones, phones = line[len(head) : -2].partition(_PHONE_KEY)
        target = self._target if prefix == self._prefix else None
        if target is None:
            target = _parse_target(prefix)
            self._prefix, self._target = prefix, target
        if target.delete_window == bool(has_phones):
            raise ValueError("a batch has phones, or deletes a window, never both or neither")
        return target, _parse_phones(phones) if has_phones else []


def _parse_target(prefix: bytes) -> Target:
    """Return the target of `batch_prefix`."""
    fields = orjson.loads(b"{" + prefix[1:] + b"}")
    created_at = fields.get("created_at")
    if created_at is not None and not (
        type(created_at) is list
        and len(created_at) == 2
        and all(type(end) is str and _TIME.fullmatch(end) for end in created_at)
    ):
        raise ValueError("created_at is no pair of times")
    if type(fields.get("user_id")) is not str:
        raise ValueError("there is no user_id")
    target = Target(
        fields["user_id"],
        None if created_at is None else (created_at[0], created_at[1]),
        encryption=fields.get("encryption") is True,
        delete_window=fields.get("delete_window") is True,
    )
    if batch_prefix(target) != prefix:
        raise ValueError("a field that no batch has, or in a form that no plan has")
    return target


def _parse_phones(raw: bytes) -> list[str]:
    phones = orjson.loads(raw)
    if type(phones) is not list or not 1 <= len(phones) <= MAX_PHONES:
        raise ValueError("a batch has 1 to 100 phones")
    try:
        "".join(phones)
    except TypeError:
        raise ValueError("a phone that is no text") from None
    distinct = set(phones)
    if len(distinct) != len(phones) or "" in distinct:
        raise ValueError("a phone is empty or stands twice in one batch")
    if orjson.dumps(phones) != raw:
        raise ValueError("phones in a form that no plan has")
    return phones


class _BodyCheck:
    """Batch lines as they come out of the file, in chunks; knows at the end whether the totals are true."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = _BatchLines()
        self._rest = b""
        self.sizes = bytearray()
        self._phones = 0
        self._windows: dict[int, Target] = {}

    def feed(self, chunk: bytes) -> None:
        """Check every line that ends in this chunk."""
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            self._line(line + b"\n")
        if len(self._rest) > _MAX_LINE_BYTES:
            raise self._damaged("a line that is longer than any batch")

    def end(self, header: PlanHeader) -> None:
        """Hold the header's totals against what was seen."""
        totals = header.totals
        if self._rest:
            raise self._damaged("the last line is cut")
        seen = (len(self.sizes), self._phones, len(self._windows))
        if seen != (totals.batches, totals.unique, totals.windows):
            raise AuditDamaged(
                str(self._path), 0, "the header's totals are not those of the batches", hint=_ALTERED
            )
        # Only what the header says of a window is counted by the listing and held against `max_rows`.
        said = [
            (w.seq, Target(w.user_id, w.created_at, w.encryption, delete_window=True)) for w in header.windows
        ]
        if dict(said) != self._windows or any(self._windows[seq] != target for seq, target in said):
            raise AuditDamaged(
                str(self._path), 0, "the header's windows are not those of the batches", hint=_ALTERED
            )

    def _line(self, line: bytes) -> None:
        try:
            target, phones = self._lines.parse(line, len(self.sizes) + 1)
        except ValueError as error:
            raise self._damaged(str(error)) from error
        if target.delete_window:
            self._windows[len(self.sizes) + 1] = target
        elif self._windows:
            raise self._damaged("phones behind a window: windows come last")
        self.sizes.append(len(phones))
        self._phones += len(phones)

    def _damaged(self, what: str) -> AuditDamaged:
        return AuditDamaged(str(self._path), len(self.sizes) + 2, what, hint=_ALTERED)
