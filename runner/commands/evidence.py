"""What people name when they speak of a run: an audit, its plan beside it, or the folder of a fetched job.

Owns whether evidence belongs together: a plan is the audit's own, and a shard is the one that the manifest
names, whole. Nothing here sends, and nothing is repaired.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runner.access import origin_of
from runner.audit.edges import moment
from runner.audit.fold import Feed, Fold, Tallies, fold_audit, take_lines
from runner.audit.manifest import (
    LATE_FOLDER,
    MANIFEST,
    JobManifest,
    ShardEntry,
    is_job_folder,
    is_shard,
    read_manifest,
    shard_audit,
    shard_plan,
)
from runner.audit.reader import read_first
from runner.audit.records import Planned, RunRecord, SummaryRecord
from runner.errors import AuditDamaged, Refused, RunnerError
from runner.invocation import command
from runner.output.fetched_job import GOES_ON
from runner.output.folded_run import FoldedAudit, FoldedRun
from runner.plan.file import PlanFile, read_plan

__all__ = [
    "NamedRun",
    "check_is_plan_of",
    "find_plan",
    "find_run",
    "fold_run",
    "fold_shard",
    "is_audit",
    "plan_beside",
    "read_plan_beside",
    "refuse_shard",
    "strangers_in",
]

_FETCH_AGAIN: Final = "fetch the job again, into a new folder"


@dataclass(frozen=True, slots=True)
class NamedRun:
    """A run as somebody named it.

    Args:
        path: Its audit, or the folder of a fetched job.
        manifest: Of a fetched job.
    """

    path: Path
    manifest: JobManifest | None = None

    def audits(self) -> Iterator[Path]:
        """Yield where its audits stand; of a job also those that are still to come."""
        if self.manifest is None:
            yield self.path
        else:
            yield from (shard_audit(self.path, entry.shard) for entry in self.manifest.shards)

    def start(self) -> str | None:
        """Return when the first shard of a job began; None: none has, or it is no job.

        Raises:
            AuditDamaged: An audit does not say.
        """
        if self.manifest is None:
            return None
        firsts = ((audit, read_first(audit)) for audit in self.audits() if audit.exists())
        begun = [(_moment(run, str(audit)), run.at) for audit, run in firsts if run is not None]
        return min(begun)[1] if begun else None


def find_run(path: Path) -> NamedRun:
    """Return what run a path names.

    Raises:
        AuditDamaged: It is the folder of a job whose manifest is not what was written.
        Refused: The manifest cannot be read, or it is another folder.
    """
    if is_job_folder(path):
        return NamedRun(path, read_manifest(path))
    if path.is_dir():
        raise Refused(f"{path} is a folder, and no fetched job", hint="name an audit in it, or see `status`")
    if path.name == MANIFEST and is_job_folder(path.parent):
        raise Refused(f"{path} is the manifest of a fetched job", hint=f"name its folder: {path.parent}")
    return NamedRun(path)


def fold_run(run: NamedRun, *, own: bool = False, feed: Feed = take_lines) -> FoldedRun:
    """Fold all audits of a run, their chains proved, with the plans beside them; in memory as one audit.

    Args:
        run: Whose.
        own: Refuse links, and files of another user's.
        feed: Takes the lines of each audit in.

    Raises:
        Refused: A file cannot be read, or is no audit.
        AuditDamaged: An audit or a plan is not what was written, or a shard not what was fetched.
    """
    if run.manifest is not None:
        tallies = Tallies()
        parts = (fold_shard(run, entry, tallies, own=own, feed=feed) for entry in run.manifest.shards)
        return FoldedRun(run.path, tuple(parts), run.manifest)
    plan = find_plan(run.path)
    phones_of = None if plan is None else plan.phones_of
    fold = fold_audit(run.path, verify_chain=True, phones_of=phones_of, own=own, feed=feed)
    return FoldedRun.of(run.path, fold, plan)


def fold_shard(
    run: NamedRun, entry: ShardEntry, tallies: Tallies, *, own: bool = False, feed: Feed = take_lines
) -> FoldedAudit:
    """Fold one shard of a fetched job as `fold_run` does, and hold it against the manifest.

    Raises:
        Refused: As `fold_run` does.
        AuditDamaged: As `fold_run` does.
    """
    assert run.manifest is not None  # noqa: S101 - only a job has shards
    audit, plan = shard_audit(run.path, entry.shard), _shard_plan(run.path, entry)
    if entry.head is None:
        if os.path.lexists(audit):
            raise AuditDamaged(str(audit), 0, "the shard had not begun when the job was fetched")
        planned = Planned(batches=entry.batches, phones=entry.phones)
        waiting = FoldedAudit(audit, Fold.unbegun(str(audit), planned, tallies), plan, entry.shard)
        _check_done(run.manifest, waiting)
        return waiting
    if not os.path.lexists(audit):
        raise AuditDamaged(str(audit), 0, "it is missing", hint=_FETCH_AGAIN)
    fold = fold_audit(audit, verify_chain=True, phones_of=plan.phones_of, own=own, feed=feed, tallies=tallies)
    check_is_plan_of(plan, fold.first_run)
    part = FoldedAudit(audit, fold, plan, entry.shard)
    _check_shard(run.manifest, entry, part)
    return part


def _shard_plan(folder: Path, entry: ShardEntry) -> PlanFile:
    path = shard_plan(folder, entry.shard)
    if not os.path.lexists(path):
        raise AuditDamaged(str(path), 0, "it is missing", hint=_FETCH_AGAIN)
    plan = read_plan(path)
    if plan.sha256 != entry.plan_sha256:
        raise AuditDamaged(str(path), 0, "this is not the plan that was fetched", hint=_FETCH_AGAIN)
    totals = plan.header.totals
    if (totals.batches, totals.unique) != (entry.batches, entry.phones):
        raise AuditDamaged(
            str(folder / MANIFEST), 0, f"shard {entry.shard}: its numbers are not those of its plan"
        )
    return plan


def _check_shard(manifest: JobManifest, entry: ShardEntry, part: FoldedAudit) -> None:
    """Raise AuditDamaged where an audit, whole by itself, is not what was fetched of this job."""
    fold, path = part.fold, str(part.audit)
    if (fold.records, fold.chain) != (entry.records, entry.head) or fold.torn_bytes:
        found = f"{fold.records:,} records" + (" and a torn line" if fold.torn_bytes else "")
        what = f"it ends otherwise than what was fetched: {found}, and there were {entry.records:,}"
        raise AuditDamaged(path, 0, what, hint=_FETCH_AGAIN)
    for session in fold.sessions:
        _moment(session.run, path)
        if session.summary is not None:
            _moment(session.summary, path)
    run = fold.first_run
    said = (run.run_id, run.job, origin_of(run.base_url))
    if said != (manifest.run_id, manifest.name, origin_of(manifest.base_url)):
        raise AuditDamaged(path, 1, f"it is of another run than the job {manifest.job}")
    if (fold.planned_batches, fold.planned_phones) != (entry.batches, entry.phones):
        raise AuditDamaged(path, 1, "it was planned otherwise than its shard")
    if not fold.totals(part.phones_of).holds:
        raise AuditDamaged(path, 0, "the records do not add up to what was planned")
    _check_done(manifest, part)


def _check_done(manifest: JobManifest, part: FoldedAudit) -> None:
    if manifest.state == "done" and not part.ended:
        what = "the job was done when it was fetched, and this shard has no end"
        raise AuditDamaged(str(part.audit), 0, what)


def _moment(record: RunRecord | SummaryRecord, path: str) -> float:
    """Return when a session began or ended, in seconds since 1970; AuditDamaged where it does not say."""
    try:
        return moment(record).timestamp()
    except ValueError as error:
        raise AuditDamaged(path, 0, f"the time of a session is none: {record.at}") from error


def strangers_in(run: NamedRun) -> list[str]:
    """Return the names of what stands in the folder of a fetched job and is none of it.

    Raises:
        Refused: The folder cannot be read.
    """
    own = {MANIFEST, LATE_FOLDER, *(audit.name for audit in run.audits())}
    own |= {plan_beside(audit).name for audit in run.audits()}
    try:
        return sorted({entry.name for entry in run.path.iterdir()} - own)
    except OSError as error:
        raise Refused(f"the folder {run.path} cannot be read: {error.strerror}") from error


def refuse_shard(path: Path) -> None:
    """Raise Refused where a fetched job, or a file of it, would be sent: its cluster may be sending it."""
    folder = path if is_job_folder(path) else path.parent
    if is_job_folder(path) or is_shard(path):
        what = "is a fetched job" if folder == path else f"is of the fetched job {folder}"
        status, again = command("report", folder), command("rerun", folder)
        hint = f"how it stands: {status}; when it has ended, what is left is sent by: {again}"
        raise Refused(
            f"{path} {what}, which its cluster may be sending", hint=f"{hint}; until then {GOES_ON}"
        )


def is_audit(path: Path) -> bool:
    """Tell whether a file begins as an audit does; False for what cannot be read."""
    try:
        return read_first(path) is not None
    except RunnerError:
        return False


def plan_beside(audit: Path) -> Path:
    """Return where an audit's plan stands."""
    return Path(f"{audit}.plan")


def find_plan(audit: Path) -> PlanFile | None:
    """Return the plan beside an audit, if it is there.

    Raises:
        AuditDamaged: It is altered, or not the one that the audit was made with.
        Refused: It cannot be read.
    """
    path = plan_beside(audit)
    if not path.exists():
        return None
    plan = read_plan(path)
    first = read_first(audit)
    if first is not None:
        check_is_plan_of(plan, first)
    return plan


def read_plan_beside(audit: Path) -> PlanFile:
    """Return the plan beside an audit, for verbs that send what stands in it.

    Raises:
        AuditDamaged: It is altered.
        Refused: It is not there, or cannot be read.
    """
    path = plan_beside(audit)
    if not path.exists():
        raise Refused(
            f"the plan of {audit} is not beside it: there is no {path}",
            hint="put it back there: what is left to be deleted stands in it alone",
        )
    return read_plan(path)


def check_is_plan_of(plan: PlanFile, run: RunRecord) -> None:
    """Raise AuditDamaged where a plan is not the one that an audit was made with."""
    if run.plan_sha256 != plan.sha256:
        raise AuditDamaged(str(plan.path), 0, "this is not the plan that the audit was made with")
