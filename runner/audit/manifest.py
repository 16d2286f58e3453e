"""The manifest of a fetched job, whose folder holds the plans and audits of all its shards.

A job of a cluster is one run in several audits. Keeps the promise that a folder is never silently less than
the job: the manifest names each shard with its plan's digest and the last chain of its audit. It is written
last, so that a folder without it is no job. It knows nothing of what the files say.
"""

import hashlib
import io
import os
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from runner.audit.records import Planned
from runner.errors import AuditDamaged, Refused
from runner.files import create_private, sync_folder

__all__ = [
    "LATE_FOLDER",
    "MANIFEST",
    "JobManifest",
    "JobState",
    "ShardEntry",
    "is_job_folder",
    "is_shard",
    "late_audit",
    "read_manifest",
    "shard_audit",
    "shard_plan",
    "write_manifest",
]

MANIFEST: Final = "job.json"
LATE_FOLDER: Final = "late"
"""Holds what workers said of shards that were theirs no more: kept, and no part of any total."""

JobState = Literal["open", "stopped", "done"]
"""How a job stood when it was fetched: `open` while anything of it may still be sent by itself."""

_MAGIC: Final = b'{"type":"cluster_job",'
_MOST_BYTES: Final = 64 * 1024 * 1024
_SHARD: Final = re.compile(r"shard-[0-9]{4,}\.jsonl")
_Natural = Annotated[int, msgspec.Meta(ge=0)]
_FromOne = Annotated[int, msgspec.Meta(ge=1)]
_Hex = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class ShardEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One shard, as it was fetched.

    Args:
        shard: Its number, from 1.
        plan_sha256: Of its plan's file.
        batches: In its plan.
        phones: In its plan.
        records: Lines of its audit; 0: it never began, and there is no audit.
        head: The chain of the audit's last line; None where there is none.
    """

    shard: _FromOne
    plan_sha256: _Hex
    batches: _Natural
    phones: _Natural
    records: _Natural
    head: _Hex | None

    def __post_init__(self) -> None:
        if (self.head is None) != (self.records == 0):
            raise ValueError(f"shard {self.shard}: an audit has lines and a head, or neither")


class JobManifest(
    msgspec.Struct, tag_field="type", tag="cluster_job", frozen=True, forbid_unknown_fields=True, kw_only=True
):
    """What a fetched job is.

    Args:
        v: The version of this format.
        job: The job's id in the database.
        name: The job's name: that of its plan, and of every `run` record.
        base_url: Where it was sent to.
        run_id: The same in all shards.
        plan_sha256: Of the file of the plan that was submitted.
        state: How the job stood.
        fetched_at: When it was fetched, ISO 8601 with an offset.
        planned: The sums over all shards.
        shards: All of them, in order.
    """

    v: Literal[1] = 1
    job: str
    name: str
    base_url: str
    run_id: str
    plan_sha256: _Hex
    state: JobState
    fetched_at: str
    planned: Planned
    shards: Annotated[tuple[ShardEntry, ...], msgspec.Meta(min_length=1)]

    def __post_init__(self) -> None:
        if datetime.fromisoformat(self.fetched_at).utcoffset() is None:
            raise ValueError("fetched_at has no offset")
        if [entry.shard for entry in self.shards] != list(range(1, len(self.shards) + 1)):
            raise ValueError("its shards are not numbered from 1 on")
        sums = sum(entry.batches for entry in self.shards), sum(entry.phones for entry in self.shards)
        if sums != (self.planned.batches, self.planned.phones):
            raise ValueError("its shards do not add up to what was planned")

    @property
    def head(self) -> str:
        """One value for all evidence: SHA-256, in hex, of each shard's plan digest and head, a line each.

        It is the same whenever the same evidence is fetched; `-` stands for an audit that is not there.
        """
        lines = "".join(f"{entry.plan_sha256} {entry.head or '-'}\n" for entry in self.shards)
        return hashlib.sha256(lines.encode()).hexdigest()


_decode_manifest: Final = msgspec.json.Decoder(JobManifest).decode


def shard_audit(folder: Path, shard: int) -> Path:
    """Return where the audit of a shard stands; its plan stands beside it, as that of any audit."""
    return folder / f"shard-{shard:04d}.jsonl"


def shard_plan(folder: Path, shard: int) -> Path:
    """Return where the plan of a shard stands."""
    return folder / f"shard-{shard:04d}.jsonl.plan"


def late_audit(folder: Path, shard: int) -> Path:
    """Return where the last words stand of workers that were fenced off a shard."""
    return folder / LATE_FOLDER / f"shard-{shard:04d}.jsonl"


def is_job_folder(path: Path) -> bool:
    """Tell whether a folder is a fetched job, be its manifest damaged; a job file may be called so, too."""
    manifest = path / MANIFEST
    if not os.path.lexists(manifest) or not path.is_dir():
        return False
    if os.path.lexists(shard_plan(path, 1)):
        return True
    try:
        with manifest.open("rb") if manifest.is_file() else io.BytesIO() as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def is_shard(audit: Path) -> bool:
    """Tell whether an audit, or a plan, is of a shard in the folder of a fetched job."""
    return _SHARD.match(audit.name) is not None and is_job_folder(audit.parent)


def read_manifest(folder: Path) -> JobManifest:
    """Return the manifest of a fetched job.

    Raises:
        AuditDamaged: It is none, not whole, of another version, or its own numbers do not add up.
        Refused: It cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        raise Refused(
            f"{path} is no regular file, or longer than any manifest", hint="name the folder of a fetched job"
        )
    try:
        return _decode_manifest(path.read_bytes())
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        hint = "fetch the job again, into a new folder"
        raise AuditDamaged(str(path), 0, f"no manifest of a fetched job: {error}", hint=hint) from error


def write_manifest(folder: Path, manifest: JobManifest) -> None:
    """Write the manifest, durable and private, when all that it names is durable.

    Raises:
        Refused: One stands there already, or it cannot be written.
    """
    path = folder / MANIFEST
    try:
        with os.fdopen(create_private(path), "wb") as file:
            file.write(msgspec.json.encode(manifest) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(folder)
    except OSError as error:
        raise Refused(
            f"{path}: cannot be written: {error.strerror}", hint="fetch into a new folder"
        ) from error
