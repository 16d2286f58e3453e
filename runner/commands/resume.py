"""`resume`: go on with an interrupted run in its own audit, and send exactly what has no end."""

import asyncio
from contextlib import closing
from pathlib import Path

from runner.access import Access
from runner.audit.fold import Fold, fold_audit
from runner.audit.journal import DiskFile
from runner.audit.reader import read_first
from runner.audit.records import SummaryRecord
from runner.commands.command_call import CommandResult
from runner.commands.evidence import check_is_plan_of, plan_beside, read_plan_beside, refuse_shard
from runner.commands.execute import RunFiles, SessionEnd, add_summary
from runner.commands.new_audit import began
from runner.commands.questions import confirmed, fresh_enough
from runner.commands.sending import Sending, check_origin, send_rest, shown_run
from runner.errors import Exit, Refused, RunNames, Stopped, speaking_of
from runner.locks import Holder
from runner.options import ResumeOptions, RunOptions
from runner.output.console import Console
from runner.output.results import ResumeResult, RunResult
from runner.process import utc_now
from runner.send.safety import audit_age, was_capped
from runner.send.session import missing_summary

__all__ = ["resume", "resumed_instead"]


def resume(audit: Path, options: ResumeOptions, access: Access, screen: Console) -> CommandResult[RunResult]:
    """Go on with a run; with nothing left to do nothing is sent."""
    return _resume(audit, Sending(options, access, screen, ResumeResult))


def resumed_instead(name: str, options: RunOptions, sending: Sending) -> CommandResult[RunResult] | None:
    """Go on with the audit that a new run would write, where that is asked for and it is there.

    Args:
        name: The job's; the audit must be of a job of this name.
        options: With `or_resume` and `audit`, or None is returned.
        sending: Of the new run.

    Raises:
        Refused: There is no `audit` to look for, or it is of another job.
    """
    if not options.or_resume:
        return None
    if options.audit is None:
        raise Refused("--or-resume goes with --audit", hint="name the audit to look for: --audit PATH")
    if not began(options.audit):
        return None
    first = read_first(options.audit)
    if first is None or first.job != name:
        whose = "no job" if first is None else f"the job {first.job}"
        raise Refused(
            f"{options.audit} is of {whose}, not of the job {name}", hint="give each job an audit of its own"
        )
    sending.screen.say(f"{options.audit} is there: going on with it")
    return _resume(options.audit, sending)


def _resume(audit: Path, sending: Sending) -> CommandResult[RunResult]:
    refuse_shard(audit)

    def on_wait(holder: Holder) -> None:
        sending.screen.say(f"waiting: the audit {audit} is held by {holder}")

    names = RunNames(audit=str(audit), plan=str(plan_beside(audit)), base_url=sending.access.base_url)
    with speaking_of(names):
        file = DiskFile.reopen(audit, on_wait=on_wait if sending.options.wait else None)
        with closing(file):
            plan = read_plan_beside(audit)
            fold = fold_audit(audit, verify_chain=True, phones_of=plan.phones_of)
            with speaking_of(RunNames(job=fold.first_run.job, run_id=fold.first_run.run_id)):
                check_origin(audit, fold, sending)
                check_is_plan_of(plan, fold.first_run)
                return _go_on(RunFiles(plan, audit, file, fold), fold, sending)


def _go_on(files: RunFiles, fold: Fold, sending: Sending) -> CommandResult[RunResult]:
    """Send what is left; where nothing is, say how it ended: 0 or 1, whatever stopped its last session."""
    if fold.ended == fold.planned_batches:
        sending.screen.say("nothing is left to do")
        summary = fold.last_summary if fold.complete else _add_summary(files, fold, sending.screen)
        assert summary is not None  # noqa: S101 - a complete fold has one
        code = Exit.OK if fold.totals().all_confirmed else Exit.PARTIAL
        return shown_run(SessionEnd(summary, fold), files, sending, exit_code=code)
    options, screen = sending.options, sending.screen
    questions = fresh_enough(audit_age(fold, utc_now()), "audit", options, screen)
    if (why := was_capped(fold)) is not None:
        questions += confirmed(f"The last session was stopped by {why}. Go on?", options, screen)
    return send_rest(files, fold, questions, sending)


def _add_summary(files: RunFiles, fold: Fold, screen: Console) -> SummaryRecord:
    """Add the one record that a session lacks which was killed after its last batch, and return it."""
    file = files.file
    assert file is not None  # noqa: S101 - a resume has opened its audit
    try:
        file.repair_tail()
        return asyncio.run(add_summary(file, fold, files.plan))
    except Stopped as stopped:
        # All is done and stands in the audit; `verify` goes on saying that its end is missing.
        screen.warn(f"its last session has no summary, and none could be added: {stopped.why}")
    return missing_summary(fold, files.plan.header.totals, files.plan.phones_of)
