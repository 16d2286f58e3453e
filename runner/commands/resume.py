"""`resume`: go on with an interrupted run in its own audit, and send exactly what has no end."""

import asyncio
from pathlib import Path

from runner.access import Access
from runner.audit.fold import Fold, fold_audit
from runner.audit.journal import DiskFile, Journal
from runner.audit.reader import read_first
from runner.audit.records import Record, as_json
from runner.commands.drafting import plan_beside
from runner.commands.execute import RunFiles
from runner.commands.placing import began
from runner.commands.questions import confirmed, fresh_enough
from runner.commands.sending import Sending, check_is_plan_of, check_origin, rules_of, send
from runner.commands.shown import Shown
from runner.errors import Exit, Refused, Stopped
from runner.locks import Holder
from runner.options import ResumeOptions, RunOptions
from runner.output.console import Console
from runner.output.report import make_report, report_text
from runner.plan.file import PlanFile, read_plan
from runner.process import utc_now
from runner.send.safety import audit_age, was_capped
from runner.send.session import missing_summary

__all__ = ["resume", "resumed_instead"]


def resume(audit: Path, options: ResumeOptions, access: Access, screen: Console) -> Shown:
    """Go on with a run; with nothing left to do nothing is sent."""

    def on_wait(holder: Holder) -> None:
        screen.say(f"waiting: the audit {audit} is held by {holder}")

    file = DiskFile.reopen(audit, on_wait=on_wait if options.wait else None)
    try:
        plan = read_plan(plan_beside(audit))
        fold = fold_audit(audit, verify_chain=True, phones_of=plan.phones_of)
        check_origin(audit, fold, access, screen)
        check_is_plan_of(plan, fold)
        if fold.ended == fold.planned_batches:
            screen.say("nothing is left to do")
            if not fold.complete:
                _add_summary(file, fold, plan, screen)
            return _finished(audit, fold, plan)
        questions = fresh_enough(audit_age(fold, utc_now()), "audit", options)
        if (why := was_capped(fold)) is not None:
            questions += confirmed(f"The last session was stopped by {why}. Go on?", options)
        files = RunFiles(plan, audit, file, fold)
        sending = Sending("resume", options, access, questions)
        return send(files, sending, rules_of(audit, fold, plan), screen)
    finally:
        file.close()


def resumed_instead(name: str, options: RunOptions, access: Access, screen: Console) -> Shown | None:
    """Go on with the audit that a new run would write, where that is asked for and it is there.

    Args:
        name: The job's; the audit must be of a job of this name.
        options: With `or_resume` and `audit`, or None is returned.
        access: How the vendor is reached.
        screen: Where words go.

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
    screen.say(f"{options.audit} is there: going on with it")
    return resume(options.audit, options, access, screen)


def _add_summary(file: DiskFile, fold: Fold, plan: PlanFile, screen: Console) -> None:
    """Add the one record that a session lacks which was killed after its last batch."""

    def on_record(record: Record, chain: str) -> None:
        fold.add(record, chain=chain)

    journal = Journal(file, now=utc_now, on_record=on_record, chain=fold.chain)
    try:
        file.repair_tail()
        journal.append(missing_summary(fold, plan.header.totals, plan.phones_of))
        asyncio.run(journal.sync())
    except Stopped as stopped:
        # All is done and stands in the audit; `verify` goes on saying that its end is missing.
        screen.warn(f"its last session has no summary, and none could be added: {stopped.why}")


def _finished(audit: Path, fold: Fold, plan: PlanFile) -> Shown:
    """Show a run in which nothing is left to do."""
    report = make_report(audit, fold, phones_of=plan.phones_of)
    # The summary of a session before one that was killed does not know what that one ended.
    last = fold.last_summary if fold.complete else None
    code = Exit.OK if fold.totals().all_confirmed else Exit.PARTIAL
    shown = report if last is None else as_json(last, chain=fold.chain)
    return Shown(code, shown, lambda: report_text(report))
