"""Opens everything that a session needs, in one place, and closes it: lock, API, audit, signals, progress.

What is to be done comes in as a `RunRequest`, checked and confirmed by nobody yet. The lock is taken before
the first request, the questions are asked before the audit exists, which is made before any deletion.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson

from runner.access import Access
from runner.audit.fold import Fold
from runner.audit.journal import AppendFile, DiskFile, Journal
from runner.audit.records import BatchRecord, Record, RejectedRecord, SummaryRecord
from runner.commands.monitor import SessionMonitor
from runner.commands.questions import answered
from runner.commands.steering import SteeredRun, open_to_orders
from runner.commands.vendor import OpenPace, Vendor, own_pace, reach_vendor, stoppable
from runner.errors import Broken, Exit, Refused, RunnerError, Stopped
from runner.locks import origin_lock
from runner.model import Prior, Work
from runner.output.console import Console
from runner.plan.file import PlanFile
from runner.plan.header import PlanWindow
from runner.plan.protect import ProtectList
from runner.plan.protect_file import read_protect_file
from runner.process import busy_loop, utc_now
from runner.send.safety import Question, check_windows
from runner.send.session import RunSpec, Session, missing_summary
from runner.stop import Stop, Stopping
from runner.text import many

__all__ = [
    "OpenRun",
    "RunFiles",
    "RunRequest",
    "SessionEnd",
    "add_summary",
    "carry_out",
    "protected_now",
    "send",
    "show_windows",
]

_Found = TypeVar("_Found")

_LOOK_EVERY_S: Final = 0.01
"""Batches that are taken within so much time share one look at the plan's place."""
_NOTHING_DONE: Final = Prior()
_MOST_REFUSED: Final = 10
_ROOM: Final = "make room or mend the disk, and type the command again"


@contextmanager
def _as_confirmed() -> Iterator[None]:
    """Turn what is wrong with a plan that is being sent into what stops the run."""
    try:
        yield
    except RunnerError as error:
        why = f"the plan is no longer what was confirmed: {error.message}"
        raise Stopped(why, hint="put the plan back as it was confirmed") from error


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The plan and the audit of a run; for a resume the open file and what stands in it."""

    plan: PlanFile
    audit: Path
    file: DiskFile | None = None
    fold: Fold | None = None
    rejects: Path | None = None
    """`rejected` records of the planning, as JSON lines."""
    plan_s: float = 0.0
    """What planning took."""

    def works(self, fold: Fold, protect: ProtectList) -> Iterator[Work]:
        """Yield what has no end yet, in plan order.

        Raises:
            Stopped: The plan is no longer what was confirmed; nothing of what changed was yielded.
        """
        looked_s = -_LOOK_EVERY_S
        with _as_confirmed():
            for batch in self.plan.batches(lambda seq: not fold.is_ended(seq)):
                now_s = time.monotonic()
                if now_s - looked_s >= _LOOK_EVERY_S:
                    self.plan.check()  # its block may have been read long ago
                    looked_s = now_s
                prior = fold.prior(batch.seq) if self.fold is not None else _NOTHING_DONE
                yield Work(batch, prior, protect.matches(batch.phones))

    def check(self) -> None:
        """Look whether the plan is still in its place; raises Stopped."""
        with _as_confirmed():
            self.plan.check()

    def open_windows(self) -> tuple[PlanWindow, ...]:
        """Return the windows that are still to be deleted."""
        fold = self.fold
        return tuple(w for w in self.plan.header.windows if fold is None or not fold.is_ended(w.seq))


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One session, decided but for the answers of a person."""

    spec: RunSpec
    access: Access
    files: RunFiles
    questions: tuple[Question, ...]
    wait: bool = False
    open_pace: OpenPace = own_pace
    shared: bool = False
    """Others that say the same may send to this origin meanwhile: `open_pace` gives all of them one rate."""


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """How a session ended: its summary, and the fold of the whole audit."""

    summary: SummaryRecord
    fold: Fold
    unrecorded: str = ""
    """Why the summary could not be written into the audit; empty: it was."""
    remedy: str = ""
    """What is to be done before `resume` can go on, if that is known."""


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A session's edges, all of them open."""

    spec: RunSpec
    files: RunFiles
    fold: Fold
    """Of the audit so far."""
    file: AppendFile
    """Where it goes on."""
    vendor: Vendor
    protect: ProtectList


async def carry_out(request: RunRequest, screen: Console) -> SessionEnd:
    """Ask, lock, send, and write the summary.

    Raises:
        Refused: A person declined, or a safety rule did; nothing was sent.
        Busy: Another run holds the origin or the audit.
        Interrupted: A signal came before anything was sent.
    """
    monitor = SessionMonitor(request.spec.limits.timeout_s)

    def on_first(name: str) -> None:
        screen.note(monitor.signalled(name))

    async with stoppable(screen, on_first) as stop, AsyncExitStack() as stack:
        return await _carry_out(request, screen, monitor, stop, stack)


async def _carry_out(
    request: RunRequest, screen: Console, monitor: SessionMonitor, stop: Stop, stack: AsyncExitStack
) -> SessionEnd:
    spec, files = request.spec, request.files
    vendor = await _confirmed_vendor(request, screen, stop, stack)
    files.plan.check()
    protect = await asyncio.to_thread(protected_now, spec, files.plan)
    stop.check()
    file = files.file or DiskFile.create(files.audit)
    stack.callback(file.close)
    _repair(file, screen)
    fold = files.fold or Fold(str(files.audit), phones_of=spec.phones_of)

    @asynccontextmanager
    async def during(session: Session) -> AsyncIterator[None]:
        steered = SteeredRun(session, files.audit, files.plan.path, monitor.snapshot)
        async with screen.following(monitor.snapshot), open_to_orders(steered, screen.warn):
            yield

    with busy_loop():
        ended = await send(OpenRun(spec, files, fold, file, vendor, protect), screen, monitor, during)
    screen.settle(Exit(ended.summary.exit_code))
    return ended


async def send(
    run: OpenRun,
    screen: Console,
    monitor: SessionMonitor,
    during: Callable[[Session], AbstractAsyncContextManager[None]],
) -> SessionEnd:
    """Send what has no end yet, and write the summary.

    Raises:
        Stopped: A rule refused while it was under way.
        Refused: Nothing was sent: not even the session's first record could be written.
        Broken: A fault of the program.
    """
    spec, fold, vendor = run.spec, run.fold, run.vendor
    stop, before = vendor.stop, len(run.fold.sessions)

    def on_record(record: Record, chain: str) -> None:
        known = len(fold.refused_users)
        fold.add(record, chain=chain)
        if isinstance(record, BatchRecord):
            if record.status == "deleted":
                return  # of most there is nothing more to say
            if len(fold.refused_users) > known:
                _tell_refused(record, known, screen)
        monitor.note(record)
        screen.tell(record)

    journal = Journal(run.file, now=utc_now, on_record=on_record, chain=fold.chain)
    session = Session(
        spec, vendor.client, vendor.pacer, journal, fold, stop=stop, now=utc_now, warn=screen.warn
    )
    monitor.watch(fold, vendor.pacer, session.breaker, stop)
    try:
        async with during(session):
            works = run.files.works(fold, run.protect)
            rejects = _read_rejects(run.files.rejects)
            summary, unrecorded = await session.run(works, rejects, run.files.check)
    except Refused as error:
        raise Stopped(error.message, hint=error.hint) from error
    except (RunnerError, Stopping):
        raise
    except Exception as error:
        raise Broken(error, sent=len(fold.sessions) > before) from error
    if len(fold.sessions) == before:  # not even its first record could be written
        raise Refused(f"nothing was sent: {summary.why}", hint=_ROOM)
    if unrecorded is not None:
        return SessionEnd(summary, fold, unrecorded.why, unrecorded.hint)
    remedy = stop.reason.remedy if stop.reason is not None else ""
    return SessionEnd(fold.last_summary or summary, fold, remedy=remedy)


async def add_summary(file: AppendFile, fold: Fold, plan: PlanFile) -> SummaryRecord:
    """Write the summary that a session lacks which was killed after its last batch; raises Stopped."""

    def on_record(record: Record, chain: str) -> None:
        fold.add(record, chain=chain)

    journal = Journal(file, now=utc_now, on_record=on_record, chain=fold.chain)
    journal.append(missing_summary(fold, plan.header.totals, plan.phones_of))
    await journal.sync()
    summary = fold.last_summary
    assert summary is not None  # noqa: S101 - it was just written
    return summary


async def _confirmed_vendor(
    request: RunRequest, screen: Console, stop: Stop, stack: AsyncExitStack
) -> Vendor:
    """Take the lock, open the client and ask what is to be asked, each as early as it can be."""
    spec, access, windows = request.spec, request.access, request.files.open_windows()
    if not windows:
        await answered(request.questions, screen, stop)
    lock = origin_lock(
        access.base_url,
        wait=request.wait,
        shared=request.shared,
        sleep=stop.sleep,
        on_wait=lambda holder: screen.note(f"waiting for the run of {holder}"),
    )
    await stack.enter_async_context(lock)
    vendor = await stack.enter_async_context(reach_vendor(access, spec.limits, stop, request.open_pace))
    if windows:
        await show_windows(windows, vendor, screen)
        await answered(request.questions, screen, stop)
    return vendor


def _tell_refused(record: BatchRecord, known: int, screen: Console) -> None:
    """Name a user whom the vendor refused whole; of many the first."""
    if known < _MOST_REFUSED:
        screen.warn(f"user {record.user_id} was refused ({record.error}): the rest of theirs is not sent")
    elif known == _MOST_REFUSED:
        screen.warn("more users were refused; `report` names the first of them, `report --json` all")


def _repair(file: DiskFile, screen: Console) -> None:
    """Cut a torn last line off; raises Refused where the disk does not take that: nothing was sent yet."""
    try:
        cut = file.repair_tail()
    except Stopped as error:
        raise Refused(f"nothing was sent: {error.why}", hint=_ROOM) from error
    if cut:
        screen.warn(f"the audit's last line was torn by a crash: {many(cut, 'byte')} cut off")


def protected_now(spec: RunSpec, plan: PlanFile) -> ProtectList:
    """Read the protect file as it is now: since the plan was made, a number may have been added."""
    path, rule = spec.safety.protect_file, plan.header.phone_rule
    return ProtectList(rule) if path is None else read_protect_file(path, rule)


async def show_windows(windows: Sequence[PlanWindow], vendor: Vendor, screen: Console) -> None:
    """Say how many rows each window matches just now; raises Refused where they are too many."""
    rows = await _unless_abandoned(check_windows(windows, vendor.total), vendor.stop)
    for place, total in rows.items():
        screen.say(f"{place}: rows that match just now: {total:,}")


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


def _read_rejects(path: Path | None) -> Iterator[RejectedRecord]:
    if path is None:
        return
    with path.open("rb") as file:
        for line in file:
            yield RejectedRecord(**orjson.loads(line))
