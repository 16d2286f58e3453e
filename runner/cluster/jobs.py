"""Jobs in the database, as their operators see them: placed, looked at, ended, gone on with, forgotten.

Keeps the promise that a job is there whole or not at all, and that the same plan for the same origin is the
same job, whoever submits it and however often. What a state may become stands in the SQL functions alone.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import orjson

from runner.cluster.database import Connection, ask, transaction
from runner.cluster.shards import pieces
from runner.errors import Refused
from runner.plan.file import PlanFile
from runner.settings import Rate, parse_rate

__all__ = [
    "JobRow",
    "JobState",
    "NewJob",
    "ShardRow",
    "cancel_job",
    "find_job",
    "forget_job",
    "give_order",
    "jobs_of",
    "ordered_rate",
    "place_job",
    "reopen_job",
    "same_job",
    "shards_of",
]

JobState = Literal["open", "stopping", "stopped", "done"]
"""`stopping`: shards under way come to a clean end, and none begins."""

_DIGITS: Final = 12
_GONE_S: Final = 60.0
"""A worker that was not heard of for so long ends no shard any more."""
_JOB: Final = """
    SELECT j.job, j.origin, j.base_url, j.name, j.run_id, j.plan_sha256, j.batches, j.phones, j.settings,
        j.state, j.stop_why, j.held, j.submitted_at, j.fetched_at, o.count, o.period_s, o.count * o.share, s.*
    FROM jobs AS j JOIN origins AS o USING (origin)
    CROSS JOIN LATERAL (
        SELECT coalesce(bool_or(pieces > 0), false), sum(epoch)::bigint,
            count(*) FILTER (WHERE state = 'waiting'), count(*) FILTER (WHERE state = 'doing'),
            count(*) FILTER (WHERE state = 'stopped'), count(*) FILTER (WHERE state = 'done'),
            coalesce(sum((progress->>'batches')::bigint), 0)::bigint,
            sum((progress->>'deleted')::bigint)::bigint, sum((progress->>'failed')::bigint)::bigint,
            sum((progress->>'unknown')::bigint)::bigint, sum((progress->>'not_sent')::bigint)::bigint
        FROM shards WHERE shards.job = j.job) AS s"""
_SHARDS: Final = """
    SELECT shard, epoch, state, plan_sha256, batches, phones, worker,
        extract(epoch FROM clock_timestamp() - beat)::double precision, pieces, progress, why
    FROM shards WHERE job = %s ORDER BY shard"""


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job.

    `allowed` is what its origin's rate is just now, in requests by period; `begun`: it has an audit; `epochs`
    changes whenever a shard changes its owner. From `ended` on it is what workers said last: batches, then
    phones.
    """

    job: str
    origin: str
    base_url: str
    name: str
    run_id: str
    plan_sha256: str
    batches: int
    phones: int
    settings: dict[str, Any]
    state: JobState
    stop_why: str | None
    held: bool
    submitted_at: datetime
    fetched_at: datetime | None
    count: float
    period_s: float
    allowed: float
    begun: bool
    epochs: int
    waiting: int
    doing: int
    stopped: int
    done: int
    ended: int
    deleted: int | None
    failed: int | None
    unknown: int | None
    not_sent: int | None

    @property
    def shards(self) -> int:
        """Return how many shards it has."""
        return self.waiting + self.doing + self.stopped + self.done

    @property
    def rate(self) -> Rate:
        """Return the rate that its origin is configured for."""
        return Rate(self.count, self.period_s)

    @property
    def names(self) -> dict[str, Any]:
        """Return how a result names it."""
        return {"id": self.job, "job": self.name, "run_id": self.run_id, "base_url": self.base_url}

    @property
    def at_rest(self) -> bool:
        """Whether nothing of it is sent any more, unless somebody submits it again."""
        return self.state in {"stopped", "done"}


@dataclass(frozen=True, slots=True)
class ShardRow:
    """One shard; `heard_s` is how long ago its worker was heard of, in seconds."""

    shard: int
    epoch: int
    state: Literal["waiting", "doing", "stopped", "done"]
    plan_sha256: str
    batches: int
    phones: int
    worker: str | None
    heard_s: float | None
    pieces: int
    progress: dict[str, Any] | None
    why: str | None


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be placed.

    Args:
        origin: Scheme, host and port.
        base_url: As its operator reaches it.
        name: The plan's.
        run_id: Of all its shards.
        plan_sha256: Of the plan's file.
        rate: What its origin may be asked.
        settings: What each session of a shard is told: limits, reason, operator, `audit_all_phones`.
    """

    origin: str
    base_url: str
    name: str
    run_id: str
    plan_sha256: str
    rate: Rate
    settings: dict[str, Any]

    @property
    def job(self) -> str:
        """Return its id: it can be typed, and is always the same."""
        digest = hashlib.sha256(f"{self.origin}\n{self.plan_sha256}".encode()).hexdigest()
        return f"{self.name}-{digest[:_DIGITS]}"


async def jobs_of(connection: Connection) -> list[JobRow]:
    """Return all jobs, the one that was submitted first before the others."""
    return [JobRow(*row) for row in await ask(connection, f"{_JOB} ORDER BY submitted_at, job")]


async def find_job(connection: Connection, job: str) -> JobRow:
    """Return a job; raises Refused where there is none of this id."""
    rows = await ask(connection, f"{_JOB} WHERE job = %s", (job,))
    if not rows:
        raise Refused(f"there is no job {job} in the database", hint="`cluster status` lists those that are")
    return JobRow(*rows[0])


async def same_job(connection: Connection, origin: str, plan_sha256: str) -> JobRow | None:
    """Return the job that a plan is for an origin, if it was submitted."""
    rows = await ask(connection, f"{_JOB} WHERE origin = %s AND plan_sha256 = %s", (origin, plan_sha256))
    return JobRow(*rows[0]) if rows else None


async def shards_of(connection: Connection, job: str) -> list[ShardRow]:
    """Return a job's shards, in order."""
    return [ShardRow(*row) for row in await ask(connection, _SHARDS, (job,))]


async def place_job(connection: Connection, new: NewJob, shards: Iterable[PlanFile]) -> bool:
    """Place a job with all its shards, or nothing; False: somebody placed it meanwhile.

    Args:
        connection: Takes the plan in one transaction, however long that is.
        new: The job.
        shards: Verified plans; each is read while it is the last that was given.
    """
    async with transaction(connection):
        await ask(connection, "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (new.job,))
        if await same_job(connection, new.origin, new.plan_sha256) is not None:
            return False
        batches = phones = 0
        for number, plan in enumerate(shards, start=1):
            await _put_shard(connection, new.job, number, plan)
            batches += plan.header.totals.batches
            phones += plan.header.totals.unique
        await _put_job(connection, new, batches, phones)
        # Now whoever asks for a slot of this origin waits: nothing that takes long may follow.
        await _use_rate(connection, new.origin, new.rate)
        await ask(connection, "UPDATE jobs SET state = 'open' WHERE job = %s", (new.job,))
    return True


async def _put_job(connection: Connection, new: NewJob, batches: int, phones: int) -> None:
    """Insert a job whose shards are there, and their tasks; it is not open yet, and so holds no rate."""
    settings = orjson.dumps(new.settings).decode()
    await ask(
        connection,
        "INSERT INTO origins (origin, count, period_s) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (new.origin, new.rate.count, new.rate.period_s),
    )
    await ask(
        connection,
        "INSERT INTO jobs"
        " (job, origin, base_url, name, run_id, plan_sha256, batches, phones, settings, state)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, 'stopped')",
        (
            *(new.job, new.origin, new.base_url, new.name, new.run_id, new.plan_sha256),
            *(batches, phones, settings),
        ),
    )
    statement = "SELECT place_shard(job, shard, false) FROM shards WHERE job = %s ORDER BY shard"
    await ask(connection, statement, (new.job,))


async def _put_shard(connection: Connection, job: str, number: int, plan: PlanFile) -> None:
    totals = plan.header.totals
    await ask(
        connection,
        "INSERT INTO shards (job, shard, epoch, plan_sha256, batches, phones)"
        " VALUES (%s, %s, 1 + coalesce((SELECT epoch FROM forgotten WHERE job = %s), 0), %s, %s, %s)",
        (job, number, job, plan.sha256, totals.batches, totals.unique),
    )
    for piece, lines in enumerate(pieces(plan), start=1):
        await ask(connection, "INSERT INTO plan_pieces VALUES (%s, %s, %s, %s)", (job, number, piece, lines))


async def _use_rate(connection: Connection, origin: str, rate: Rate) -> None:
    """Let an origin have this rate, unless others use a lower one."""
    await ask(connection, "SELECT use_rate(%s, %s, %s, true)", (origin, rate.count, rate.period_s))


async def ordered_rate(connection: Connection, job: str) -> Rate | None:
    """Return the rate that an operator ordered last for a job, if one did."""
    rows = await ask(
        connection,
        "SELECT rate FROM orders WHERE job = %s AND rate IS NOT NULL ORDER BY number DESC LIMIT 1",
        (job,),
    )
    return parse_rate(rows[0][0]) if rows else None


async def reopen_job(connection: Connection, again: NewJob) -> bool:
    """Go on with a job that was stopped, as it is told now; False: it is not stopped any more."""
    async with transaction(connection):
        await ask(connection, "SELECT FROM jobs WHERE job = %s FOR UPDATE", (again.job,))
        # Before it is open: an origin that rests takes any rate.
        await _use_rate(connection, again.origin, again.rate)
        ((placed,),) = await ask(connection, "SELECT reopen_job(%s)", (again.job,))
        if placed:
            values = (orjson.dumps(again.settings).decode(), again.job)
            await ask(connection, "UPDATE jobs SET settings = %s WHERE job = %s", values)
    return bool(placed)


async def cancel_job(connection: Connection, job: JobRow, why: str, code: int) -> None:
    """Let a job come to a clean end: nothing begins, and what is under way ends as at a signal.

    Shards of workers that are gone for good end here, as far as the database knows them.
    """
    await ask(connection, "SELECT stop_job(%s, %s, %s)", (job.job, why, code))
    await ask(connection, "SELECT rescue_shards(%s, %s)", (job.origin, _GONE_S))


async def give_order(
    connection: Connection,
    job: str,
    *,
    rate: Rate | None,
    pause: bool | None,
    operator: str | None,
    reason: str | None,
) -> None:
    """Note an operator's orders on a job, each by itself; they hold at once."""
    if rate is not None:
        values = (job, str(rate), rate.count, rate.period_s, None, operator, reason)
        await ask(connection, _ORDER, values)
    if pause is not None:
        await ask(connection, _ORDER, (job, None, None, None, pause, operator, reason))


_ORDER: Final = "SELECT give_order(%s, %s, %s, %s, %s, %s, %s)"


async def forget_job(connection: Connection, job: JobRow) -> bool:
    """Remove a job with its plan and audit; False: it has changed since it was looked at."""
    async with transaction(connection):
        gone = await ask(
            connection,
            "DELETE FROM jobs WHERE job = %s AND state = %s AND fetched_at IS NOT DISTINCT FROM %s"
            " AND (SELECT sum(epoch) FROM shards WHERE shards.job = jobs.job) = %s"
            " RETURNING (SELECT max(epoch) FROM shards WHERE shards.job = jobs.job)",
            (job.job, job.state, job.fetched_at, job.epochs),
        )
        if not gone:
            return False
        await ask(
            connection,
            "INSERT INTO forgotten AS f VALUES (%s, %s)"
            " ON CONFLICT (job) DO UPDATE SET epoch = greatest(f.epoch, excluded.epoch)",
            (job.job, gone[0][0]),
        )
        await ask(
            connection,
            "DELETE FROM procrastinate_jobs WHERE task_name = 'send_shard' AND status <> 'doing'"
            " AND args->>'job' = %s",
            (job.job,),
        )
    return True
