"""A job out of the database, as ordinary files: each shard's plan and audit, and the manifest of all of them.

Keeps the promise that a folder is one moment of the job, whole: everything is read of one snapshot, every
piece must be there, plans and chains are proved on the way, and the manifest is written last.
"""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from runner.audit.manifest import JobManifest, ShardEntry, late_audit, shard_audit, shard_plan, write_manifest
from runner.audit.reader import AuditLines
from runner.audit.records import Planned
from runner.cluster.database import Connection, ask, transaction
from runner.cluster.jobs import JobRow, ShardRow, find_job, shards_of
from runner.cluster.shard_rows import PIECES
from runner.errors import AuditDamaged, Refused
from runner.files import create_private, make_private_folder, sync_folder
from runner.plan.file import read_plan

__all__ = ["fetch_job", "has_late_words", "mark_fetched"]

_AT_A_TIME: Final = 32
_LOST: Final = "something else than bulk-delete wrote into the database: restore it from a backup"

_What = Literal["plan", "audit"]


async def fetch_job(connection: Connection, job: str, folder: Path) -> tuple[JobRow, JobManifest]:
    """Write a job, as it is now, into an empty private folder, durable.

    Raises:
        AuditDamaged: A piece is missing, a plan is not the one that was placed, or a chain is broken.
        Refused: There is no such job, or a file cannot be written.
    """
    async with transaction(connection):
        await ask(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        row = await find_job(connection, job)
        ((now,),) = await ask(connection, "SELECT now()")
        shards = await shards_of(connection, job)
        entries = [await _fetch_shard(connection, row, shard, folder) for shard in shards]
    manifest = _manifest(row, now, tuple(entries))
    write_manifest(folder, manifest)
    return row, manifest


def _manifest(row: JobRow, now: datetime, entries: tuple[ShardEntry, ...]) -> JobManifest:
    return JobManifest(
        job=row.job,
        name=row.name,
        base_url=row.base_url,
        run_id=row.run_id,
        plan_sha256=row.plan_sha256,
        state="open" if row.state == "stopping" else row.state,
        fetched_at=now.astimezone(UTC).isoformat(),
        planned=Planned(
            batches=sum(entry.batches for entry in entries), phones=sum(entry.phones for entry in entries)
        ),
        shards=entries,
    )


async def _fetch_shard(connection: Connection, job: JobRow, shard: ShardRow, folder: Path) -> ShardEntry:
    """Write a shard's plan and audit, and what workers said of it when it was theirs no more."""
    name = f"shard {shard.shard} of {job.job}"
    plan, audit = shard_plan(folder, shard.shard), shard_audit(folder, shard.shard)
    await _write(plan, _pieces(connection, "plan", (job.job, shard.shard), name))
    _check_plan(plan, shard, name)
    records, head = 0, None
    if shard.pieces:
        await _write(audit, _pieces(connection, "audit", (job.job, shard.shard), name, shard.pieces))
        records, head = _proved(audit, name)
    await _write_late(connection, job.job, shard.shard, folder)
    return ShardEntry(
        shard=shard.shard,
        plan_sha256=shard.plan_sha256,
        batches=shard.batches,
        phones=shard.phones,
        records=records,
        head=head,
    )


async def _pieces(
    connection: Connection, what: _What, of: tuple[str, int], name: str, count: int = 1
) -> AsyncIterator[bytes]:
    """Yield a shard's pieces, at least so many, some at a time; raises AuditDamaged where one is missing."""
    last = 0
    while rows := await ask(connection, PIECES[what], (*of, last, _AT_A_TIME)):
        for piece, lines in rows:
            last += 1
            if piece != last:
                raise _missing(name, what, last)
            yield lines
    if last < count:
        raise _missing(name, what, last + 1)


def _missing(name: str, what: _What, piece: int) -> AuditDamaged:
    return AuditDamaged(name, 0, f"piece {piece} of its {what} is missing", hint=_LOST)


async def _write(path: Path, pieces: AsyncIterator[bytes]) -> None:
    """Write a private file, durable when this returns."""
    try:
        with os.fdopen(create_private(path), "wb") as file:
            async for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        hint = "make room, or fetch into another folder"
        raise Refused(f"{path.parent}: cannot be written: {error.strerror}", hint=hint) from error


def _check_plan(path: Path, shard: ShardRow, name: str) -> None:
    try:
        plan = read_plan(path)
    except AuditDamaged as error:
        raise AuditDamaged(f"the plan of {name}", error.line, error.what, hint=_LOST) from None
    if (plan.sha256, plan.header.totals.batches) != (shard.plan_sha256, shard.batches):
        raise AuditDamaged(f"the plan of {name}", 0, "it is not the one that was placed", hint=_LOST)


def _proved(path: Path, name: str) -> tuple[int, str]:
    """Return how many lines an audit has, and the chain of the last."""
    lines = AuditLines(path, verify_chain=True)
    try:
        for _ in lines:
            pass
    except AuditDamaged as error:
        raise AuditDamaged(f"the audit of {name}", error.line, error.what, hint=_LOST) from None
    return lines.number, lines.chain


async def _write_late(connection: Connection, job: str, shard: int, folder: Path) -> None:
    rows = await ask(
        connection,
        "SELECT lines FROM late_pieces WHERE job = %s AND shard = %s ORDER BY epoch, piece",
        (job, shard),
    )

    async def said() -> AsyncIterator[bytes]:
        for (lines,) in rows:
            yield lines

    if rows:
        path = late_audit(folder, shard)
        make_private_folder(path.parent)
        await _write(path, said())
        sync_folder(path.parent)


async def mark_fetched(connection: Connection, manifest: JobManifest, row: JobRow) -> bool:
    """Note that a job was fetched as it is; False: it has changed since, or will."""
    if not row.at_rest:
        return False
    # A job that was gone on with meanwhile has other epochs, should it be at rest again.
    marked = await ask(
        connection,
        "UPDATE jobs SET fetched_at = %s WHERE job = %s AND state = %s"
        " AND (SELECT sum(epoch) FROM shards WHERE shards.job = jobs.job) = %s RETURNING job",
        (datetime.fromisoformat(manifest.fetched_at), row.job, row.state, row.epochs),
    )
    return bool(marked)


async def has_late_words(connection: Connection, row: JobRow) -> bool:
    """Tell whether a worker said something of a shard that was its own no more, after the job was fetched."""
    rows = await ask(
        connection,
        "SELECT FROM late_pieces WHERE job = %s AND at > %s LIMIT 1",
        (row.job, row.fetched_at),
    )
    return bool(rows)
