"""The verbs that send: `run`, `resume`, `rerun`. Each turns its arguments into one order for `runs`.

Everything is read and checked here, before the loop starts and before an audit exists; what was made until
then (a plan that nobody confirmed) is taken away again when it is refused or declined.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

from runner import __version__
from runner.audit.fold import Fold, fold_audit
from runner.audit.journal import DiskFile
from runner.audit.reader import select_for_rerun
from runner.audit.records import Mode
from runner.commands.execute import Result, RunFiles, RunRequest, carry_out
from runner.commands.invocation import Call, Scratch, draft_plan, only_plan, plan_beside, temporary_folder
from runner.errors import AuditDamaged, Exit, Refused
from runner.files import make_private_folder
from runner.job.entries import Job
from runner.model import Target
from runner.output.plan_text import describe_plan
from runner.output.report import make_report, report_text
from runner.plan.file import PlanFile, copy_plan, read_plan
from runner.plan.header import PlanWindow
from runner.plan.protect import ProtectList, read_protect_file
from runner.process import Terminated, use_loop, utc_now
from runner.send.safety import Question, audit_age, check_plan, plan_age, was_capped
from runner.send.session import RunSpec
from runner.settings import Access, Limits, LimitsGiven, Safety
from runner.terms import limits_from_json, limits_to_json, safety_from_json

__all__ = ["rerun", "resume", "run", "run_jobs"]

_LONGEST_WORDS: Final = 4000
_UNCONFIRMED = ("failed", "unknown", "not_sent")


@dataclass(frozen=True, slots=True)
class _Draft:
    """A plan in its place beside an audit that does not exist yet."""

    plan: PlanFile
    audit: Path
    rejects: Path | None
    plan_s: float


def run(jobs: Sequence[str], flags: Mapping[str, Any], limits: LimitsGiven) -> Exit:
    """Plan, confirm, delete, audit."""
    call = Call.of(flags, limits)
    return run_jobs(jobs, call.access(), call)


def run_jobs(jobs: Sequence[str], access: Access, call: Call) -> Exit:
    """Run jobs, or one plan, against a vendor that is given."""
    call.question("Delete?", "--yes")
    given = only_plan(jobs)
    if given is not None:
        if call.flags["user_id"] is not None:
            raise Refused("--user-id goes with a list; a plan names its own users", hint="Leave it away.")
        plan = read_plan(given)
        stale = call.stale(plan_age(plan.mtime_s, plan.header, utc_now()), "plan")
        with _draft(call, plan.header.name, lambda scratch: copy_plan(plan, scratch.plan)) as draft:
            return _send_draft(draft, "run", access, call, stale)
    from runner.job.arguments import read_jobs  # noqa: PLC0415 - a plan starts sooner without

    job = read_jobs(jobs, user_id=call.flags["user_id"], now=utc_now())
    with _draft(call, job.name, lambda scratch: draft_plan(job, scratch, call)) as draft:
        return _send_draft(draft, "run", access, call, [])


def rerun(audits: Sequence[Path], flags: Mapping[str, Any], limits: LimitsGiven) -> Exit:
    """Run again, with a new plan and audit, what ended unconfirmed."""
    from runner.plan.planner import plan_batches_again  # noqa: PLC0415 - a plan starts sooner without

    call = Call.of(flags, limits)
    access = call.access()
    call.question("Delete?", "--yes")
    folds = [_finished_fold(audit, access.base_url) for audit in audits]
    stale = call.stale(max(audit_age(fold, utc_now()) for fold in folds), "audit")
    plans = [_plan_of(audit, fold) for audit, fold in zip(audits, folds, strict=True)]
    settings, windows = _settings_of(audits, folds, plans)
    statuses = call.flags["only"] or _UNCONFIRMED

    def make(scratch: Scratch) -> PlanFile:
        plan_batches_again(
            chain.from_iterable(
                _rest_of(audit, plan, statuses) for audit, plan in zip(audits, plans, strict=True)
            ),
            settings,
            scratch.plan,
            windows=windows,
            today=utc_now().date(),
            version=__version__,
        )
        return read_plan(scratch.plan)

    with _draft(call, settings.name, make) as draft:
        return _send_draft(draft, "rerun", access, call, stale)


def resume(audit: Path, flags: Mapping[str, Any], limits: LimitsGiven) -> Exit:
    """Go on with an interrupted run in its own audit: send exactly what has no end."""
    call = Call.of(flags, limits)
    access = call.access()
    file = DiskFile.reopen(audit)
    try:
        plan = read_plan(plan_beside(audit))
        fold = fold_audit(audit, verify_chain=True, phones_of=plan.phones_of)
        _check_origin(audit, fold, access.base_url)
        _check_is_plan_of(plan, fold)
        if fold.ended == fold.planned_batches:
            return _show_finished(audit, fold, plan, call)
        questions = call.stale(audit_age(fold, utc_now()), "audit")
        if (why := was_capped(fold)) is not None:
            questions += call.question(f"The last session was stopped by {why}. Go on?", "--yes")
        rules = _rules_of(audit, fold, plan)
        terms = _terms("resume", plan, rules, access, call, run_id=str(fold.first_run["run_id"]))
        order = _order(terms, access, RunFiles(plan, audit, file, fold), questions, call)
        return _carry_out(order, call)
    finally:
        file.close()


@contextmanager
def _draft(call: Call, name: str, make: Callable[[Scratch], PlanFile]) -> Iterator[_Draft]:
    """Make a plan beside the audit to come; it is taken away again unless the audit came to be."""
    started_s = time.monotonic()
    audit = _audit_path(call, name)
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        scratch = Scratch(plan_beside(audit), folder / "rejects")
        stack.callback(_remove_empty, make_private_folder(audit.parent))
        plan = make(scratch)
        stack.callback(_remove_unless_used, plan.path, audit)
        rejects = scratch.rejects if scratch.rejects.exists() else None
        yield _Draft(plan, audit, rejects, time.monotonic() - started_s)


def _remove_unless_used(plan: Path, audit: Path) -> None:
    """Remove a plan whose audit never came to be."""
    if not os.path.lexists(audit):
        with suppress(OSError):
            plan.unlink()


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, inmost first, up to one that is in use."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _audit_path(call: Call, name: str) -> Path:
    """Return where the audit goes, refusing a place that is taken."""
    given: Path | None = call.flags["audit"]
    audit = given or Path("audit") / f"{name}-{utc_now():%Y%m%dT%H%M%SZ}.jsonl"
    for path in (audit, plan_beside(audit)):
        if os.path.lexists(path):
            raise Refused(f"{path} exists", hint="an audit is never written over: resume it, or name another")
    return audit


def _send_draft(draft: _Draft, mode: Mode, access: Access, call: Call, stale: list[Question]) -> Exit:
    """Show the totals, ask, and send a draft's batches into a new audit."""
    plan, header = draft.plan, draft.plan.header
    limits = call.limits.over(header.limits.over(Limits()))
    call.console.say(describe_plan(header, limits=limits, base_url=access.base_url))
    questions = [*stale, *call.question(_totals_question(plan, access), "--yes")]
    terms = _terms(mode, plan, (limits, header.safety), access, call, plan_s=draft.plan_s)
    evidence = RunFiles(plan, draft.audit, rejects=draft.rejects)
    return _carry_out(_order(terms, access, evidence, questions, call), call)


def _totals_question(plan: PlanFile, access: Access) -> str:
    totals = plan.header.totals
    windows = f" and {totals.windows:,} whole windows" if totals.windows else ""
    return f"Delete {totals.unique:,} numbers of {totals.users:,} users{windows} at {access.base_url}?"


def _terms(
    mode: Mode,
    plan: PlanFile,
    rules: tuple[Limits, Safety],
    access: Access,
    call: Call,
    *,
    run_id: str | None = None,
    plan_s: float = 0.0,
) -> RunSpec:
    flags = call.flags
    for name in ("reason", "operator"):
        if len(flags[name] or "") > _LONGEST_WORDS:
            raise Refused(f"--{name}: at most {_LONGEST_WORDS:,} characters, for it stands in one record")
    return RunSpec(
        mode=mode,
        run_id=run_id or secrets.token_hex(8),
        job=plan.header.name,
        plan_sha256=plan.sha256,
        version=__version__,
        base_url=access.base_url,
        limits=call.limits.over(rules[0]),
        safety=rules[1],
        planned=plan.header.totals,
        phones_of=plan.phones_of,
        plan_s=plan_s,
        reason=flags["reason"],
        operator=flags["operator"],
        audit_all_phones=flags["audit_phones"] == "all",
        proxy=access.proxy_from_env,
    )


def _order(
    terms: RunSpec, access: Access, evidence: RunFiles, questions: Sequence[Question], call: Call
) -> RunRequest:
    """Return the order, with the safety rules enforced and the protect file read once more."""
    check_plan(evidence.plan.header)
    rule = evidence.plan.header.phone_rule
    path = terms.safety.protect_file
    protect = ProtectList(rule) if path is None else read_protect_file(path, rule)
    return RunRequest(terms, access, evidence, protect, tuple(questions), wait=call.flags["wait"])


def _carry_out(order: RunRequest, call: Call) -> Exit:
    with asyncio.Runner(loop_factory=use_loop()) as runner:
        result = runner.run(carry_out(order, call.console))
    # All is decided and written: a signal from now on cuts the words short and changes nothing else.
    with suppress(KeyboardInterrupt, Terminated):
        _show_result(result, order, call)
    return result.exit_code


def _show_result(result: Result, order: RunRequest, call: Call) -> None:
    audit = order.evidence.audit
    if not result.recorded:
        call.console.warn(f"the summary could not be written into {audit}: {result.summary['why']}")

    def text() -> str:
        if not result.fold.sessions:
            return f"nothing was sent: {result.summary['why']}"
        return report_text(make_report(audit, result.fold, phones_of=order.terms.phones_of))

    call.show(result.summary, text)


def _show_finished(audit: Path, fold: Fold, plan: PlanFile, call: Call) -> Exit:
    """Show a run in which nothing is left to do; nothing is written."""
    call.console.say("nothing is left to do")
    report = make_report(audit, fold, phones_of=plan.phones_of)
    # The summary of a session before one that was killed does not know what that one ended.
    last = fold.last_summary if fold.complete else None
    call.show(last or report, lambda: report_text(report))
    return Exit.OK if fold.totals().all_confirmed else Exit.PARTIAL


def _finished_fold(audit: Path, base_url: str) -> Fold:
    """Return the fold of an audit that may be rerun."""
    fold = fold_audit(audit, verify_chain=True)
    _check_origin(audit, fold, base_url)
    if fold.ended < fold.planned_batches:
        raise Refused(
            f"{audit}: {fold.planned_batches - fold.ended:,} batches are open",
            hint=f"finish it first: bulk-delete resume {audit}",
        )
    return fold


def _check_origin(audit: Path, fold: Fold, base_url: str) -> None:
    if fold.first_run["base_url"] != base_url:
        raise Refused(
            f"{audit} is of {fold.first_run['base_url']}, and the base URL is {base_url}",
            hint="give the base URL of the audit with --base-url",
        )


def _rules_of(audit: Path, fold: Fold, plan: PlanFile) -> tuple[Limits, Safety]:
    """Return the limits and safety rules of an audit's last session; safety is the plan's in every one."""
    last = fold.last_run
    try:
        limits, safety = limits_from_json(last["limits"]).over(Limits()), safety_from_json(last["safety"])
    except (KeyError, TypeError, ValueError) as error:
        raise AuditDamaged(str(audit), 0, f"limits or safety are unreadable: {error}") from error
    if safety != plan.header.safety:
        raise AuditDamaged(str(audit), 0, "its safety rules are not those of its plan")
    return limits, safety


def _rest_of(
    audit: Path, plan: PlanFile, statuses: Sequence[str]
) -> Iterator[tuple[Target, tuple[str, ...]]]:
    """Yield what is to be sent again of an audit, each batch held against its plan."""
    with plan.lookup() as asked:
        yield from select_for_rerun(audit, statuses, asked)


def _settings_of(
    audits: Sequence[Path], folds: Sequence[Fold], plans: Sequence[PlanFile]
) -> tuple[Job, list[PlanWindow]]:
    """Return what the new plan takes over from the audits, which must agree, and their windows."""
    rules = [_rules_of(*of_one) for of_one in zip(audits, folds, plans, strict=True)]
    headers = [plan.header for plan in plans]
    if any(rule != rules[0] for rule in rules) or len({header.phone_rule for header in headers}) > 1:
        raise Refused("the audits differ in limits, safety or phone rule", hint="rerun them one at a time")
    limits, safety = rules[0]
    settings = Job(
        name=headers[0].name,
        limits=limits_from_json(limits_to_json(limits)),
        safety=safety,
        phone_rule=headers[0].phone_rule,
        timezone=headers[0].timezone,
    )
    return settings, [window for header in headers for window in header.windows]


def _plan_of(audit: Path, fold: Fold) -> PlanFile:
    """Return the plan beside an audit, if it is the one that the audit was made with."""
    plan = read_plan(plan_beside(audit))
    _check_is_plan_of(plan, fold)
    return plan


def _check_is_plan_of(plan: PlanFile, fold: Fold) -> None:
    if fold.first_run["plan_sha256"] != plan.sha256:
        raise AuditDamaged(str(plan.path), 0, "this is not the plan that the audit was made with")
