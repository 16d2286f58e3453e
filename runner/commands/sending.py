"""What `run`, `resume` and `rerun` share: a plan in its place, one request made of it, and its result.

Everything is read and checked here, before the loop starts and before an audit exists; what was made until
then (a plan that nobody confirmed) is taken away again when it is refused or declined.
"""

import asyncio
import os
import secrets
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from runner.access import Access, origin_of
from runner.audit.fold import Fold
from runner.audit.records import Mode, SummaryRecord
from runner.cluster.extra import check_extra
from runner.commands.command_call import CommandResult
from runner.commands.execute import RunFiles, RunRequest, SessionEnd, carry_out
from runner.commands.growth import grown
from runner.commands.new_audit import reserve_audit
from runner.commands.new_plan import Scratch, temporary_folder
from runner.commands.questions import confirmed
from runner.commands.vendor import OpenPace, own_pace
from runner.errors import AuditDamaged, Exit, Refused, RunNames, RunnerError, Stopped, speaking_of
from runner.invocation import command
from runner.options import ResumeOptions, RunOptions
from runner.output.console import Console
from runner.output.folded_run import FoldedRun
from runner.output.plan_text import describe_plan, scope
from runner.output.report import STATE_WORDS, make_report, report_text
from runner.output.report_fields import Report
from runner.output.results import RunResult
from runner.plan.file import PlanFile
from runner.plan.rules import check_plan
from runner.process import ensure_descriptors, use_loop
from runner.send.safety import Question
from runner.send.session import RunSpec
from runner.settings import Limits, Rate, Safety, limits_from_json, safety_from_json
from runner.text import many
from runner.version import __version__

__all__ = [
    "Sending",
    "check_origin",
    "check_words",
    "rules_of",
    "send_new",
    "send_rest",
    "shown_run",
]

_LONGEST_WORDS: Final = 4000
_OTHER_FILES: Final = 64
"""Open beside the connections: plan, audit, lock, and what the libraries open."""


@dataclass(frozen=True, slots=True)
class Sending:
    """How a verb sends: what was chosen, how the vendor is reached, where words go, and what it ends with."""

    options: ResumeOptions
    access: Access
    screen: Console
    ends_as: type[RunResult]
    """`run --or-resume` sends in the mode `resume`, and ends as `run`."""


@contextmanager
def _drafted(given: Path | None, name: str, make: Callable[[Scratch], PlanFile]) -> Iterator[RunFiles]:
    """Make a plan beside the audit to come; it is taken away again unless the audit came to be."""
    started_s = time.monotonic()
    names = RunNames(job=name)
    with speaking_of(names), reserve_audit(given, name) as place, temporary_folder() as folder:
        scratch = Scratch(place.draft, folder / "rejects")
        plan = place.put(make(scratch))
        rejects = scratch.rejects if scratch.rejects.exists() else None
        yield RunFiles(plan, place.audit, rejects=rejects, plan_s=time.monotonic() - started_s)
        place.used = True


def send_new(
    mode: Mode,
    name: str,
    make: Callable[[Scratch], PlanFile],
    options: RunOptions,
    sending: Sending,
    *,
    first: Sequence[Question] = (),
) -> CommandResult[RunResult]:
    """Make a plan, show its totals, ask (`first` comes first), and send its batches into a new audit."""
    screen, base_url = sending.screen, sending.access.base_url
    with _drafted(options.audit, name, make) as files:
        header = files.plan.header
        limits = options.limits.over(header.limits.over(Limits()))
        screen.say(describe_plan(files.plan, limits=limits, base_url=base_url))
        asked = (
            *first,
            *grown(header, options, screen),
            *confirmed(f"Delete {scope(header)}, at {base_url}?", options, screen),
        )
        spec = _spec(mode, secrets.token_hex(8), files, (limits, header.safety), sending)
        return _carry_out(spec, files, asked, sending)


def send_rest(
    files: RunFiles, fold: Fold, questions: Sequence[Question], sending: Sending
) -> CommandResult[RunResult]:
    """Send what is open of an audit that stands already, under its own limits and rules."""
    limits, safety = rules_of(files.audit, fold, files.plan)
    if fold.ordered_rate is not None:
        limits = replace(limits, rate=fold.ordered_rate)
    spec = _spec("resume", fold.first_run.run_id, files, (limits, safety), sending)
    return _carry_out(spec, files, tuple(questions), sending)


def check_words(options: ResumeOptions) -> None:
    """Raise Refused where a reason or an operator is too long for a record."""
    for name, words in (("reason", options.reason), ("operator", options.operator)):
        if len(words or "") > _LONGEST_WORDS:
            raise Refused(f"--{name}: at most {_LONGEST_WORDS:,} characters, for it stands in one record")


def _spec(
    mode: Mode, run_id: str, files: RunFiles, rules: tuple[Limits, Safety], sending: Sending
) -> RunSpec:
    plan, options = files.plan, sending.options
    check_words(options)
    return RunSpec(
        mode=mode,
        run_id=run_id,
        job=plan.header.name,
        plan_sha256=plan.sha256,
        version=__version__,
        base_url=sending.access.base_url,
        limits=options.limits.over(rules[0]),
        safety=rules[1],
        planned=plan.header.totals,
        phones_of=plan.phones_of,
        plan_s=files.plan_s,
        reason=options.reason,
        operator=options.operator,
        audit_all_phones=options.audit_phones == "all",
        proxy=sending.access.proxy_from_env,
    )


def _carry_out(
    spec: RunSpec, files: RunFiles, questions: tuple[Question, ...], sending: Sending
) -> CommandResult[RunResult]:
    check_plan(files.plan.header)
    # Before there is a loop: one that finds no descriptor of its own leaves complaints behind.
    ensure_descriptors(spec.limits.concurrency + _OTHER_FILES)
    shared = sending.access.given.rate_from is not None
    open_pace = _shared_pace(sending, spec.limits.rate) if shared else own_pace
    wait = sending.options.wait
    request = RunRequest(spec, sending.access, files, questions, wait, open_pace, shared)
    try:
        with asyncio.Runner(loop_factory=use_loop()) as runner:
            ended = runner.run(carry_out(request, sending.screen))
    except RunnerError as error:
        with speaking_of(_names(spec, files, sending, error)):
            raise
    return shown_run(ended, files, sending)


def _shared_pace(sending: Sending, rate: Rate) -> OpenPace:
    """Return what opens a gate for a rate that others share; raises Refused where it cannot be shared."""
    check_extra()
    from runner.commands.shared_rate import shared_pace  # noqa: PLC0415 - it may not be installed

    return shared_pace(sending.access, rate, sending.screen)


def _names(spec: RunSpec, files: RunFiles, sending: Sending, error: RunnerError) -> RunNames:
    """Return which run an error speaks of; its audit, if there is one, waits for `resume`."""
    if not os.path.lexists(files.audit):
        return RunNames(job=spec.job, base_url=spec.base_url)
    goes_on = error.exit_code not in {Exit.REFUSED, Exit.BUSY}
    return RunNames(
        job=spec.job,
        run_id=spec.run_id,
        audit=str(files.audit),
        plan=str(files.plan.path),
        base_url=spec.base_url,
        next=command("resume", files.audit, access=sending.access.given) if goes_on else None,
    )


def shown_run(
    ended: SessionEnd, files: RunFiles, sending: Sending, *, exit_code: Exit | None = None
) -> CommandResult[RunResult]:
    """Return what a run ended with; `exit_code` where it is not the summary's: nothing was left to do."""
    access, summary, fold = sending.access, ended.summary, ended.fold
    unrecorded = summary if ended.unrecorded else None
    report = make_report(
        FoldedRun.of(files.audit, fold, files.plan), access=access.given, unrecorded=unrecorded
    )
    hint = _hint(report, ended.remedy)
    if ended.unrecorded:
        words = f"the summary could not be written into {files.audit}: {ended.unrecorded}"
        sending.screen.show_error(Stopped(words, hint=hint))
    why = f": {report.why}" if report.why else ""
    said = {name: getattr(summary, name) for name in SummaryRecord.__struct_fields__}
    code = summary.exit_code if exit_code is None else int(exit_code)
    result = sending.ends_as(
        **{**said, "exit_code": code},
        message=f"{STATE_WORDS[summary.status]}{why}",
        hint=hint or None,
        job=report.job,
        run_id=report.run_id,
        audit=report.audit,
        plan=str(files.plan.path),
        base_url=access.base_url,
        next=report.next,
        chain=fold.chain if fold.complete else "",
        refused_users=report.refused_users,
    )
    return CommandResult(result, lambda: report_text(report, first=ended.remedy), cause=_cause(report))


def _cause(report: Report) -> str:
    """Return in a few words what most of the batches that are not confirmed came to."""
    if not report.causes:
        return ""
    first, batches = report.causes[0], sum(cause.batches for cause in report.causes)
    codes = [f"HTTP {first.http_status}"] if first.http_status else []
    said = ", ".join([*codes, *([first.message] if first.message else [])])
    words = f"{first.batches:,} of {many(batches, 'batch')} ended {first.status}: {first.error or 'no error'}"
    return f"{words} ({said})" if said else words


def _hint(report: Report, remedy: str) -> str:
    """Return what to do about what is left, if anything is."""
    if report.next is None:
        return remedy
    if remedy:
        return f"{remedy}, then type: {report.next}"
    if any(cause.error == "refused" for cause in report.causes) and not report.batches.open:
        listed = command("report", Path(report.audit), "--failed", f"{report.audit}.csv")
        return f"numbers that the vendor refuses for what they are stay so; they are listed by: {listed}"
    return f"type: {report.next}"


def check_origin(audit: Path, fold: Fold, sending: Sending) -> None:
    """Raise Refused of an audit of another origin; another path on the same one is only said aloud."""
    before, now = fold.last_run.base_url, sending.access.base_url
    if origin_of(before) != origin_of(now):
        raise Refused(
            f"{audit} is of the origin {before}, and the base URL is {now}",
            hint=f"if the audit's is meant, add: --base-url {shlex.quote(before)}",
        )
    if before != now:
        sending.screen.warn(f"{audit} is of {before}; from now on requests go to {now}")


def rules_of(audit: Path, fold: Fold, plan: PlanFile) -> tuple[Limits, Safety]:
    """Return the limits and safety rules of an audit's last session; safety is the plan's in every one.

    Raises:
        AuditDamaged: They are unreadable, or the safety rules are not the plan's.
    """
    last = fold.last_run
    try:
        limits, safety = limits_from_json(last.limits).over(Limits()), safety_from_json(last.safety)
    except (KeyError, TypeError, ValueError) as error:
        raise AuditDamaged(str(audit), 0, f"limits or safety are unreadable: {error}") from error
    if safety != plan.header.safety:
        raise AuditDamaged(str(audit), 0, "its safety rules are not those of its plan")
    return limits, safety
