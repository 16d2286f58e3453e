"""What a caller may choose, typed: built once by the command line, or by a script that imports the package.

Each option is declared here alone: its type, its default, what it means, and how the command line spells it
(`flags` reads that). Nothing is read here and nothing checked beyond the bounds of the limits.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

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


def _flag(default: Any, spelled: str, words: str, **more: Any) -> Any:
    """Return an option as a field.

    Args:
        default: Where it is not given.
        spelled: The flag, and what stands for its value.
        words: What it means, as `--help` says it.
        more: `repr`, as of a field; `within`: the least and the most that a number may be; `needed`: there is
            no default on the command line.
    """
    shown = more.pop("repr", True)
    return field(default=default, repr=shown, metadata={"spelled": spelled, "words": words, **more})


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How the result is written, and how much is said meanwhile."""

    as_json: bool = _flag(False, "--json", "Write the result as one JSON object.")
    quiet: bool = _flag(False, "--quiet", "Say nothing but warnings and errors.")
    verbose: bool = _flag(False, "--verbose", "Log every batch that fails.")
    log_format: Literal["text", "json"] = _flag(
        "text", "--log-format", "How standard error is written: in words, or one JSON object a line [text]."
    )


@dataclass(frozen=True, slots=True)
class AccessOptions:
    """How the vendor is reached, as far as it is given; the environment and the defaults say the rest.

    `config` stands beside the others because a command to type repeats it with them, and so does `rate_from`,
    which may hold a password.
    """

    base_url: str | None = _flag(
        None, "--base-url URL", "The API's base URL [env BULK_DELETE_BASE_URL; the vendor's]."
    )
    token_file: Path | None = _flag(
        None, "--token-file PATH", "File with the token [env BULK_DELETE_TOKEN_FILE]."
    )
    ca_file: Path | None = _flag(None, "--ca-file PATH", "Trust this CA (PEM) in place of the system's.")
    proxy_from_env: bool = _flag(
        False, "--proxy-from-env", "Go through the proxy that the environment names."
    )
    config: Path | None = _flag(
        None, "--config FILE", "Who hears of the run [$XDG_CONFIG_HOME/bulk-delete/config.toml]."
    )
    rate_from: str | None = _flag(
        None,
        "--rate-from URL",
        "Share the rate with others, through this database [the run's own].",
        repr=False,
    )


@dataclass(frozen=True, slots=True)
class ResumeOptions:
    """What holds for one session: a run, a resume or a rerun.

    `limits` are those given; they go over the job's or the audit's.
    """

    limits: LimitsGiven = field(default_factory=LimitsGiven)
    audit_phones: AuditPhones = _flag("left", "--audit-phones", "Numbers in the audit.")
    reason: str | None = _flag(None, "--reason TEXT", "Why, for the audit.")
    operator: str | None = _flag(None, "--operator NAME", "Who, for the audit.")
    wait: bool = _flag(False, "--wait", "Wait for another run of this origin to end.")
    yes: bool = _flag(False, "--yes", "Do not ask (needed where there is no terminal).")
    stale_ok: bool = _flag(False, "--stale-ok", "Go on although the plan or audit is over a day old.")


@dataclass(frozen=True, slots=True)
class RunOptions(ResumeOptions):
    """What holds for a run or a rerun, which write an audit of their own.

    With `or_resume` it must be of a job of this name; if it has ended, its exit code is given again.
    """

    audit: Path | None = _flag(None, "--audit PATH", "Where the audit goes [audit/<name>-<UTC time>.jsonl].")
    or_resume: bool = _flag(False, "--or-resume", "Go on with the --audit that is there, if it is open.")
    accept_size: bool = _flag(
        False, "--accept-size", "Go on although the plan is larger than max_growth allows."
    )


@dataclass(frozen=True, slots=True)
class SubmitOptions(ResumeOptions):
    """What holds for a job that many machines run; the other options hold for each session of a shard."""

    shards: int = _flag(1, "--shards N", "Cut the plan into so many.", within=(1, 10_000), needed=True)


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
    """Which runs are shown, and what is asked of them; `max_age_s` in seconds."""

    job: str | None = _flag(None, "--job NAME", "Only runs of the job of this name.")
    max_age_s: float | None = _flag(
        None, "--max-age DURATION", "End with 1 unless a run ended complete or partial that recently."
    )


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What becomes of a plan that is only made; `limits` say how long it would take, and hold for `probe`."""

    limits: LimitsGiven = field(default_factory=LimitsGiven)
    out: Path | None = _flag(None, "--out FILE", "Write the plan; `run FILE` applies exactly that.")
    rejects: Path | None = _flag(None, "--rejects FILE", "Write every rejected value, masked, as JSON lines.")
    probe: bool = _flag(False, "--probe", "Ask the API how many rows match (connects; deletes nothing).")


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """How the sandbox is served."""

    port: int = _flag(8900, "--port", "Port on 127.0.0.1 [8900]; 0: any.", within=(0, 65535))
    token: str = _flag("sandbox-token", "--token", "The token it accepts [sandbox-token].")
    rows: int = _flag(0, "--rows", "Rows to seed for ten made-up users [0].", within=(0, None))
    rows_per_phone: int = _flag(
        3,
        "--rows-per-phone",
        "A number asked for the first time has 1 to N rows [3]; 0: only what was seeded or imported.",
        within=(0, 100),
    )
    seed: int = _flag(0, "--seed", "Of the faults and the made-up rows [0].")
    faults: tuple[str, ...] = _flag((), "--fault NAME=SHARE", "For instance lost-after=2%, mixed=5%.")
    rate_limit: str | None = _flag(None, "--rate-limit N/s|N/m", "Answer 429 above it.")
    latency_s: float = _flag(0.02, "--latency", "Seconds an answer takes [0.02].", within=(0, 60))
    quiet: bool = _flag(False, "--quiet", "Say nothing but errors.")
    as_json: bool = _flag(False, "--json", "Write where it listens as one JSON object.")


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker of a cluster works; `concurrency` does not count shards of workers that are gone."""

    concurrency: int = _flag(2, "--concurrency N", "Shards at a time [2].", within=(1, 64))
    drain: bool = _flag(False, "--drain", "End once no shard of this origin is left.")
