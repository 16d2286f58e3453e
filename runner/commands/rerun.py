"""`rerun`: a new run, with a new plan and audit, of what ended failed, unknown or not_sent."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from runner.access import Access
from runner.audit.fold import Fold, fold_audit
from runner.audit.reader import select_for_rerun
from runner.commands.command_call import CommandResult
from runner.commands.evidence import check_is_plan_of, read_plan_beside
from runner.commands.new_plan import Scratch
from runner.commands.questions import confirmed, fresh_enough
from runner.commands.resume import resumed_instead
from runner.commands.sending import (
    Sending,
    check_origin,
    rules_of,
    send_new,
)
from runner.errors import Refused, RunNames, speaking_of
from runner.invocation import command
from runner.job.entries import Job
from runner.model import Target
from runner.options import RunOptions
from runner.output.console import Console
from runner.output.results import RerunResult, RunResult
from runner.plan.file import PlanFile, read_plan
from runner.plan.header import PlanWindow
from runner.process import utc_now
from runner.send.safety import audit_age
from runner.settings import limits_from_json, limits_to_json
from runner.text import many
from runner.version import __version__

__all__ = ["rerun"]

_UNCONFIRMED: Final = ("failed", "unknown", "not_sent")


def rerun(
    audits: Sequence[Path], only: Sequence[str], options: RunOptions, access: Access, screen: Console
) -> CommandResult[RunResult]:
    """Run again what ended unconfirmed, or `only` what ended so."""
    from runner.plan.planner import plan_batches_again  # noqa: PLC0415 - a plan starts sooner without

    sending = Sending(options, access, screen, RerunResult)
    folds = [_finished_fold(audit, sending) for audit in audits]
    if (done := resumed_instead(folds[0].first_run.job, options, sending)) is not None:
        return done
    confirmed("Delete?", options, screen)
    stale = fresh_enough(max(audit_age(fold, utc_now()) for fold in folds), "audit", options, screen)
    plans = [_plan_of(audit, fold) for audit, fold in zip(audits, folds, strict=True)]
    settings, windows = _settings_of(audits, folds, plans)
    statuses = only or _UNCONFIRMED

    def make(scratch: Scratch) -> PlanFile:
        plan_batches_again(
            chain.from_iterable(
                _rest_of(audit, plan, statuses) for audit, plan in zip(audits, plans, strict=True)
            ),
            settings,
            scratch.plan,
            windows=windows,
            now=utc_now(),
            version=__version__,
        )
        return read_plan(scratch.plan)

    return send_new("rerun", settings.name, make, options, sending, first=stale)


def _finished_fold(audit: Path, sending: Sending) -> Fold:
    """Return the fold of an audit that may be rerun."""
    with speaking_of(RunNames(audit=str(audit))):
        fold = fold_audit(audit, verify_chain=True, own=True)
        check_origin(audit, fold, sending)
    if fold.ended == fold.planned_batches:
        return fold
    run, finish = fold.last_run, command("resume", audit, access=sending.access.given)
    with speaking_of(RunNames(run.job, run.run_id, str(audit), None, run.base_url, finish)):
        left = many(fold.planned_batches - fold.ended, "batch")
        raise Refused(f"{audit}: {left} open", hint=f"finish it first: {finish}")


def _plan_of(audit: Path, fold: Fold) -> PlanFile:
    """Return the plan beside an audit, if it is the one that the audit was made with."""
    plan = read_plan_beside(audit)
    check_is_plan_of(plan, fold.first_run)
    return plan


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
    rules = [rules_of(*of_one) for of_one in zip(audits, folds, plans, strict=True)]
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
