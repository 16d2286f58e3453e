"""What `run`, `resume` and `rerun` share: a plan in its place, one request made of it, and its result.

Everything is read and checked here, before the loop starts and before an audit exists; what was made until
then (a plan that nobody confirmed) is taken away again when it is refused or declined.
"""

import asyncio
import secrets
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runner import __version__
from runner.access import Access, origin_of
from runner.audit.fold import Fold
from runner.audit.records import Mode, as_json
from runner.commands.drafting import Scratch, temporary_folder
from runner.commands.execute import Result, RunFiles, RunRequest, carry_out
from runner.commands.placing import reserved
from runner.commands.questions import confirmed
from runner.commands.shown import Shown
from runner.errors import AuditDamaged, Refused
from runner.options import ResumeOptions
from runner.output.console import Console
from runner.output.plan_text import describe_plan, scope
from runner.output.report import make_report, report_text
from runner.plan.file import PlanFile
from runner.plan.rules import check_plan
from runner.process import use_loop
from runner.send.safety import Question
from runner.send.session import RunSpec
from runner.settings import Limits, Safety, limits_from_json, safety_from_json

__all__ = [
    "Sending",
    "check_is_plan_of",
    "check_origin",
    "drafted",
    "rules_of",
    "send",
    "send_draft",
]

_LONGEST_WORDS: Final = 4000


@dataclass(frozen=True, slots=True)
class Sending:
    """What one session of any mode starts from, beside its plan and audit."""

    mode: Mode
    options: ResumeOptions
    access: Access
    questions: Sequence[Question]


@contextmanager
def drafted(given: Path | None, name: str, make: Callable[[Scratch], PlanFile]) -> Iterator[RunFiles]:
    """Make a plan beside the audit to come; it is taken away again unless the audit came to be.

    Args:
        given: Where the audit shall go, if that was said.
        name: The job's, for the default place.
        make: Makes the plan.
    """
    with reserved(given, name) as place, temporary_folder() as folder:
        scratch = Scratch(place.draft, folder / "rejects")
        plan = place.put(make(scratch))
        yield RunFiles(plan, place.audit, rejects=scratch.rejects if scratch.rejects.exists() else None)
        place.used = True


def send_draft(files: RunFiles, sending: Sending, screen: Console, *, plan_s: float) -> Shown:
    """Show the totals, ask, and send a draft's batches into a new audit; `plan_s` is what planning took."""
    header, access = files.plan.header, sending.access
    limits = sending.options.limits.over(header.limits.over(Limits()))
    screen.say(describe_plan(files.plan, limits=limits, base_url=access.base_url))
    ask = f"Delete {scope(header)}, at {access.base_url}?"
    questions = [*sending.questions, *confirmed(ask, sending.options)]
    spec = _spec(files, sending, (limits, header.safety), run_id=secrets.token_hex(8), plan_s=plan_s)
    return _carry_out(_request(spec, files, sending, questions), screen)


def send(files: RunFiles, sending: Sending, rules: tuple[Limits, Safety], screen: Console) -> Shown:
    """Send what is open of an audit that stands already, under its own limits and rules."""
    assert files.fold is not None  # noqa: S101 - a resume has read its audit
    spec = _spec(files, sending, rules, run_id=files.fold.first_run.run_id)
    return _carry_out(_request(spec, files, sending, sending.questions), screen)


def _spec(
    files: RunFiles, sending: Sending, rules: tuple[Limits, Safety], *, run_id: str, plan_s: float = 0.0
) -> RunSpec:
    plan, options = files.plan, sending.options
    for name, words in (("reason", options.reason), ("operator", options.operator)):
        if len(words or "") > _LONGEST_WORDS:
            raise Refused(f"--{name}: at most {_LONGEST_WORDS:,} characters, for it stands in one record")
    return RunSpec(
        mode=sending.mode,
        run_id=run_id,
        job=plan.header.name,
        plan_sha256=plan.sha256,
        version=__version__,
        base_url=sending.access.base_url,
        limits=options.limits.over(rules[0]),
        safety=rules[1],
        planned=plan.header.totals,
        phones_of=plan.phones_of,
        plan_s=plan_s,
        reason=options.reason,
        operator=options.operator,
        audit_all_phones=options.audit_phones == "all",
        proxy=sending.access.proxy_from_env,
    )


def _request(spec: RunSpec, files: RunFiles, sending: Sending, questions: Sequence[Question]) -> RunRequest:
    """Return the request, with the plan's safety rules enforced once more."""
    check_plan(files.plan.header)
    return RunRequest(spec, sending.access, files, tuple(questions), wait=sending.options.wait)


def _carry_out(request: RunRequest, screen: Console) -> Shown:
    with asyncio.Runner(loop_factory=use_loop()) as runner:
        result = runner.run(carry_out(request, screen))
    audit = request.files.audit
    if not result.recorded:
        screen.warn(f"the summary could not be written into {audit}: {result.summary.why}")
    shown = as_json(result.summary, chain=result.fold.chain if result.recorded else "")
    return Shown(result.exit_code, shown, lambda: _words(result, request))


def _words(result: Result, request: RunRequest) -> str:
    if not result.fold.sessions:
        return f"nothing was sent: {result.summary.why}"
    return report_text(make_report(request.files.audit, result.fold, phones_of=request.spec.phones_of))


def check_origin(audit: Path, fold: Fold, access: Access, screen: Console) -> None:
    """Refuse an audit of another origin; another path on the same one is only said aloud."""
    before = fold.last_run.base_url
    if origin_of(before) != origin_of(access.base_url):
        raise Refused(
            f"{audit} is of the origin {before}, and the base URL is {access.base_url}",
            hint=f"if the audit's is meant, add: --base-url {shlex.quote(before)}",
        )
    if before != access.base_url:
        screen.warn(f"{audit} is of {before}; from now on requests go to {access.base_url}")


def check_is_plan_of(plan: PlanFile, fold: Fold) -> None:
    """Raise AuditDamaged where a plan is not the one that the audit was made with."""
    if fold.first_run.plan_sha256 != plan.sha256:
        raise AuditDamaged(str(plan.path), 0, "this is not the plan that the audit was made with")


def rules_of(audit: Path, fold: Fold, plan: PlanFile) -> tuple[Limits, Safety]:
    """Return the limits and safety rules of an audit's last session; safety is the plan's in every one."""
    last = fold.last_run
    try:
        limits, safety = limits_from_json(last.limits).over(Limits()), safety_from_json(last.safety)
    except (KeyError, TypeError, ValueError) as error:
        raise AuditDamaged(str(audit), 0, f"limits or safety are unreadable: {error}") from error
    if safety != plan.header.safety:
        raise AuditDamaged(str(audit), 0, "its safety rules are not those of its plan")
    return limits, safety
