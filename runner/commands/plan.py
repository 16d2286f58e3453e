"""`plan`: what `run` would do, in numbers.

Without `--probe` it cannot reach the network: no client is made, and its module is not even imported.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from runner.access import Access
from runner.commands.drafting import Scratch, draft_plan, only_plan, temporary_folder
from runner.commands.shown import Shown
from runner.errors import Exit, Refused
from runner.files import copy_private
from runner.job.arguments import read_jobs
from runner.options import PlanOptions
from runner.output.console import Console
from runner.output.plan_text import describe_plan, plan_json
from runner.plan.file import PlanFile, copy_plan, read_plan
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
    probe: Access | None = None,
) -> Shown:
    """Show what `run` would do; with `probe`, also how many rows match there."""
    for path in (options.out, options.rejects):
        if path is not None and os.path.lexists(path):
            raise Refused(f"{path} exists", hint="name another file: nothing is written over")
    with temporary_folder() as folder:
        made = _made_plan(
            jobs, user_id, Scratch(folder / "plan", folder / "rejects"), options.rejects, screen
        )
        check_plan(made.header)
        if options.out is not None:
            copy_plan(made, options.out)
        used = options.limits.over(made.header.limits.over(Limits()))
        probed = [] if probe is None else _probe(made, probe, used)
    words = describe_plan(made, limits=used)
    result = {**plan_json(made), "probed": probed}
    return Shown(Exit.OK, result, lambda: "\n".join([words, *probed]))


def _made_plan(
    jobs: Sequence[str], user_id: str | None, scratch: Scratch, rejects: Path | None, screen: Console
) -> PlanFile:
    given = only_plan(jobs, user_id)
    if given is not None:
        return read_plan(given)
    job = read_jobs(jobs, user_id=user_id, now=utc_now())
    try:
        return draft_plan(job, scratch, screen)
    finally:
        # Wanted most where the plan is refused for them.
        if rejects is not None and scratch.rejects.exists():
            copy_private(scratch.rejects, rejects)


def _probe(made: PlanFile, access: Access, limits: Limits) -> list[str]:
    """Ask the API how many rows match, and return it in words."""
    from runner.commands.probe import probe_plan  # noqa: PLC0415 - only this way does `plan` know of a client

    with asyncio.Runner(loop_factory=use_loop()) as runner:
        return runner.run(probe_plan(made, access, limits))
