"""`plan`: what `run` would do, in numbers.

Without `--probe` it cannot reach the network: no client is made, and its module is not even imported.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from runner.access import Access
from runner.commands.command_call import CommandResult
from runner.commands.growth import outgrown
from runner.commands.new_plan import Scratch, draft_plan, only_plan, temporary_folder
from runner.files import copy_private, refuse_existing
from runner.invocation import command
from runner.job.arguments import read_jobs
from runner.options import AccessOptions, PlanOptions
from runner.output.console import Console
from runner.output.plan_text import describe_plan
from runner.output.results import PlanResult
from runner.plan.file import PlanFile, copy_plan, read_plan
from runner.plan.header import PlanHeader
from runner.plan.rules import check_plan
from runner.process import use_loop, utc_now
from runner.settings import Limits

__all__ = ["plan"]


def plan(
    jobs: Sequence[str],
    user_id: str | None,
    options: PlanOptions,
    screen: Console,
    *,
    given: AccessOptions,
    probe: Access | None = None,
) -> CommandResult[PlanResult]:
    """Show what `run` would do; `given` are flags for the command to type next, `probe` is whom to ask.

    Raises:
        Refused: A job, a list or a rule does not allow it, `options` names a file that exists, or the
            listing cannot be read.
        AuditDamaged: A plan is altered.
        Busy: `probe` is asked, and a run holds the origin.
    """
    refuse_existing(options.out, options.rejects)
    with temporary_folder() as folder:
        scratch = Scratch(folder / "plan", folder / "rejects")
        made, written = _made_plan(jobs, user_id, scratch, options, screen)
        used = options.limits.over(made.header.limits.over(Limits()))
        probed = [] if probe is None else _probe(made, probe, used, screen)
    growth = outgrown(made.header, None)
    header = {name: getattr(made.header, name) for name in PlanHeader.__struct_fields__}
    result = PlanResult(
        **header,
        message=growth,
        job=made.header.name,
        plan=None if written is None else str(written),
        base_url=None if probe is None else probe.base_url,
        next=_next(jobs, user_id, written, given),
        users=made.users,
        more_users=made.header.totals.users - len(made.users),
        sha256=made.sha256,
        probed=tuple(probed),
    )
    said = [] if growth is None else [f"{growth}: `run` will ask, or needs --accept-size"]
    words = [describe_plan(made, limits=used), *said, *probed]
    return CommandResult(
        result, lambda: "\n".join([*words, *([f"\nto run it: {result.next}"] if result.next else [])])
    )


def _next(
    jobs: Sequence[str], user_id: str | None, written: Path | None, access: AccessOptions
) -> str | None:
    """Return the command that runs just this; None where it was read from standard input."""
    if written is not None:
        return command("run", written, access=access)
    if "-" in jobs:
        return None
    users = () if user_id is None else ("--user-id", user_id)
    return command("run", *map(Path, jobs), *users, access=access)


def _made_plan(
    jobs: Sequence[str], user_id: str | None, scratch: Scratch, options: PlanOptions, screen: Console
) -> tuple[PlanFile, Path | None]:
    """Return the plan, checked, and the file in which it can be found afterwards."""
    given = only_plan(jobs, user_id)
    if given is not None:
        made = read_plan(given)
    else:
        job = read_jobs(jobs, user_id=user_id, now=utc_now())
        try:
            made = draft_plan(job, scratch, screen)
        finally:
            # Wanted most where the plan is refused for them.
            if options.rejects is not None and scratch.rejects.exists():
                copy_private(scratch.rejects, options.rejects)
    check_plan(made.header)
    if options.out is None:
        return made, given
    copy_plan(made, options.out)
    return made, options.out


def _probe(made: PlanFile, access: Access, limits: Limits, screen: Console) -> list[str]:
    """Ask the API how many rows match, and return it in words."""
    from runner.commands.probe import probe_plan  # noqa: PLC0415 - only this way does `plan` know of a client

    with asyncio.Runner(loop_factory=use_loop()) as runner:
        return runner.run(probe_plan(made, access, limits, screen))
