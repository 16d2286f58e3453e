"""`run`: plan, confirm, delete, audit."""

import time
from collections.abc import Sequence

from runner.access import Access
from runner.commands.drafting import draft_plan, only_plan
from runner.commands.questions import confirmed, fresh_enough
from runner.commands.sending import Sending, drafted, new_audit, send_draft
from runner.commands.shown import Shown
from runner.options import RunOptions
from runner.output.console import Console
from runner.plan.file import copy_plan, read_plan
from runner.process import utc_now
from runner.send.safety import plan_age

__all__ = ["run"]


def run(
    jobs: Sequence[str], user_id: str | None, options: RunOptions, access: Access, screen: Console
) -> Shown:
    """Run jobs, or one plan."""
    confirmed("Delete?", options)
    given = only_plan(jobs, user_id)
    started_s = time.monotonic()
    if given is not None:
        plan = read_plan(given)
        stale = fresh_enough(plan_age(plan.mtime_s, plan.header, utc_now()), "plan", options)
        audit = new_audit(options.audit, plan.header.name)
        with drafted(audit, lambda scratch: copy_plan(plan, scratch.plan)) as files:
            sending = Sending("run", options, access, stale)
            return send_draft(files, sending, screen, plan_s=time.monotonic() - started_s)
    from runner.job.arguments import read_jobs  # noqa: PLC0415 - a plan starts sooner without

    job = read_jobs(jobs, user_id=user_id, now=utc_now())
    started_s = time.monotonic()
    with drafted(
        new_audit(options.audit, job.name), lambda scratch: draft_plan(job, scratch, screen)
    ) as files:
        sending = Sending("run", options, access, ())
        return send_draft(files, sending, screen, plan_s=time.monotonic() - started_s)
