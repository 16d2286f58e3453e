"""`cluster status`, and `pace` of a job: how jobs stand in the database, and an operator's orders to one."""

from typing import Final

from runner.cluster.database import Connection
from runner.cluster.jobs import JobRow, ShardRow, find_job, give_order, jobs_of, shards_of
from runner.cluster.slots import check_shared
from runner.commands.cluster_database import Cluster
from runner.commands.command_call import CommandResult
from runner.errors import Refused
from runner.options import PaceOptions
from runner.output.cluster_results import (
    ClusterJob,
    ClusterPaceResult,
    ClusterShard,
    ClusterStatusResult,
    ShardCounts,
)
from runner.output.cluster_text import job_lines, jobs_table, percent, shards_table
from runner.settings import Rate
from runner.text import encodable

__all__ = ["pace_job", "status"]

_PHONES: Final = ("deleted", "failed", "unknown", "not_sent")


def status(cluster: Cluster, job: str | None) -> CommandResult[ClusterStatusResult]:
    """Show all jobs, or one with its shards.

    Raises:
        Refused: There is no such job.
    """

    async def look(connection: Connection) -> tuple[list[JobRow], list[ShardRow]]:
        if job is None:
            return await jobs_of(connection), []
        return [await find_job(connection, job)], await shards_of(connection, job)

    rows, shards = cluster.run(look)
    items = tuple(_job(row, cluster) for row in rows)
    result = ClusterStatusResult(items=items, shards=tuple(map(_shard, shards)))
    return CommandResult(result, lambda: _text(result, one=job is not None))


def _text(result: ClusterStatusResult, *, one: bool) -> str:
    if not one:
        return jobs_table(result.items)
    return "\n".join([*job_lines(result.items[0]), shards_table(result.shards)])


def pace_job(cluster: Cluster, job: str, options: PaceOptions) -> CommandResult[ClusterPaceResult]:
    """Show a job, after the orders that are given; a rate is its origin's, and so of all jobs there.

    Raises:
        Refused: There is no such job, it takes no orders any more, or the rate is none for many machines.
    """

    async def steer(connection: Connection) -> JobRow:
        row = await find_job(connection, job)
        if options.rate is not None or options.pause is not None:
            await _order(connection, row, options)
            row = await find_job(connection, job)
        return row

    row = cluster.run(steer)
    found, go_on = _job(row, cluster), cluster.command("pace", job, "--go-on") if row.held else None
    result = ClusterPaceResult(**row.names, next=go_on, item=found)
    return CommandResult(result, lambda: "\n".join(job_lines(found)))


async def _order(connection: Connection, row: JobRow, options: PaceOptions) -> None:
    if row.state != "open":
        raise Refused(f"{row.job} takes no orders: it is {row.state}", hint="`cluster status` shows it")
    if options.rate is not None:
        check_shared(options.rate)
    await give_order(
        connection,
        row.job,
        rate=options.rate,
        pause=options.pause,
        operator=None if options.operator is None else encodable(options.operator),
        reason=None if options.reason is None else encodable(options.reason),
    )


def _job(row: JobRow, cluster: Cluster) -> ClusterJob:
    fetched = row.fetched_at if row.at_rest else None
    return ClusterJob(
        **row.names,
        next=_next(row, cluster),
        state=row.state,
        why=row.stop_why,
        held=row.held,
        submitted_at=row.submitted_at.isoformat(),
        fetched_at=None if fetched is None else fetched.isoformat(),
        batches=row.batches,
        phones=row.phones,
        shards=ShardCounts(waiting=row.waiting, doing=row.doing, stopped=row.stopped, done=row.done),
        rate_configured=str(row.rate),
        rate_allowed=str(Rate(round(row.allowed, 3), row.period_s)),
        percent=percent(row.ended, row.batches),
        **{name: getattr(row, name) for name in _PHONES},
    )


def _next(row: JobRow, cluster: Cluster) -> str | None:
    """Return what is to be typed next; None as long as it is under way."""
    if not row.at_rest:
        return cluster.command("pace", row.job, "--go-on") if row.held else None
    if row.fetched_at is not None or not row.begun:
        return cluster.command("cluster", "forget", row.job)
    return cluster.command("cluster", "fetch", row.job, "--out", row.job)


def _shard(row: ShardRow) -> ClusterShard:
    said = row.progress or {}
    return ClusterShard(
        shard=row.shard,
        epoch=row.epoch,
        state=row.state,
        why=row.why,
        worker=row.worker,
        heard_s=None if row.heard_s is None else max(0.0, round(row.heard_s, 1)),
        batches=row.batches,
        phones=row.phones,
        percent=percent(said.get("batches", 0), row.batches),
        **{name: said.get(name) for name in _PHONES},
    )
