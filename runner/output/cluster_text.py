"""Jobs of many machines, in words. Nothing is counted here, but for what is done in percent."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from runner.output.cluster_results import ClusterJob, ClusterShard
from runner.output.report import align
from runner.text import printable

__all__ = ["job_lines", "jobs_table", "percent", "shards_table"]

_JOBS: Final = ("id", "submitted", "state", "asked", "deleted", "failed", "unknown", "shards", "next")
_SHARDS: Final = ("shard", "state", "asked", "deleted", "failed", "unknown", "worker", "why")


def percent(ended: int, batches: int) -> float:
    """Return a share in percent, rounded down: 100 says that nothing is left."""
    return int(1000 * ended / batches) / 10 if batches else 100.0


def jobs_table(jobs: Sequence[ClusterJob]) -> str:
    """Return one line a job, in words."""
    if not jobs:
        return "no jobs"
    return "\n".join(align([_JOBS, *map(_job_row, jobs)], "<<<>>>><<", indent=""))


def _job_row(job: ClusterJob) -> tuple[str, ...]:
    shards = job.shards
    total = shards.waiting + shards.doing + shards.stopped + shards.done
    at = datetime.fromisoformat(job.submitted_at).astimezone(UTC)
    return (
        printable(job.id),
        f"{at:%Y-%m-%d %H:%M}Z",
        f"{'paused' if job.held and job.state == 'open' else job.state} {job.percent:.1f}%",
        *_figures(job.phones, job),
        f"{shards.done} of {total} done{f', {shards.doing} under way' if shards.doing else ''}",
        printable(job.next or "-"),
    )


def shards_table(shards: Sequence[ClusterShard]) -> str:
    """Return one line a shard, in words."""
    return "\n".join(align([_SHARDS, *map(_shard_row, shards)], "><>>>><<", indent=""))


def _shard_row(shard: ClusterShard) -> tuple[str, ...]:
    worker = printable(shard.worker or "-")
    if shard.state == "doing" and shard.heard_s is not None:
        worker = f"{worker} ({shard.heard_s:.1f} s ago)"
    return (
        str(shard.shard),
        f"{shard.state} {shard.percent:.1f}%",
        *_figures(shard.phones, shard),
        worker,
        printable(shard.why or "-"),
    )


def _figures(asked: int, of: ClusterJob | ClusterShard) -> list[str]:
    found = (asked, of.deleted, of.failed, of.unknown)
    return ["?" if number is None else f"{number:,}" for number in found]


def job_lines(job: ClusterJob) -> list[str]:
    """Return what is to be said of one job, a sentence a line."""
    lines = [
        f"{printable(job.id)}: {printable(job.job)} at {job.base_url}, {job.state} {job.percent:.1f}%",
        f"rate {job.rate_allowed} allowed of {job.rate_configured}, for all that reaches this origin",
    ]
    if job.why:
        lines.append(f"stopped: {printable(job.why)}")
    if job.held:
        lines.append("paused by an operator")
    if job.next is not None:
        lines.append(f"next: {job.next}")
    return lines
