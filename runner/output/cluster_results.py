"""What the verbs of many machines end with, declared as the other results are (`results`).

`id` names a job in the database; `job` is the name that its plan and its audits have. There is no file of a
job as long as it is not fetched, so that nothing names an audit here.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from runner.output.run_results import VerbResult

__all__ = [
    "ClusterCancelResult",
    "ClusterFetchResult",
    "ClusterForgetResult",
    "ClusterInitResult",
    "ClusterJob",
    "ClusterPaceResult",
    "ClusterShard",
    "ClusterStatusResult",
    "ClusterSubmitResult",
    "ClusterWorkerResult",
    "ShardCounts",
]

_Counter = Annotated[int, Meta(ge=0)]
_State = Literal["open", "stopping", "stopped", "done"]


class ClusterInitResult(VerbResult, tag="cluster init", frozen=True, kw_only=True):
    """Whether the tables had to be made, and in which database, named without its password."""

    database: str
    made: bool


class _OfAJob(VerbResult, frozen=True, kw_only=True):
    """Which job is spoken of."""

    id: str
    job: str
    run_id: str
    base_url: str
    next: str | None


class ClusterSubmitResult(_OfAJob, tag="cluster submit", frozen=True, kw_only=True):
    """What became of a plan: placed, gone on with (`reopened`), or there already, as `state` says.

    `rate` is what all jobs of its origin have together.
    """

    plan: str
    what: Literal["placed", "reopened", "there"]
    state: _State
    shards: _Counter
    batches: _Counter
    phones: _Counter
    rate: str


class ShardCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Shards by what they do."""

    waiting: _Counter = 0
    doing: _Counter = 0
    stopped: _Counter = 0
    done: _Counter = 0


class JobProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far something is, as its workers said last.

    `percent` is of the batches, rounded down; the others are phone numbers, None where nobody said it yet.
    """

    percent: float
    deleted: _Counter | None = None
    failed: _Counter | None = None
    unknown: _Counter | None = None
    not_sent: _Counter | None = None


class ClusterJob(JobProgress, frozen=True, kw_only=True):
    """How a job stands.

    `rate_allowed` is what may leave just now of `rate_configured`, both of the origin; `held`: an operator
    paused it; `fetched_at`: it has not changed since.
    """

    id: str
    job: str
    run_id: str
    base_url: str
    next: str | None
    state: _State
    why: str | None
    held: bool
    submitted_at: str
    fetched_at: str | None
    batches: _Counter
    phones: _Counter
    shards: ShardCounts
    rate_configured: str
    rate_allowed: str


class ClusterShard(JobProgress, frozen=True, kw_only=True):
    """How a shard stands; `heard_s` is how long ago its worker was heard of, in seconds."""

    shard: _Counter
    epoch: _Counter
    state: Literal["waiting", "doing", "stopped", "done"]
    why: str | None
    worker: str | None
    heard_s: float | None
    batches: _Counter
    phones: _Counter


class ClusterStatusResult(VerbResult, tag="cluster status", frozen=True, kw_only=True):
    """Jobs, in the order in which they were submitted; `shards` of the one that was asked for."""

    items: tuple[ClusterJob, ...]
    shards: tuple[ClusterShard, ...] = ()


class ClusterPaceResult(_OfAJob, tag="cluster pace", frozen=True, kw_only=True):
    """What a job is doing, after the orders that were given (`pace JOB --database URL`)."""

    item: ClusterJob


class ClusterCancelResult(_OfAJob, tag="cluster cancel", frozen=True, kw_only=True):
    """How a job stands that is to end; `doing` shards finish what is on the wire, and then end."""

    state: _State
    doing: _Counter


class ClusterForgetResult(_OfAJob, tag="cluster forget", frozen=True, kw_only=True):
    """A job that the database knows no more."""


class ClusterFetchResult(_OfAJob, tag="cluster fetch", frozen=True, kw_only=True):
    """Where a job's plans and audits are, and one value (`head`) for all of that evidence."""

    folder: str
    state: _State
    shards: _Counter
    records: _Counter
    head: str


class ClusterWorkerResult(VerbResult, tag="cluster worker", frozen=True, kw_only=True):
    """What one worker did: how many shards it finished, stopped, and gave back for others to go on with."""

    base_url: str
    done: _Counter
    stopped: _Counter
    given_back: _Counter
