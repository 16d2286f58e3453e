"""`cluster fetch`: a job's plans and audits as a folder of ordinary files."""

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from runner.audit.manifest import JobManifest
from runner.cluster.database import Connection
from runner.cluster.fetch import fetch_job, mark_fetched
from runner.cluster.jobs import JobRow
from runner.commands.cluster_database import Cluster
from runner.commands.command_call import CommandResult
from runner.errors import Refused, RunnerError
from runner.files import make_private_folder, sync_folder
from runner.invocation import command
from runner.output.cluster_results import ClusterFetchResult
from runner.output.console import Console
from runner.text import many

__all__ = ["fetch"]


def fetch(cluster: Cluster, job: str, out: Path, screen: Console) -> CommandResult[ClusterFetchResult]:
    """Write a job, as it is now, into a folder, which is there once it is whole.

    Raises:
        AuditDamaged: What the database holds is not what was written there.
        Refused: There is no such job, or the folder is not empty or cannot be written.
    """
    _check_free(out)
    target = Path(os.path.abspath(out))  # noqa: PTH100 - a link stays one
    make_private_folder(target.parent)

    async def bring(connection: Connection) -> tuple[JobRow, JobManifest]:
        row, manifest = await _put(connection, job, target)
        try:
            fresh = await mark_fetched(connection, manifest, row)
        except RunnerError as error:
            screen.warn(f"that {job} was fetched could not be noted: {error.message}")
            fresh = False
        if not fresh:
            screen.warn(f"{job} is not at rest, or has changed meanwhile: fetch it again before `forget`")
        return row, manifest

    row, manifest = cluster.run(bring)
    result = ClusterFetchResult(
        **row.names,
        next=command("report", out),
        folder=str(out),
        state=row.state,
        shards=len(manifest.shards),
        records=sum(entry.records for entry in manifest.shards),
        head=manifest.head,
    )
    return CommandResult(result, lambda: _text(result))


def _text(result: ClusterFetchResult) -> str:
    return "\n".join(
        [
            f"{result.folder}: {many(result.shards, 'shard')} of {result.id}, which is {result.state}",
            f"head: {result.head}",
            f"next: {result.next}",
        ]
    )


def _check_free(out: Path) -> None:
    """Raise Refused unless a folder can be put there."""
    hint = "name a folder that is not there yet: nothing is written over"
    try:
        if out.is_symlink() or (out.exists() and not out.is_dir()):
            raise Refused(f"{out} is no folder", hint=hint)
        if out.exists() and any(out.iterdir()):
            raise Refused(f"{out} is not empty", hint=hint)
    except OSError as error:
        raise Refused(f"{out}: {error.strerror}", hint=hint) from error


async def _put(connection: Connection, job: str, target: Path) -> tuple[JobRow, JobManifest]:
    """Fetch into a folder beside `target`, and give it that name when all of it is durable."""
    beside = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}.tmp")
    make_private_folder(beside)
    try:
        found = await fetch_job(connection, job, beside)
        _name(beside, target)
        return found
    finally:
        with suppress(OSError):  # it has its name
            shutil.rmtree(beside)


def _name(beside: Path, target: Path) -> None:
    """Give a folder its name, durable; over an empty folder, and over nothing else."""
    try:
        beside.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise Refused(f"{target}: cannot be written: {error.strerror}", hint="name another folder") from error
