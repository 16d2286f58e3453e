"""What each verb ends with: one declaration a verb, for scripts that import the package and for `--json`.

Every result says `type` (the verb, or `error`), `v`, `exit_code`, and where there is something to say
`message` and `hint`. Those that speak of a run name it: `job`, `run_id`, `audit`, `plan`, `base_url`, and
`next`, the command to type (None: nothing is left to do). The schema is made of these declarations, so that
the two cannot differ. No number is counted here.
"""

from dataclasses import asdict
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta

from runner.audit.records import SummaryRecord
from runner.audit.verify import State
from runner.errors import RunnerError
from runner.output.cluster_results import (
    ClusterCancelResult,
    ClusterFetchResult,
    ClusterForgetResult,
    ClusterInitResult,
    ClusterPaceResult,
    ClusterStatusResult,
    ClusterSubmitResult,
    ClusterWorkerResult,
)
from runner.output.report_fields import RefusedUser, Report
from runner.output.run_results import PaceResult, StatusResult, VerbResult
from runner.plan.by_user import UserNumbers
from runner.plan.header import PlanHeader
from runner.text import encodable, map_texts

__all__ = [
    "CheckResult",
    "DemoResult",
    "ErrorResult",
    "PlanResult",
    "ReportResult",
    "RerunResult",
    "Result",
    "ResumeResult",
    "RunResult",
    "SandboxResult",
    "SchemaResult",
    "Verified",
    "VerifyResult",
    "as_json",
    "error_in",
    "error_result",
    "result_schema",
]

_V: Final = 1
_Counter = Annotated[int, Meta(ge=0)]
_ExitCode = Annotated[int, Meta(ge=0, le=255)]


class RunResult(SummaryRecord, tag="run", frozen=True, kw_only=True):
    """How a session ended: what its summary says, and what to type next.

    `chain` is the summary's, the head value that is worth keeping elsewhere; empty where it could not be
    written. Nothing of `refused_users` was deleted from then on.
    """

    v: Literal[1] = _V
    message: str | None = None
    hint: str | None = None
    job: str
    run_id: str
    audit: str
    plan: str
    base_url: str
    next: str | None
    chain: str
    refused_users: tuple[RefusedUser, ...]


class ResumeResult(RunResult, tag="resume", frozen=True, kw_only=True):
    """How a session ended that went on with an audit; or how that had ended, where nothing was left to do."""


class RerunResult(RunResult, tag="rerun", frozen=True, kw_only=True):
    """How a session ended that took up what others had not confirmed."""


class DemoResult(RunResult, tag="demo", frozen=True, kw_only=True):
    """How the demo's run ended, and what really happened, by the sandbox's own ledger.

    `holds`: the audit told the truth. `unseen_rows` of the `deleted_rows` went with a reply that was lost;
    `outside_deleted` were of numbers that the job does not name.
    """

    holds: bool
    deleted_rows: _Counter
    unseen_rows: _Counter
    outside_deleted: _Counter


class PlanResult(PlanHeader, tag="plan", frozen=True, kw_only=True):
    """What a plan says of itself, with its numbers by user.

    `plan` is the file that was written or read; `base_url` is where rows were counted (`probed`, in words).
    """

    exit_code: _ExitCode = 0
    message: str | None = None
    hint: str | None = None
    job: str
    plan: str | None
    base_url: str | None
    next: str | None
    users: tuple[UserNumbers, ...]
    more_users: _Counter
    sha256: str
    probed: tuple[str, ...] = ()


class ReportResult(VerbResult, tag="report", frozen=True, kw_only=True):
    """Reports, in the order in which their audits were named."""

    items: tuple[Report, ...]


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an audit, a fetched job or a plan is what was written; `line` from 1 (0: the file as a whole).

    `head` is the chain of an audit's last record, and one value for all shards of a job: worth keeping
    elsewhere. `audit` is a job's folder, and `strangers` what stands in it and is none of it.
    """

    job: str | None = None
    run_id: str | None = None
    audit: str | None = None
    plan: str | None = None
    base_url: str | None = None
    next: str | None = None
    kind: Literal["audit", "job", "plan"]
    state: State
    exit_code: _ExitCode
    what: str
    line: _Counter = 0
    records: _Counter = 0
    head: str = ""
    strangers: tuple[str, ...] = ()


class VerifyResult(VerbResult, tag="verify", frozen=True, kw_only=True):
    """Findings, in the order in which their files were named; the worst one's exit code."""

    items: tuple[Verified, ...]


class CheckResult(VerbResult, tag="check", frozen=True, kw_only=True):
    """Whether base URL, TLS and token are good; `error` is a word of the audit's, `what` says it in words."""

    base_url: str
    ok: bool
    error: str | None
    what: str


class SchemaResult(VerbResult, tag="schema", frozen=True, kw_only=True):
    """A JSON Schema."""

    of: Literal["job", "audit", "result"]
    schema: dict[str, Any]


class SandboxResult(VerbResult, tag="sandbox", frozen=True, kw_only=True):
    """A sandbox that listens; written at the start, for it has no end of its own."""

    base_url: str


class ErrorResult(VerbResult, tag="error", frozen=True, kw_only=True):
    """What went wrong, and where a run was spoken of, which."""

    message: str
    job: str | None = None
    run_id: str | None = None
    audit: str | None = None
    plan: str | None = None
    base_url: str | None = None
    next: str | None = None


def error_result(error: RunnerError) -> ErrorResult:
    """Return an error as a result."""
    code, hint = int(error.exit_code), error.hint or None
    return ErrorResult(exit_code=code, message=error.message, hint=hint, **asdict(error.run))


_decode_error: Final = msgspec.json.Decoder(ErrorResult).decode


def error_in(answer: bytes) -> ErrorResult | None:
    """Return the error that an answer of another process is, if it is one."""
    try:
        return _decode_error(answer)
    except ValueError:
        return None


Result = (
    RunResult
    | ResumeResult
    | RerunResult
    | DemoResult
    | PlanResult
    | ReportResult
    | VerifyResult
    | CheckResult
    | StatusResult
    | PaceResult
    | SandboxResult
    | SchemaResult
    | ClusterInitResult
    | ClusterSubmitResult
    | ClusterWorkerResult
    | ClusterStatusResult
    | ClusterPaceResult
    | ClusterCancelResult
    | ClusterFetchResult
    | ClusterForgetResult
    | ErrorResult
)
_FIRST: Final = ("type", "v", "exit_code", "message", "hint")


def as_json(result: Result) -> bytes:
    """Return a result as one JSON object, without a newline."""
    values: dict[str, Any] = msgspec.to_builtins(result)
    first = {name: values.pop(name) for name in _FIRST}
    return msgspec.json.encode(map_texts({**first, **values}, encodable))  # a file's name need not be text


def result_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what `--json` writes."""
    shapes, parts = msgspec.json.schema_components(get_args(Result), ref_template="#/$defs/{name}")
    for shape in parts.values():
        if "properties" in shape:
            shape["additionalProperties"] = False
            shape["required"] = list(shape["properties"])
            for field in shape["properties"].values():
                field.pop("default", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "bulk-delete result",
        "description": "What a verb writes with --json. `type` tells which of these it is.",
        "oneOf": list(shapes),
        "$defs": parts,
    }
