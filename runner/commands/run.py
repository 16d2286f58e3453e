"""`run`: plan, confirm, delete, audit."""

from collections.abc import Sequence

from runner.access import Access
from runner.commands.command_call import CommandResult
from runner.commands.evidence import refuse_shard
from runner.commands.new_plan import Scratch, draft_plan, only_plan
from runner.commands.questions import confirmed, fresh_enough
from runner.commands.resume import resumed_instead
from runner.commands.sending import Sending, send_new
from runner.options import RunOptions
from runner.output.console import Console
from runner.output.results import RunResult
from runner.plan.file import PlanFile, copy_plan, read_plan
from runner.process import utc_now
from runner.send.safety import plan_age

__all__ = ["run"]


def run(
    jobs: Sequence[str], user_id: str | None, options: RunOptions, access: Access, screen: Console
) -> CommandResult[RunResult]:
    """Run jobs, or one plan; with `or_resume` go on with the audit that is there already."""
    sending = Sending(options, access, screen, RunResult)
    given = only_plan(jobs, user_id)
    if given is not None:
        refuse_shard(given)
        return _run_plan(read_plan(given), options, sending)
    from runner.job.arguments import read_jobs  # noqa: PLC0415 - a plan starts sooner without

    job = read_jobs(jobs, user_id=user_id, now=utc_now())
    if (done := resumed_instead(job.name, options, sending)) is not None:
        return done
    confirmed("Delete?", options, screen)

    def make(scratch: Scratch) -> PlanFile:
        return draft_plan(job, scratch, screen)

    return send_new("run", job.name, make, options, sending)


def _run_plan(plan: PlanFile, options: RunOptions, sending: Sending) -> CommandResult[RunResult]:
    name = plan.header.name
    if (done := resumed_instead(name, options, sending)) is not None:
        return done
    confirmed("Delete?", options, sending.screen)
    stale = fresh_enough(plan_age(plan.mtime_s, plan.header, utc_now()), "plan", options, sending.screen)
    return send_new("run", name, lambda scratch: copy_plan(plan, scratch.plan), options, sending, first=stale)
