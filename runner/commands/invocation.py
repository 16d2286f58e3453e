"""What the verbs have in common: flags as parsed, the screen, questions, and a plan drafted from a job.

Reaches nothing: no client, no gate and no journal is known here, so that `plan` cannot connect by mistake.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson

from runner import __version__
from runner.errors import Refused
from runner.files import create_private
from runner.job.entries import Job
from runner.output.console import Console, Verbosity
from runner.plan.file import PlanFile, is_plan, read_plan
from runner.plan.header import Reject
from runner.plan.spill import spill_full
from runner.process import utc_now
from runner.send.safety import Question, is_stale
from runner.settings import Access, LimitsGiven, environment_warnings, read_base_url, read_token

__all__ = ["Call", "Scratch", "draft_plan", "only_plan", "plan_beside", "temporary_folder"]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a verb: its flags as parsed, and the screen."""

    flags: Mapping[str, Any]
    limits: LimitsGiven
    console: Console

    @classmethod
    def of(cls, flags: Mapping[str, Any], limits: LimitsGiven) -> "Call":
        """Open the screen, and warn of variables that mean nothing."""
        console = Console(Verbosity(quiet=flags["quiet"], verbose=flags["verbose"]))
        for warning in environment_warnings(os.environ):
            console.warn(warning)
        return cls(flags, limits, console)

    def access(self) -> Access:
        """Return how the vendor is reached; raises Refused where the URL or the token is no good."""
        base_url = read_base_url(self.flags["base_url"], os.environ)
        given = self.flags["token_file"]
        token = read_token(os.environ, None if given is None else str(given))
        self.console.hide(token)
        ca_file = self.flags["ca_file"]
        return Access(
            base_url, token, None if ca_file is None else str(ca_file), self.flags["proxy_from_env"]
        )

    def question(self, text: str, flag: str) -> list[Question]:
        """Return a question to ask, none if its flag was given; refuse at once where nobody can answer."""
        if self.flags[flag.strip("-").replace("-", "_")]:
            return []
        if not (sys.stdin and sys.stdin.isatty()):
            raise Refused(f"not confirmed: {text}", hint=f"there is no terminal to ask on: add {flag}")
        return [Question(text, flag)]

    def stale(self, age: timedelta, what: str) -> list[Question]:
        """Return the question that something over a day old raises."""
        if not is_stale(age):
            return []
        words = f"The {what} is {age.days} day(s) old: rows imported since then would go as well. Go on?"
        return self.question(words, "--stale-ok")

    def show(self, result: Mapping[str, Any], text: Callable[[], str]) -> None:
        """Write the result to standard output, as JSON or as text."""
        self.console.result(orjson.dumps(result).decode() if self.flags["as_json"] else text())


@dataclass(frozen=True, slots=True)
class Scratch:
    """Where a plan and its rejected values are written."""

    plan: Path
    rejects: Path


def only_plan(jobs: Sequence[str]) -> Path | None:
    """Return the plan that the arguments name, if they name one; it cannot be mixed with jobs."""
    plans = [job for job in jobs if job != "-" and is_plan(Path(job))]
    if not plans:
        return None
    if len(jobs) > 1:
        raise Refused(f"{plans[0]} is a plan: it is run alone", hint="run the other jobs on their own")
    return Path(plans[0])


def plan_beside(audit: Path) -> Path:
    """Return where an audit's plan stands."""
    return Path(f"{audit}.plan")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a private folder that is gone afterwards; raises Refused where there is no room for one."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="bulk-delete-")
    except OSError as error:
        raise spill_full(error) from error
    with folder as path:
        yield Path(path)


def draft_plan(job: Job, scratch: Scratch, call: Call) -> PlanFile:
    """Plan a job into a scratch place, showing progress; its rejected values go there as JSON lines."""
    from runner.plan.planner import plan_job  # noqa: PLC0415 - a plan starts sooner without

    try:
        with os.fdopen(create_private(scratch.rejects), "wb") as file:

            def note(reject: Reject) -> None:
                file.write(orjson.dumps(reject) + b"\n")

            plan_job(
                job,
                scratch.plan,
                today=utc_now().date(),
                version=__version__,
                on_progress=call.console.follow_planning(),
                rejects=note,
            )
    except OSError as error:
        raise spill_full(error) from error
    return read_plan(scratch.plan)
