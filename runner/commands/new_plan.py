"""A plan on its way from a job to its place: what `plan` and the verbs that send have in common.

Reaches nothing: no client, no gate and no journal is known here, so that `plan` cannot connect by mistake.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner.commands.evidence import is_audit
from runner.errors import Refused
from runner.files import create_private
from runner.invocation import command
from runner.job.entries import Job
from runner.output.console import Console
from runner.plan.file import PlanFile, is_plan, read_plan
from runner.plan.header import Reject
from runner.plan.spill import spill_full
from runner.process import utc_now
from runner.version import __version__

__all__ = ["Scratch", "draft_plan", "only_plan", "temporary_folder"]


@dataclass(frozen=True, slots=True)
class Scratch:
    """Where a plan and its rejected values are written."""

    plan: Path
    rejects: Path


def only_plan(jobs: Sequence[str], user_id: str | None) -> Path | None:
    """Return the plan that the arguments name, if they name one; it cannot be mixed with anything.

    Raises:
        Refused: A plan is named together with other jobs, or with a user; or an audit is named.
    """
    for audit in filter(is_audit, map(Path, jobs)):
        ways = f"{command('resume', audit)} goes on with it, {command('report', audit)} shows it"
        raise Refused(f"{audit} is the audit of a run, and no job", hint=ways)
    plans = [job for job in jobs if job != "-" and is_plan(Path(job))]
    if not plans:
        return None
    if len(jobs) > 1:
        raise Refused(f"{plans[0]} is a plan: it is run alone", hint="run the other jobs on their own")
    if user_id is not None:
        raise Refused("--user-id goes with a list; a plan names its own users", hint="Leave it away.")
    return Path(plans[0])


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a private folder that is gone afterwards; raises Refused where there is no room for one."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="bulk-delete-")
    except OSError as error:
        raise spill_full(error) from error
    with folder as path:
        yield Path(path)


def draft_plan(job: Job, scratch: Scratch, screen: Console) -> PlanFile:
    """Plan a job into a scratch place, showing progress; its rejected values go there as JSON lines."""
    from runner.plan.planner import plan_job  # noqa: PLC0415 - a plan starts sooner without

    try:
        with os.fdopen(create_private(scratch.rejects), "wb") as file:

            def note(reject: Reject) -> None:
                file.write(reject.to_json())

            plan_job(
                job,
                scratch.plan,
                now=utc_now(),
                version=__version__,
                on_progress=screen.follow_planning(),
                rejects=note,
            )
    except OSError as error:
        raise spill_full(error) from error
    return read_plan(scratch.plan)
