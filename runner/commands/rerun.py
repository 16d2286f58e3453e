"""`rerun`: a new run, with a new plan and audit, of what ended failed, unknown or not_sent."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Final

from runner.access import Access
from runner.audit.manifest import is_shard
from runner.audit.reader import select_for_rerun
from runner.commands.command_call import CommandResult
from runner.commands.evidence import find_run, fold_run, read_plan_beside
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
from runner.output.fetched_job import GOES_ON
from runner.output.folded_run import FoldedAudit, FoldedRun
from runner.output.results import RerunResult, RunResult
from runner.plan.file import PlanFile, read_plan
from runner.plan.header import PlanWindow
from runner.process import utc_now
from runner.send.safety import audit_age
from runner.settings import Limits, Safety, limits_from_json, limits_to_json
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
    runs = [_finished_run(path, sending) for path in audits]
    if (done := resumed_instead(runs[0].name, options, sending)) is not None:
        return done
    confirmed("Delete?", options, screen)
    parts = [part for run in runs for part in run.audits]
    ages = [audit_age(part.fold, utc_now()) for part in parts if part.fold.sessions]
    stale = fresh_enough(max(ages, default=timedelta()), "audit", options, screen)
    planned = [(part, part.plan or read_plan_beside(part.audit)) for part in parts]
    settings, windows = _settings_of(runs, planned)
    statuses = only or _UNCONFIRMED

    def make(scratch: Scratch) -> PlanFile:
        plan_batches_again(
            chain.from_iterable(_rest_of(*of_one, statuses) for of_one in planned),
            settings,
            scratch.plan,
            windows=windows,
            now=utc_now(),
            version=__version__,
        )
        return read_plan(scratch.plan)

    return send_new("rerun", settings.name, make, options, sending, first=stale)


def _finished_run(path: Path, sending: Sending) -> FoldedRun:
    """Return a run that may be rerun."""
    with speaking_of(RunNames(audit=str(path))):
        run = fold_run(find_run(path), own=True)
        for part in run.audits:
            if part.fold.sessions:
                check_origin(part.audit, part.fold, sending)
    _refuse_open(run, sending)
    return run


def _refuse_open(run: FoldedRun, sending: Sending) -> None:
    """Raise Refused of a run that is not finished, with the way to its end."""
    open_batches, of_cluster = run.totals().open_batches, run.manifest is not None or is_shard(run.path)
    if run.ended or not (open_batches or of_cluster):
        return
    finish = None if of_cluster else command("resume", run.path, access=sending.access.given)
    with speaking_of(RunNames(run.name, run.run_id, str(run.path), None, run.base_url, finish)):
        what = f"{many(open_batches, 'batch')} open" if open_batches else "a session in it has no end"
        raise Refused(f"{run.path}: {what}", hint=GOES_ON if of_cluster else f"finish it first: {finish}")


def _rest_of(
    part: FoldedAudit, plan: PlanFile, statuses: Sequence[str]
) -> Iterator[tuple[Target, tuple[str, ...]]]:
    """Yield what is to be sent again of an audit, each batch held against its plan."""
    if part.fold.sessions:
        with plan.lookup() as asked:
            yield from select_for_rerun(part.audit, statuses, asked)


def _settings_of(
    runs: Sequence[FoldedRun], planned: Sequence[tuple[FoldedAudit, PlanFile]]
) -> tuple[Job, list[PlanWindow]]:
    """Return what the new plan takes over from the runs, which must agree, and their windows.

    The shards of one job may differ in limits, for its rate can be changed between two of their sessions:
    what counts is the session that began last.
    """
    rules = {part.audit: _rules_of(part, plan) for part, plan in planned}
    limits = [rules[(run.last_begun or run.audits[0]).audit][0] for run in runs]
    first, safety = planned[0][1].header, rules[planned[0][0].audit][1]
    headers = [plan.header for _, plan in planned]
    if (
        any(others != limits[0] for others in limits)
        or any(others != safety for _, others in rules.values())
        or any(header.phone_rule != first.phone_rule for header in headers)
    ):
        raise Refused("the audits differ in limits, safety or phone rule", hint="rerun them one at a time")
    settings = Job(
        name=first.name,
        limits=limits_from_json(limits_to_json(limits[0])),
        safety=safety,
        phone_rule=first.phone_rule,
        timezone=first.timezone,
    )
    return settings, [window for header in headers for window in header.windows]


def _rules_of(part: FoldedAudit, plan: PlanFile) -> tuple[Limits, Safety]:
    """Return an audit's rules; those of its plan where it never began."""
    if part.fold.sessions:
        return rules_of(part.audit, part.fold, plan)
    return plan.header.limits.over(Limits()), plan.header.safety
