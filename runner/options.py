"""What a caller may choose, typed: built once by the command line, or by a script that imports the package.

Nothing is read here and nothing checked beyond the bounds of the limits: what an option means stands with
the command that takes it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from runner.settings import LimitsGiven, Rate

__all__ = [
    "AccessOptions",
    "AuditPhones",
    "OutputOptions",
    "PaceOptions",
    "PlanOptions",
    "ResumeOptions",
    "RunOptions",
    "SandboxOptions",
    "StatusOptions",
    "SubmitOptions",
    "WorkerOptions",
]

AuditPhones = Literal["left", "all"]
"""Which numbers a `batch` record lists: those not confirmed, or all that were asked."""


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How the result is written, and how much is said meanwhile."""

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    log_format: Literal["text", "json"] = "text"


@dataclass(frozen=True, slots=True)
class AccessOptions:
    """How the vendor is reached, as far as it is given; the environment and the defaults say the rest.

    Args:
        base_url: Of the API.
        token_file: Holds the token.
        ca_file: Trusted in place of the system's authorities.
        proxy_from_env: Go through the proxy that the environment names.
        config: Who hears of a run; beside the others, because a command to type repeats it with them.
        rate_from: The database through which a run shares its rate; the same holds for it. It may hold a
            password.
    """

    base_url: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    proxy_from_env: bool = False
    config: Path | None = None
    rate_from: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ResumeOptions:
    """What holds for one session: a run, a resume or a rerun.

    Args:
        limits: Those given; they go over the job's or the audit's.
        audit_phones: Which numbers the audit lists.
        reason: Why, for the audit.
        operator: Who, for the audit.
        wait: Wait for another run of this origin to end.
        yes: The totals are confirmed: nobody is asked.
        stale_ok: A plan or audit of more than a day ago is good enough: nobody is asked.
    """

    limits: LimitsGiven = field(default_factory=LimitsGiven)
    audit_phones: AuditPhones = "left"
    reason: str | None = None
    operator: str | None = None
    wait: bool = False
    yes: bool = False
    stale_ok: bool = False


@dataclass(frozen=True, slots=True)
class RunOptions(ResumeOptions):
    """What holds for a run or a rerun, which write an audit of their own.

    Args:
        audit: Where it goes; None: `audit/<name>-<UTC time>.jsonl`.
        accept_size: A plan that is much larger than the job's last ones is good enough: nobody is asked.
        or_resume: Go on with `audit` where it is there and of a job of this name; if it has ended, its exit
            code is given again and nothing is sent.
    """

    audit: Path | None = None
    or_resume: bool = False
    accept_size: bool = False


@dataclass(frozen=True, slots=True)
class SubmitOptions(ResumeOptions):
    """What holds for a job that many machines run; the other options hold for each session of a shard.

    Args:
        shards: Into how many the plan is cut.
    """

    shards: int = 1


@dataclass(frozen=True, slots=True)
class PaceOptions:
    """An operator's orders to a run that is under way; none: it is only looked at.

    Args:
        rate: The rate that is configured from now on.
        pause: True: nothing leaves until somebody says False.
        operator: Who, for the audit.
        reason: Why, for the audit.
    """

    rate: Rate | None = None
    pause: bool | None = None
    operator: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class StatusOptions:
    """Which runs are shown, and what is asked of them.

    Args:
        job: Only runs of the job of this name.
        max_age_s: One of them must have ended complete or partial within so many seconds.
    """

    job: str | None = None
    max_age_s: float | None = None


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What becomes of a plan that is only made.

    Args:
        limits: Those given, for the time it would take and for `probe`.
        out: Write the plan there.
        rejects: Write every rejected value there, masked, as JSON lines.
        probe: Ask the API how many rows match.
    """

    limits: LimitsGiven = field(default_factory=LimitsGiven)
    out: Path | None = None
    rejects: Path | None = None
    probe: bool = False


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """How the sandbox is served.

    Args:
        port: On 127.0.0.1; 0: any that is free.
        token: The one that it accepts.
        rows: How many to make up, for ten users.
        rows_per_phone: A number asked for the first time has one to so many.
        seed: Of the faults and of what is made up.
        faults: `NAME=SHARE` each.
        rate_limit: Above it the answer is 429.
        latency_s: What an answer takes.
        quiet: Do not say where it listens.
        as_json: Say that as one JSON object.
    """

    port: int = 8900
    token: str = "sandbox-token"  # noqa: S105 - it opens nothing but a rehearsal
    rows: int = 0
    rows_per_phone: int = 3
    seed: int = 0
    faults: tuple[str, ...] = ()
    rate_limit: str | None = None
    latency_s: float = 0.02
    quiet: bool = False
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker of a cluster works.

    Args:
        concurrency: Shards at a time, and as many again that were taken from workers that are gone.
        drain: End when no shard of the origin is left, for a scheduler that counts on an end.
    """

    concurrency: int = 2
    drain: bool = False
