"""What a report holds of an audit: declared once, for scripts, `--json` and its schema, text and page.

No number is counted here.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from runner.audit.manifest import JobState
from runner.audit.records import BatchTotals, RunStatus

__all__ = [
    "Cause",
    "FetchedJob",
    "RefusedUser",
    "Report",
    "ReportBatches",
    "ReportDurations",
    "ReportPhones",
    "ReportSession",
    "ReportShard",
    "ReportStatus",
    "UnconfirmedUser",
]

_Counter = Annotated[int, Meta(ge=0)]
_ExitCode = Annotated[int, Meta(ge=0, le=255)]
ReportStatus = RunStatus | Literal["running", "killed", "open"]
"""How a run ended, or that it has no end yet: `running` while a process holds the audit, else `killed`; of a
fetched job `open`, for its cluster goes on with it."""


class RefusedUser(msgspec.Struct, frozen=True):
    """A user whom the vendor refused whole, and as what: `forbidden` (403) or `not_found` (404)."""

    user_id: str
    error: str


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Batches that ended alike; `message` has the vendor's words with numbers masked."""

    status: str
    error: str | None
    http_status: int | None
    code: int | None
    message: str
    batches: _Counter


class UnconfirmedUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user with numbers that are not confirmed, by how their batches ended."""

    user_id: str
    failed: _Counter
    unknown: _Counter
    not_sent: _Counter


class ReportBatches(BatchTotals, frozen=True, kw_only=True):
    """Batches by how they ended; `open` ones have no end and stand under `unknown` or `not_sent` too."""

    open: _Counter


class ReportPhones(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers by how they ended; what was read and came to nothing is known from a summary or the plan."""

    read: _Counter | None = None
    unique: _Counter
    duplicate: _Counter | None = None
    rejected: _Counter | None = None
    protected: _Counter | None = None
    deleted: _Counter
    failed: _Counter
    unknown: _Counter
    not_sent: _Counter


class ReportSession(msgspec.Struct, frozen=True, kw_only=True):
    """One session; without a summary its figures are not known. `shard`: of a fetched job, whose it was."""

    shard: _Counter | None = None
    mode: str
    start: str
    end: str | None
    status: ReportStatus
    why: str | None
    requests: _Counter | None = None
    retries: _Counter | None = None
    plan_s: float | None = None
    duration_s: float | None = None
    rate_achieved: float | None = None
    max_in_window: _Counter | None = None
    peak_in_flight: _Counter | None = None
    proxy: bool | None = None


class ReportShard(msgspec.Struct, frozen=True, kw_only=True):
    """One shard of a fetched job: its audit, how it ended or stood, and its own totals.

    `waiting`: it had not begun, and there is no audit yet. `records` and `head` are those of the manifest.
    """

    shard: _Counter
    audit: str
    status: ReportStatus | Literal["waiting"]
    why: str | None
    batches: ReportBatches
    phones: _Counter
    sessions: _Counter
    records: _Counter
    head: str | None


class FetchedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job of a cluster as it was fetched; `id` is its name there."""

    id: str
    state: JobState
    at: str
    shards: tuple[ReportShard, ...]


class ReportDurations(msgspec.Struct, frozen=True, kw_only=True):
    """How long batches took, in milliseconds; None where none ended."""

    p50: float | None
    p95: float | None
    max: float | None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What an audit adds up to.

    `exit_code` is the last session's, None where it has no end; `attempts` are the requests that left, in all
    sessions together; `attempts_assumed` of them stand for a batch each that a killed session had announced,
    of which nobody knows whether it left. `phones_known`: False without the plan, where numbers of open
    batches in doubt stand under `not_sent`. `users` are the ten with the most numbers not confirmed, of
    batches that ended; `more_users` is how many more are known (10,000 are). `limits` and `safety`
    are the last session's, `version` None where there was none yet.

    Of a fetched job `audit` is its folder, `plan_sha256` that of the plan which was submitted, and `head` one
    value for all shards; `fetched` tells of each.
    """

    job: str
    run_id: str
    audit: str
    plan: str | None
    base_url: str
    next: str | None
    status: ReportStatus
    why: str | None
    exit_code: _ExitCode | None
    mode: str
    version: str | None
    reason: str | None
    operator: str | None
    plan_sha256: str
    batches: ReportBatches
    phones: ReportPhones
    phones_known: bool
    count: _Counter
    attempts: _Counter
    attempts_assumed: _Counter
    uncertain_batches: _Counter
    empty_batches: _Counter
    limits: dict[str, Any]
    safety: dict[str, Any]
    refused_users: tuple[RefusedUser, ...]
    causes: tuple[Cause, ...]
    users: tuple[UnconfirmedUser, ...]
    more_users: _Counter
    duration_ms: ReportDurations
    sessions: tuple[ReportSession, ...]
    torn_bytes: _Counter
    head: str
    fetched: FetchedJob | None = None
