"""What a report says of a fetched job beside its totals: how it stands, and each shard.

Nothing is counted here.
"""

from collections.abc import Iterable
from typing import Final, Literal

from runner.audit.manifest import JobManifest, JobState
from runner.audit.records import SummaryRecord
from runner.output.folded_run import FoldedAudit, FoldedRun
from runner.output.report_fields import FetchedJob, Report, ReportBatches, ReportShard, ReportStatus
from runner.phones import mask_text
from runner.text import many

__all__ = ["GOES_ON", "by_need", "fetched_job", "goes_on_in_cluster", "job_outcome", "job_status"]

GOES_ON: Final = (
    "the workers of its cluster go on with it; where it was stopped, submit the same plan again there; "
    "when it is done, fetch it into a new folder"
)
"""What is to be done about an open job: nothing can be typed here."""


def job_status(manifest: JobManifest, shards: Iterable[str]) -> ReportStatus:
    """Return how a job stands by the status of each shard, and by how it was when it was fetched."""
    said = set(shards)
    if said <= {"complete", "partial"}:
        return "partial" if "partial" in said else "complete"
    return _OF_STATE[manifest.state]


_OF_STATE: Final[dict[JobState, ReportStatus]] = {"open": "open", "stopped": "stopped", "done": "partial"}


def job_outcome(run: FoldedRun, manifest: JobManifest) -> tuple[ReportStatus, str | None, int | None]:
    """Return how a job stands, why, and its exit code: of what stopped the first words, the highest code."""
    ends = [_end_of(part) for part in run.audits]
    status = job_status(manifest, (shard.status for shard in _shards(run, manifest)))
    stopped = [end for end in ends if end is not None and end.status == "stopped"]
    whys = list(dict.fromkeys(end.why for end in stopped if end.why))
    more = f" (and {many(len(whys) - 1, 'more reason')})" if len(whys) > 1 else ""
    codes = {"complete": 0, "partial": 1, "stopped": max((end.exit_code for end in stopped), default=3)}
    return status, f"{mask_text(whys[0])}{more}" if whys else None, codes.get(status)


def goes_on_in_cluster(report: Report) -> bool:
    """Tell whether something of a fetched job is open."""
    return report.fetched is not None and (report.batches.open > 0 or report.status in {"open", "stopped"})


def by_need(shards: Iterable[ReportShard]) -> list[ReportShard]:
    """Return shards with those first that are open, and those last that are complete."""
    return sorted(shards, key=lambda shard: (not shard.batches.open, shard.status == "complete"))


def _end_of(part: FoldedAudit) -> SummaryRecord | None:
    """Return the last session's summary, if it has one."""
    sessions = part.fold.sessions
    return sessions[-1].summary if sessions else None


def fetched_job(run: FoldedRun, manifest: JobManifest) -> FetchedJob:
    """Return a fetched job, shard by shard."""
    return FetchedJob(
        id=manifest.job, state=manifest.state, at=manifest.fetched_at, shards=tuple(_shards(run, manifest))
    )


def _shards(run: FoldedRun, manifest: JobManifest) -> Iterable[ReportShard]:
    for part, entry in zip(run.audits, manifest.shards, strict=True):
        totals, end = part.fold.totals(part.phones_of), _end_of(part)
        yield ReportShard(
            shard=entry.shard,
            audit=str(part.audit),
            status=_without_end(part) if end is None else end.status,
            why=None if end is None or end.why is None else mask_text(end.why),
            batches=ReportBatches(**totals.batches, open=totals.open_batches),
            phones=entry.phones,
            sessions=len(part.fold.sessions),
            records=entry.records,
            head=entry.head,
        )


def _without_end(part: FoldedAudit) -> Literal["open", "waiting", "complete"]:
    """Return how a shard stands that has no summary; one without a batch needs none."""
    return "open" if part.fold.sessions else "complete" if part.ended else "waiting"
