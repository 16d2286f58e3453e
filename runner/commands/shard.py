"""One shard of a job, from the moment a worker takes it until somebody else may: an ordinary session.

Its plan and its audit so far are copied into a private folder that is gone afterwards, and proved there as
`resume` proves them. Then the same session runs as of any other verb; its audit's end is the database, and so
is its rate. What a session's end means for its shard, and for the whole job, is decided here alone.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from runner.access import Access, origin_of
from runner.audit.fold import Fold, fold_audit
from runner.cluster.clock import boot_time
from runner.cluster.database import Database
from runner.cluster.line import DatabaseLine, Patience
from runner.cluster.link import ShardLink, TurnReply
from runner.cluster.scratch import private_folder
from runner.cluster.shard_rows import RestState, ShardKey, ShardRows, ShardTask
from runner.cluster.slots import open_slots
from runner.cluster.worker import GIVE_UP_S
from runner.commands.evidence import check_is_plan_of, plan_beside
from runner.commands.execute import OpenRun, RunFiles, add_summary, protected_now, send, show_windows
from runner.commands.monitor import SessionMonitor
from runner.commands.vendor import reach_vendor
from runner.errors import AuditDamaged, Broken, Exit, Refused, RunnerError, Stopped
from runner.output.console import Console
from runner.plan.file import PlanFile, read_plan
from runner.process import utc_now
from runner.send.pace import Pacing
from runner.send.session import RunSpec, Session
from runner.settings import Limits, Rate, limits_from_json
from runner.stop import Stop, Stopping
from runner.version import __version__

__all__ = ["ShardSender"]

_FINISHED: Final = {Exit.OK, Exit.PARTIAL}


@dataclass(slots=True)
class _UnderWay:
    """A shard that this worker has in hand."""

    key: ShardKey
    stop: Stop = field(default_factory=Stop)
    stopped_by: Literal["worker", "job"] | None = None
    """Who asked for the session's end, if not the session itself."""
    look: Callable[[], None] = lambda: None
    """Asks the database for what it has to say of the job."""
    ask_anew: Callable[[], None] = lambda: None
    """Drops the slots that are held, for the origin's rate is another."""

    def leave(self, by: Literal["worker", "job"], why: str, code: Exit) -> None:
        """Bring the session to a clean end, unless it is coming to one."""
        if self.stop.reason is None:
            self.stopped_by = by
            self.stop.request(why, code)


@dataclass(frozen=True, slots=True)
class _ShardEnd:
    """What a shard is after a session, and whether its reason holds for the whole job."""

    state: RestState
    code: Exit
    why: str | None
    stops_job: bool = False


class _Orders:
    """Brings what the job's operators ordered into the audit of one shard, each order once.

    Args:
        rows: Where the orders stand.
        seen: The last one that the audit has, or that was given before.
    """

    def __init__(self, rows: ShardRows, seen: int) -> None:
        self.seen = seen
        self._rows = rows
        self._held = False
        self._pacer: Pacing | None = None
        self._news = asyncio.Event()

    def heard(self, reply: TurnReply) -> None:
        """Take in what a turn said of them."""
        self._held = reply.held
        self._hold()
        if reply.orders > self.seen:
            self._news.set()

    @asynccontextmanager
    async def during(self, session: Session) -> AsyncIterator[None]:
        """Write them into a session's audit for as long as it lasts."""
        self._pacer = session.pacer
        self._hold()
        task = asyncio.create_task(self._write(session))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _hold(self) -> None:
        if self._pacer is not None and self._pacer.held != self._held:
            (self._pacer.hold if self._held else self._pacer.go_on)()

    async def _write(self, session: Session) -> None:
        with suppress(RunnerError):  # the link is lost: it says so itself
            while True:
                await self._news.wait()
                self._news.clear()
                for number, order in await self._rows.orders_after(self.seen):
                    if not session.note_order(order):
                        return
                    self.seen = number


class ShardSender:
    """Sends shards for one worker; what troubles the worker, and not a shard, is requested at its `stop`."""

    def __init__(self, database: Database, access: Access, screen: Console, me: str, stop: Stop) -> None:
        self.patience = Patience()
        """Of everything that this worker asks the database."""
        self._database = database
        self._access = access
        self._origin = origin_of(access.base_url)
        self._screen = screen
        self._me = me
        self._stop = stop
        self._under_way: dict[ShardKey, _UnderWay] = {}
        self._lines: list[DatabaseLine] = []
        """Connections that no shard uses just now: a new one would wait before it is given slots."""
        self.ended: Counter[RestState] = Counter()
        """How many shards were left as what."""

    async def follow(self) -> None:
        """Wait for the worker's stop, then bring every shard to a clean end."""
        self._stop.on_abandon = self._abandon
        with suppress(Stopping), self._stop.interruptible():
            await asyncio.Event().wait()
        self.patience.end_within(GIVE_UP_S)
        for shard in self._under_way.values():
            self._ask_to_leave(shard)

    def heard(self, words: str) -> None:
        """Take in what the database said by itself: `job NAME`, or `origin ORIGIN`."""
        kind, _, name = words.partition(" ")
        for shard in self._under_way.values():
            if kind == "job" and name == shard.key.job:
                shard.look()
            elif kind == "origin" and name == self._origin:
                shard.ask_anew()

    def look_at_all(self) -> None:
        """Take it that something may have gone unheard."""
        for shard in self._under_way.values():
            shard.look()
            shard.ask_anew()

    async def open(self, shards: int) -> None:
        """Connect, for so many shards at a time; raises DatabaseAway or Refused."""
        self._lines = [DatabaseLine(self._database, self.patience) for _ in range(shards)]
        for line in self._lines:
            await line.ask("SELECT 1")

    async def close(self) -> None:
        """Close every connection."""
        for line in self._lines:
            await line.close()

    async def send(self, key: ShardKey) -> None:
        """Bring one shard to whatever end; trouble with the database or this machine stops the worker."""
        shard = _UnderWay(key)
        line = self._lines.pop() if self._lines else DatabaseLine(self._database, self.patience)
        try:
            with self._in_hand(shard):
                await self._own(shard, ShardRows(line, key, boot_time))
        except RunnerError as error:
            self._stop.fail(error)
        except Exception as error:  # noqa: BLE001 - the queue would only log it
            self._stop.fail(Broken(error, sent=True))
        finally:
            self._lines.append(line)

    def _abandon(self) -> None:
        self.patience.end_within(0)
        for shard in self._under_way.values():
            if shard.stop.on_abandon is not None:
                shard.stop.on_abandon()

    def _ask_to_leave(self, shard: _UnderWay) -> None:
        reason = self._stop.reason
        assert reason is not None  # noqa: S101 - the worker is stopping
        shard.leave("worker", reason.why, reason.exit_code)

    @contextmanager
    def _in_hand(self, shard: _UnderWay) -> Iterator[None]:
        self._under_way[shard.key] = shard
        if self._stop:
            self._ask_to_leave(shard)
        try:
            yield
        finally:
            del self._under_way[shard.key]

    async def _own(self, shard: _UnderWay, rows: ShardRows) -> None:
        """Take the shard, send it, and give it back."""
        task = await rows.begin(self._me)
        if task is None:
            return
        self._screen.note(f"{shard.key}: begun" if not task.pieces else f"{shard.key}: resumed")
        orders = _Orders(rows, task.orders)

        def on_reply(reply: TurnReply) -> None:
            orders.heard(reply)
            if reply.stop_why is not None:
                shard.leave("job", reply.stop_why or "the job was stopped", Exit.STOPPED)

        link = ShardLink(rows, self.patience, pieces=task.pieces, on_reply=on_reply, on_lost=shard.stop.fail)
        shard.look = link.poke
        turns = asyncio.create_task(link.run())
        try:
            end = await self._end_of(shard, _Shard(task, rows, link, orders))
        finally:
            link.finish()
            await turns
        await self._give_back(shard, link, rows, end)

    async def _give_back(self, shard: _UnderWay, link: ShardLink, rows: ShardRows, end: _ShardEnd) -> None:
        if link.lost is None and await rows.end(end.state, end.code, end.why, stops_job=end.stops_job):
            self.ended[end.state] += 1
            words = {"done": "done", "stopped": "stopped", "waiting": "given back"}[end.state]
            self._screen.note(f"{shard.key}: {words}", why=end.why)
        elif link.lost is None or link.fenced:
            self._screen.warn(f"{shard.key}: another worker took it over, and goes on with it")
        else:
            self._stop.fail(link.lost)

    async def _end_of(self, shard: _UnderWay, opened: "_Shard") -> _ShardEnd:
        """Send what is left of a shard, and return what it is afterwards."""
        code = None
        try:
            self._check_origin(opened.task, shard.key)
            with private_folder() as folder:
                files = await opened.files(folder, shard.stop)
                code = await self._send_rest(shard, opened, files)
        except Stopping:
            pass
        except OSError as error:
            why = f"a private folder cannot be written: {error.strerror or error}"
            self._stop.fail(Stopped(why, hint="make room, or point TMPDIR elsewhere"))
            self._ask_to_leave(shard)
        except RunnerError as error:
            return _ShardEnd("stopped", Exit.STOPPED, error.message, stops_job=True)
        except Exception as error:  # noqa: BLE001 - it would befall the next owner, too
            return _ShardEnd("stopped", Exit.STOPPED, Broken(error, sent=True).message, stops_job=True)
        return _end_after(shard, code)

    def _check_origin(self, task: ShardTask, key: ShardKey) -> None:
        """Say aloud that a job is for another path; raises Refused where it is another origin's."""
        own = self._access.base_url
        if origin_of(task.base_url) != origin_of(own):
            why = f"{key} is for {task.base_url}, and came to a worker for {own}"
            raise Refused(why, hint="something else than bulk-delete wrote into the database")
        if task.base_url != own:
            self._screen.warn(f"{key} was submitted for {task.base_url}, and is sent to {own}")

    async def _send_rest(self, shard: _UnderWay, opened: "_Shard", files: RunFiles) -> Exit:
        screen, spec = self._screen, opened.spec(files, self._access)
        fold = files.fold or Fold(str(files.audit), phones_of=spec.phones_of)
        opened.link.said = lambda: _said(fold, opened.orders)
        if fold.sessions and fold.ended == fold.planned_batches:
            return await opened.finished(files.plan, fold)
        monitor = SessionMonitor(spec.limits.timeout_s)

        @asynccontextmanager
        async def open_pace(rate: Rate, stop: Stop) -> AsyncIterator[Pacing]:
            async with open_slots(opened.link, stop, now=utc_now, asked=rate) as pacer:
                shard.ask_anew = pacer.refresh
                yield pacer

        async with reach_vendor(self._access, spec.limits, shard.stop, open_pace) as vendor:
            if windows := files.open_windows():
                await show_windows(windows, vendor, screen)
            protect = await asyncio.to_thread(protected_now, spec, files.plan)
            run = OpenRun(spec, files, fold, opened.link, vendor, protect)
            ended = await send(run, screen, monitor, opened.orders.during)
            return Exit(ended.summary.exit_code)


@dataclass(frozen=True, slots=True)
class _Shard:
    """A shard that is owned: what is known of it, and the way to the database."""

    task: ShardTask
    rows: ShardRows
    link: ShardLink
    orders: _Orders

    async def files(self, folder: Path, stop: Stop) -> RunFiles:
        """Copy plan and audit, and prove both.

        Raises:
            AuditDamaged: One of them is not what it was.
            OSError: The folder cannot be written.
            Stopping: Nothing is to be sent any more.
        """
        audit = folder / "audit.jsonl"
        await self.rows.copy("plan", plan_beside(audit))
        if self.task.pieces:
            await self.rows.copy("audit", audit)
        stop.check()
        files = await asyncio.to_thread(self._proved, audit)
        stop.check()
        return files

    def _proved(self, audit: Path) -> RunFiles:
        plan = read_plan(plan_beside(audit))
        if plan.sha256 != self.task.plan_sha256:
            raise AuditDamaged(str(self.rows.key), 0, "its plan is not the one that was submitted")
        if not self.task.pieces:
            return RunFiles(plan, audit)
        fold = fold_audit(audit, verify_chain=True, phones_of=plan.phones_of)
        check_is_plan_of(plan, fold.first_run)
        return RunFiles(plan, audit, fold=fold)

    def spec(self, files: RunFiles, access: Access) -> RunSpec:
        """Return what its next session is told."""
        plan, task, settings = files.plan, self.task, self.task.settings
        limits = limits_from_json(settings["limits"]).over(Limits())
        return RunSpec(
            mode="run" if files.fold is None else "resume",
            run_id=task.run_id,
            job=plan.header.name,
            plan_sha256=plan.sha256,
            version=__version__,
            base_url=access.base_url,
            limits=replace(limits, rate=task.rate),
            safety=plan.header.safety,
            planned=plan.header.totals,
            phones_of=plan.phones_of,
            reason=settings["reason"],
            operator=settings["operator"],
            audit_all_phones=settings["audit_all_phones"],
            proxy=access.proxy_from_env,
        )

    async def finished(self, plan: PlanFile, fold: Fold) -> Exit:
        """Close the books of an audit with nothing left to do, and return what all of it comes to."""
        if not fold.complete:
            await add_summary(self.link, fold, plan)
        return Exit.OK if fold.totals().all_confirmed else Exit.PARTIAL


def _end_after(shard: _UnderWay, code: Exit | None) -> _ShardEnd:
    """Return what a shard is after a session that ended so; None: there was none."""
    if code is not None and code in _FINISHED:
        return _ShardEnd("done", code, None)
    reason = shard.stop.reason
    assert reason is not None  # noqa: S101 - else nothing were left
    if shard.stopped_by is None or reason.even_if_done:
        return _ShardEnd("stopped", Exit.STOPPED, reason.why, stops_job=True)
    state: RestState = "waiting" if shard.stopped_by == "worker" else "stopped"
    return _ShardEnd(state, reason.exit_code, reason.why)


def _said(fold: Fold, orders: _Orders) -> dict[str, Any]:
    """Return how far a shard is, for people, and which orders its audit has, for its next owner."""
    phones = fold.totals().phones
    return {
        "orders": orders.seen,
        "batches": fold.ended,
        "deleted": phones["deleted"],
        "failed": phones["failed"],
        "unknown": phones["unknown"],
        "not_sent": phones["not_sent"] - fold.open_phones,
    }
