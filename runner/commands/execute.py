"""Opens everything that a session needs, in one place, and closes it: lock, API, audit, signals, progress.

What is to be done comes in as a `RunRequest`, checked and confirmed by nobody yet. The lock is taken before
the first request, the questions are asked before the audit exists, which is made before any deletion.
"""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson

from runner.api.client import Client, open_client
from runner.audit.fold import Fold
from runner.audit.journal import DiskFile, Journal
from runner.audit.records import rejected_record
from runner.errors import Exit, RunnerError, Stopped
from runner.locks import origin_lock
from runner.model import Prior, Target, Work
from runner.outcomes import AttemptFailed, NextStep
from runner.output.console import Console, Snapshot
from runner.plan.file import PlanFile
from runner.plan.header import PlanWindow
from runner.plan.protect import ProtectList
from runner.process import signals_to, utc_now
from runner.send.pacing import Pacer, retrying
from runner.send.safety import EmptyWatch, Question, check_windows
from runner.send.session import PaceNotes, RunSpec, Session, Tools
from runner.settings import Access
from runner.stop import Stop, Stopping, StopReason

__all__ = ["Interrupted", "Listing", "Result", "RunFiles", "RunRequest", "carry_out"]


_Found = TypeVar("_Found")


class Interrupted(RunnerError):
    """A stop came before anything was sent."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(f"{reason.why}: nothing was sent")
        self.exit_code = reason.exit_code


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The plan and the audit of a run; for a resume the open file and what stands in it."""

    plan: PlanFile
    audit: Path
    file: DiskFile | None = None
    fold: Fold | None = None
    rejects: Path | None = None
    """`rejected` records of the planning, as JSON lines."""

    def works(self, fold: Fold, protect: ProtectList) -> Iterator[Work]:
        """Yield what has no end yet, in plan order.

        Raises:
            Stopped: The plan is no longer what was confirmed; nothing of what changed was yielded.
        """
        try:
            for batch in self.plan.batches(lambda seq: not fold.is_ended(seq)):
                prior = fold.prior(batch.seq) if self.fold is not None else Prior()
                yield Work(batch, prior, protect.matches(batch.phones))
        except RunnerError as error:
            why = f"the plan is no longer what was confirmed: {error.message}"
            raise Stopped(why, hint=error.hint) from error

    def open_windows(self) -> tuple[PlanWindow, ...]:
        """Return the windows that are still to be deleted."""
        fold = self.fold
        return tuple(w for w in self.plan.header.windows if fold is None or not fold.is_ended(w.seq))


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One session, decided but for the answers of a person."""

    terms: RunSpec
    access: Access
    evidence: RunFiles
    protect: ProtectList
    questions: tuple[Question, ...]
    wait: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """How a session ended: its summary, and the fold of the whole audit."""

    summary: Mapping[str, Any]
    fold: Fold
    recorded: bool
    """False: the summary could not be written into the audit."""

    @property
    def exit_code(self) -> Exit:
        """The session's exit code."""
        return Exit(self.summary["exit_code"])


@dataclass(frozen=True, slots=True)
class Listing:
    """The vendor's listing, asked as deletions are sent: tried again, and a `Retry-After` pauses it too."""

    client: Client
    pacer: Pacer
    stop: Stop
    max_attempts: int

    async def total(self, target: Target, phone: str | None = None) -> int:
        """Return how many rows match.

        Raises:
            AttemptFailed: It could not be read.
            Stopping: The run was told to stop first.
        """
        return await retrying(self.max_attempts, self.stop)(self._attempt, target, phone)

    async def _attempt(self, target: Target, phone: str | None) -> int:
        try:
            return await self.client.list_total(target, phone)
        except AttemptFailed as failure:
            if failure.kind.then is NextStep.PAUSE or failure.retry_after_s is not None:
                self.pacer.rate_limited(failure.retry_after_s)
            raise


async def carry_out(order: RunRequest, console: Console) -> Result:
    """Ask, lock, send, and write the summary.

    Raises:
        Refused: A person declined, or a safety rule did; nothing was sent.
        Busy: Another run holds the origin or the audit.
        Interrupted: A signal came before anything was sent.
    """
    stop = Stop()
    with signals_to(
        stop, lambda name: console.say(f"{name}: finishing what is under way; again to leave now")
    ):
        try:
            async with AsyncExitStack() as stack:
                return await _carry_out(order, console, stop, stack)
        except Stopping:
            assert stop.reason is not None  # noqa: S101 - only a stop raises Stopping
            raise Interrupted(stop.reason) from None


async def _carry_out(order: RunRequest, console: Console, stop: Stop, stack: AsyncExitStack) -> Result:
    terms, access, limits = order.terms, order.access, order.terms.limits
    windows = order.evidence.open_windows()
    if not windows:
        await _ask(order.questions, console, stop)
    lock = origin_lock(
        access.base_url,
        wait=order.wait,
        sleep=stop.sleep,
        on_wait=lambda holder: console.say(f"waiting for the run of {holder}"),
    )
    await stack.enter_async_context(lock)
    loop = asyncio.get_running_loop()
    deadline_s = None if limits.deadline_s is None else loop.time() + limits.deadline_s
    notes = PaceNotes()
    pacer = Pacer(limits.rate, stop, on_change=notes, now=utc_now, deadline_s=deadline_s)
    client = await stack.enter_async_context(
        open_client(
            access.base_url,
            access.token,
            pacer,
            stop,
            timeout_s=limits.timeout_s,
            concurrency=limits.concurrency,
            ca_file=access.ca_file,
            proxy_from_env=access.proxy_from_env,
        )
    )
    if windows:
        listing = Listing(client, pacer, stop, limits.max_attempts)
        rows = await _unless_abandoned(check_windows(windows, listing.total), stop)
        for place, total in rows.items():
            console.say(f"{place}: {total:,} rows match just now")
        await _ask(order.questions, console, stop)
    order.evidence.plan.check()
    fold = order.evidence.fold or Fold(str(order.evidence.audit), phones_of=terms.phones_of)
    file = order.evidence.file or DiskFile.create(order.evidence.audit)
    stack.callback(file.close)
    if cut := file.repair_tail():
        console.warn(f"the audit's last line was torn by a crash: {cut} bytes cut off")
    empty = EmptyWatch(fold, terms.safety, stop, console.warn)

    def on_record(record: Mapping[str, Any]) -> None:
        fold.add(record)
        empty.look(record)
        console.tell(record)

    journal = Journal(file, now=utc_now, on_record=on_record, chain=fold.chain)
    session = Session(terms, Tools(client, pacer, journal, fold, stop, utc_now), notes, deadline_s)
    progress = asyncio.create_task(console.follow(lambda: _snapshot(fold, pacer)))
    try:
        works = order.evidence.works(fold, order.protect)
        summary, recorded = await session.run(works, _read_rejects(order.evidence.rejects))
    finally:
        progress.cancel()
        with suppress(asyncio.CancelledError):
            await progress
    return Result(fold.last_summary if recorded and fold.last_summary else summary, fold, recorded)


async def _unless_abandoned(asking: Coroutine[Any, Any, _Found], stop: Stop) -> _Found:
    """Await what deletes nothing; a second signal drops it, although a request may be on the wire."""
    task = asyncio.ensure_future(asking)

    def drop() -> None:
        task.cancel()

    stop.on_abandon = drop
    try:
        return await task
    except asyncio.CancelledError:
        if stop and task.cancelled():
            raise Stopping from None
        raise
    finally:
        stop.on_abandon = None


async def _ask(questions: tuple[Question, ...], console: Console, stop: Stop) -> None:
    for question in questions:
        await console.ask(question.text, stop, unless=question.flag)


def _snapshot(fold: Fold, pacer: Pacer) -> Snapshot:
    totals = fold.totals()
    return Snapshot(
        batches=fold.ended,
        planned=fold.planned_batches,
        phones=totals.phones["deleted"],
        count=totals.count,
        troubled=totals.batches["failed"],
        rate=pacer.meter.rate_achieved,
    )


def _read_rejects(path: Path | None) -> Iterator[dict[str, Any]]:
    if path is None:
        return
    with path.open("rb") as file:
        for line in file:
            yield rejected_record(**orjson.loads(line))
