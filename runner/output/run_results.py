"""What every verb ends with, and `status` and `pace` in particular: how runs stand, and what one is doing."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from runner.audit.edges import Flaw
from runner.output.report_fields import ReportStatus

__all__ = ["PaceResult", "RunStatusLine", "StatusResult", "VerbResult", "named_again", "read_pace"]

_Counter = Annotated[int, Meta(ge=0)]


class VerbResult(msgspec.Struct, tag_field="type", frozen=True, kw_only=True):
    """What every verb ends with; `v` is that of the shape, `type` the verb."""

    v: Literal[1] = 1
    exit_code: Annotated[int, Meta(ge=0, le=255)] = 0
    message: str | None = None
    hint: str | None = None


class RunStatusLine(msgspec.Struct, frozen=True, kw_only=True):
    """How one run stands, by its audit; or in a word why a file says nothing of one.

    Numbers are phone numbers, None where only `report` would tell: `open` ones have no end yet and stand in
    no other figure. `percent` is of the batches, `left_s` as fast as they ended of late (`batches_per_s`: in
    a pause, before it), with the rest of a pause whose end is known. `pause`: what holds a running one up.
    """

    job: str | None = None
    run_id: str | None = None
    audit: str
    plan: str | None = None
    base_url: str | None = None
    next: str | None = None
    state: ReportStatus | Flaw
    why: str | None = None
    start: str | None = None
    end: str | None = None
    percent: float | None = None
    pause: str | None = None
    batches_per_s: float | None = None
    left_s: _Counter | None = None
    asked: _Counter | None = None
    deleted: _Counter | None = None
    failed: _Counter | None = None
    unknown: _Counter | None = None
    not_sent: _Counter | None = None
    open: _Counter | None = None


class StatusResult(VerbResult, tag="status", frozen=True, kw_only=True):
    """Runs, the oldest first; `exit_code` is 1 where none ended well as recently as was asked."""

    items: tuple[RunStatusLine, ...]


class PaceResult(VerbResult, tag="pace", frozen=True, kw_only=True):
    """What a run that is under way is doing, by its own word.

    `rate` is what left a second of late, `rate_allowed` what may leave, `rate_configured` what that climbs
    to; `paused`: an operator holds everything; `left_s`: None where nobody can say.
    """

    job: str
    run_id: str
    audit: str
    plan: str
    base_url: str
    next: str | None
    pid: int
    paused: bool
    rate_configured: str
    percent: float
    batches: _Counter
    batches_planned: _Counter
    numbers_deleted: _Counter
    numbers_planned: _Counter
    rows_deleted: _Counter
    numbers_failed: _Counter
    numbers_unknown: _Counter
    rate: float
    rate_allowed: str
    retries: _Counter
    on_the_wire: _Counter
    elapsed_s: int
    left_s: int | None
    state: str


_decode_pace: Final = msgspec.json.Decoder(PaceResult).decode


def read_pace(answer: bytes) -> PaceResult:
    """Return what a run answered; ValueError where it is no such result."""
    return _decode_pace(answer)


def named_again(result: PaceResult, *, audit: str, plan: str, to_type: str | None) -> PaceResult:
    """Return a run's answer in the words of who asked: paths as they were typed, and what to type next."""
    return msgspec.structs.replace(result, audit=audit, plan=plan, next=to_type)
