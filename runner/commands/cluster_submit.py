"""`cluster submit`: a confirmed plan becomes a job, cut into shards for workers; nothing is sent here."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from runner.access import Access, origin_of
from runner.cluster.database import Connection, Database
from runner.cluster.jobs import JobRow, NewJob, find_job, ordered_rate, place_job, reopen_job, same_job
from runner.cluster.origin import Origin, open_origin
from runner.cluster.shards import cut_plan
from runner.cluster.slots import check_shared
from runner.commands.cluster_database import Cluster, answer
from runner.commands.command_call import CommandResult
from runner.commands.execute import show_windows
from runner.commands.new_plan import temporary_folder
from runner.commands.questions import confirmed, fresh_enough
from runner.commands.sending import check_words
from runner.commands.vendor import reach_vendor, stoppable
from runner.errors import Refused
from runner.locks import origin_lock
from runner.options import SubmitOptions
from runner.output.cluster_results import ClusterSubmitResult
from runner.output.console import Console
from runner.output.plan_text import describe_plan, scope
from runner.plan.file import PlanFile, is_plan, read_plan
from runner.plan.header import PlanWindow
from runner.plan.protect_file import read_protect_file
from runner.plan.rules import check_plan
from runner.process import use_loop, utc_now
from runner.send.safety import Question, plan_age
from runner.settings import Limits, limits_from_json, limits_to_json
from runner.text import many

__all__ = ["Submission", "submit"]


@dataclass(frozen=True, slots=True)
class Submission:
    """What is submitted, and to whom.

    Args:
        path: The plan's file.
        options: How it is cut and sent, and which questions are answered already.
        base_url: Its origin is what the job is for.
        reach: Opens the vendor, with the token; asked only where windows are to be counted.
    """

    path: Path
    options: SubmitOptions
    base_url: str
    reach: Callable[[], Access]

    @property
    def origin(self) -> str:
        """Return scheme, host and port."""
        return origin_of(self.base_url)


def submit(given: Submission, cluster: Cluster, screen: Console) -> CommandResult[ClusterSubmitResult]:
    """Place a plan's shards, all or none; the same plan for the same origin is the same job.

    Raises:
        Refused: It is no plan, a rule does not allow it, or nobody confirmed it; nothing was placed.
        AuditDamaged: The plan is altered.
        DatabaseAway: The database cannot be reached.
    """
    plan = _checked(given)
    found = cluster.run(lambda connection: _find(connection, plan, given))
    if found.row is not None and found.row.state != "stopped":
        return _ended(found.row, "there", given, cluster)
    limits = given.options.limits.over(found.limits)
    check_shared(limits.rate)
    screen.say(describe_plan(plan, limits=limits, base_url=given.base_url))
    _say_what_differs(plan, screen)
    questions = _questions(plan, found.row, given, screen)
    if windows := plan.header.windows:
        _count_windows(windows, limits, given.reach(), cluster.database, screen)
    answer(questions, screen)
    new = _new_job(plan, limits, given)

    async def place(connection: Connection) -> tuple[bool, JobRow]:
        if found.row is not None:
            ours = await reopen_job(connection, new)
        else:
            with temporary_folder() as folder:
                ours = await place_job(connection, new, cut_plan(plan, given.options.shards, folder))
        return ours, await find_job(connection, new.job)

    ours, row = cluster.run(place)
    if row.rate != limits.rate:
        screen.warn(f"the rate is {row.rate}, not {limits.rate}: others at this origin have the lower one")
    if row.held:
        screen.warn(f"an operator paused it; to go on, type: {cluster.command('pace', row.job, '--go-on')}")
    return _ended(row, "there" if not ours else "reopened" if found.row else "placed", given, cluster)


@dataclass(frozen=True, slots=True)
class _Standing:
    """What is there of a plan, and the limits that hold where no flag says otherwise."""

    row: JobRow | None
    limits: Limits


async def _find(connection: Connection, plan: PlanFile, given: Submission) -> _Standing:
    """Look for the job that a plan is; one that is gone on with keeps its limits, as an operator set them."""
    row = await same_job(connection, given.origin, plan.sha256)
    limits = plan.header.limits.over(Limits())
    if row is None:
        return _Standing(None, limits)
    limits = limits_from_json(row.settings["limits"]).over(limits)
    rate = await ordered_rate(connection, row.job)
    return _Standing(row, limits if rate is None else replace(limits, rate=rate))


def _checked(given: Submission) -> PlanFile:
    """Return the plan, which keeps its own rules, and whose protect file can be read."""
    if not is_plan(given.path):
        hint = "make one: plan JOB --out FILE; then submit FILE"
        raise Refused(f"{given.path} is no plan: only what was planned can be shared out", hint=hint)
    check_words(given.options)
    plan = read_plan(given.path)
    check_plan(plan.header)
    if (protect := plan.header.safety.protect_file) is not None:
        read_protect_file(protect, plan.header.phone_rule)
    return plan


def _say_what_differs(plan: PlanFile, screen: Console) -> None:
    """Say which of the plan's rules act elsewhere, or not at all, when many machines keep it."""
    safety = plan.header.safety
    if safety.max_growth is not None:
        screen.warn("max_growth is not looked at: it compares with audits of this machine")
    if safety.protect_file is not None:
        screen.say(f"each worker reads the protect file again where it runs: {safety.protect_file}")


def _count_windows(
    windows: Sequence[PlanWindow], limits: Limits, access: Access, database: Database, screen: Console
) -> None:
    """Say how many rows each window matches just now, asked at the rate that all share; Refused: too many."""
    origin = Origin(database, access.base_url, on_lower=lambda _rate: None)  # said when the job is placed

    async def ask() -> None:
        async with (
            stoppable(screen, screen.note) as stop,
            origin_lock(access.base_url, wait=False, shared=True),
            reach_vendor(access, limits, stop, partial(open_origin, origin)) as vendor,
        ):
            await show_windows(windows, vendor, screen)

    with asyncio.Runner(loop_factory=use_loop()) as runner:
        runner.run(ask())


def _questions(
    plan: PlanFile, row: JobRow | None, given: Submission, screen: Console
) -> tuple[Question, ...]:
    header, options = plan.header, given.options
    stale = fresh_enough(plan_age(plan.mtime_s, header, utc_now()), "plan", options, screen)
    text = f"Delete {scope(header)}, at {given.base_url}?"
    if row is not None:
        why = "" if row.stop_why is None else f": {row.stop_why}"
        text = f"{row.job} was stopped{why}. Go on with it?"
    return (*stale, *confirmed(text, options, screen))


def _new_job(plan: PlanFile, limits: Limits, given: Submission) -> NewJob:
    options = given.options
    return NewJob(
        origin=given.origin,
        base_url=given.base_url,
        name=plan.header.name,
        run_id=secrets.token_hex(8),
        plan_sha256=plan.sha256,
        rate=limits.rate,
        settings={
            "limits": limits_to_json(limits),
            "reason": options.reason,
            "operator": options.operator,
            "audit_all_phones": options.audit_phones == "all",
        },
    )


_SAID = {
    "placed": "it waits for workers: each is a `bulk-delete cluster worker`",
    "reopened": "what was left of it waits for workers again",
    "open": "it was submitted before, and goes on as it was",
    "stopping": "it was submitted before, and is coming to a stop: submit it again to go on after that",
    "stopped": "it was submitted before, and has just been stopped: submit it again to go on",
    "done": "it was submitted before, and is done: nothing is left of it to be sent",
}


def _ended(
    row: JobRow, what: Literal["placed", "reopened", "there"], given: Submission, cluster: Cluster
) -> CommandResult[ClusterSubmitResult]:
    said = _SAID[row.state if what == "there" else what]
    if what == "there" and row.shards != given.options.shards:
        said = f"{said}; it has {many(row.shards, 'shard')}"
    steps = ("fetch", row.job, "--out", row.job) if row.state == "done" else ("status", row.job)
    result = ClusterSubmitResult(
        message=said,
        **row.names,
        next=cluster.command("cluster", *steps),
        plan=str(given.path),
        what=what,
        state=row.state,
        shards=row.shards,
        batches=row.batches,
        phones=row.phones,
        rate=str(row.rate),
    )
    return CommandResult(result, lambda: _text(result))


def _text(result: ClusterSubmitResult) -> str:
    size = f"{many(result.batches, 'batch')}, {many(result.phones, 'number')}, {many(result.shards, 'shard')}"
    lines = [f"{result.id}: {result.message}", f"{size}, at most {result.rate}", f"next: {result.next}"]
    return "\n".join(lines)
