"""`resume`: go on with an interrupted run in its own audit, and send exactly what has no end."""

from pathlib import Path

from runner.access import Access
from runner.audit.fold import Fold, fold_audit
from runner.audit.journal import DiskFile
from runner.audit.records import as_json
from runner.commands.drafting import plan_beside
from runner.commands.execute import RunFiles
from runner.commands.questions import confirmed, fresh_enough
from runner.commands.sending import Sending, check_is_plan_of, check_origin, rules_of, send
from runner.commands.shown import Shown
from runner.errors import Exit
from runner.options import ResumeOptions
from runner.output.console import Console
from runner.output.report import make_report, report_text
from runner.plan.file import PlanFile, read_plan
from runner.process import utc_now
from runner.send.safety import audit_age, was_capped

__all__ = ["resume"]


def resume(audit: Path, options: ResumeOptions, access: Access, screen: Console) -> Shown:
    """Go on with a run; with nothing left to do nothing is sent."""
    file = DiskFile.reopen(audit)
    try:
        plan = read_plan(plan_beside(audit))
        fold = fold_audit(audit, verify_chain=True, phones_of=plan.phones_of)
        check_origin(audit, fold, access.base_url)
        check_is_plan_of(plan, fold)
        if fold.ended == fold.planned_batches:
            screen.say("nothing is left to do")
            return _finished(audit, fold, plan)
        questions = fresh_enough(audit_age(fold, utc_now()), "audit", options)
        if (why := was_capped(fold)) is not None:
            questions += confirmed(f"The last session was stopped by {why}. Go on?", options)
        files = RunFiles(plan, audit, file, fold)
        sending = Sending("resume", options, access, questions)
        return send(files, sending, rules_of(audit, fold, plan), screen)
    finally:
        file.close()


def _finished(audit: Path, fold: Fold, plan: PlanFile) -> Shown:
    """Show a run in which nothing is left to do; nothing is written."""
    report = make_report(audit, fold, phones_of=plan.phones_of)
    # The summary of a session before one that was killed does not know what that one ended.
    last = fold.last_summary if fold.complete else None
    code = Exit.OK if fold.totals().all_confirmed else Exit.PARTIAL
    shown = report if last is None else as_json(last, chain=fold.chain)
    return Shown(code, shown, lambda: report_text(report))
