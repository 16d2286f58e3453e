"""One session of a run, from its `run` record to its summary, on edges that somebody else opened.

Keeps promise 4: the summary is a fold of the records and the plan, and its equation is checked before it is
written. It does not know whether the API, the disk and the clock behind its ports are real or simulated.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from runner.audit.fold import Fold, PhonesOf
from runner.audit.journal import Journal
from runner.audit.records import (
    ADDED_LATER,
    AUDIT_VERSION,
    GO_ON,
    PAUSE,
    SESSION_FIGURES,
    BatchTotals,
    Mode,
    PaceRecord,
    PhoneTotals,
    Planned,
    Record,
    RunRecord,
    RunStatus,
    SummaryRecord,
)
from runner.audit.totals import Totals
from runner.errors import Exit, Refused, Stopped
from runner.model import Sender, WallClock, Work
from runner.plan.header import PlanTotals
from runner.send.breaker import Breaker
from runner.send.delivery import Delivery, Ended
from runner.send.dispatch import Dispatch
from runner.send.feed import Feed
from runner.send.orders import Order, OrderBook
from runner.send.pace import Pacing
from runner.send.pacing import PaceChange
from runner.send.watches import Watch, watches_of
from runner.settings import Limits, Safety, limits_to_json, safety_to_json
from runner.stop import Stop, Stopping

__all__ = ["RunSpec", "Session", "missing_summary"]

AHEAD_S: Final = 0.25
"""Batches are announced that far ahead of the gate: each needs a sync, and no worker shall wait for one."""
AHEAD_AT_MOST: Final = 2
"""No more than so many for each worker: while half of them leave, as many again are announced."""
_RECORDS_BETWEEN_BREATHS = 256


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What a session was told to do, and how; all of it goes into the audit."""

    mode: Mode
    run_id: str
    job: str
    plan_sha256: str
    version: str
    base_url: str
    limits: Limits
    safety: Safety
    planned: PlanTotals
    phones_of: PhonesOf
    plan_s: float = 0.0
    reason: str | None = None
    operator: str | None = None
    audit_all_phones: bool = False
    proxy: bool = False


@dataclass(slots=True)
class Session:
    """Conducts one session, on edges that are open."""

    spec: RunSpec
    sender: Sender
    pacer: Pacing
    journal: Journal
    fold: Fold
    """Fed by the journal; holds the earlier sessions already."""
    stop: Stop
    now: WallClock
    warn: Callable[[str], None]
    """Says something to a person."""
    breaker: Breaker = field(init=False)
    _orders: OrderBook = field(init=False, default_factory=OrderBook)
    _watches: tuple[Watch, ...] = field(init=False)

    def __post_init__(self) -> None:
        safety = self.spec.safety
        self.breaker = Breaker(self.stop, safety.max_failed, self._note_pause)
        self._watches = watches_of(safety, self.stop, self.fold, self.warn)

    async def run(
        self,
        works: Iterator[Work],
        rejected: Iterable[Record] = (),
        last_look: Callable[[], None] = lambda: None,
    ) -> tuple[SummaryRecord, Stopped | None]:
        """Send the batches and return the summary record, and why it does not stand in the audit, if so.

        Args:
            works: In `seq` order: those of the plan that have no end.
            rejected: `rejected` records of the planning.
            last_look: Called once nothing more is sent; raises Stopped where the plan is no longer there.
        """
        self.pacer.on_change = self._note_change
        paused_until = self.fold.paused_until
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        try:
            self.journal.append(self._run_record())
            self._orders.open = True
            await self._write_rejected(rejected)
            started_s = loop.time()
            with self._deadline():
                if paused_until is not None:
                    self.pacer.keep_pause(paused_until)
                await self._dispatch(works).run()
            last_look()
        except Stopping:
            pass
        except Stopped as stopped:
            self.stop.fail(stopped)
        self._orders.open = False
        self._check_books()
        summary = self._summary(loop.time() - started_s)
        try:
            self.journal.append(summary)
            await self.journal.sync()
        except Stopped as stopped:
            self.stop.fail(stopped)
            return self._summary(loop.time() - started_s), stopped
        return summary, None

    async def obey(self, order: Order) -> None:
        """Carry out an operator's order; on return it holds, and stands in the audit.

        Raises:
            Refused: The session is not under way or stops, or it had too many orders.
            Stopped: The audit cannot be written; the run stops.
        """
        if self.stop.reason is not None:
            raise Refused(f"the run is stopping: {self.stop.reason.why}")
        self._orders.take(asyncio.get_running_loop().time())
        try:
            if order.rate is not None:
                await self.pacer.set_rate(order.rate)
            if order.pause is not None:
                (self.pacer.hold if order.pause else self.pacer.go_on)()
            self._note(order)
            await self.journal.sync()
        except Stopped as stopped:
            self.stop.fail(stopped)
            raise

    def note_order(self, order: Order) -> bool:
        """Write down an order that holds already, for it was given to many sessions at once.

        Returns:
            Whether the session is under way: else it is in no audit of this session.

        Raises:
            Stopped: The audit cannot be written.
        """
        if self._orders.open:
            self._note(order)
        return self._orders.open

    def _note(self, order: Order) -> None:
        if order.rate is not None:
            self._note_order(f"an operator set the rate to {order.rate}", str(order.rate), order)
        if order.pause is not None:
            why = "an operator paused the run" if order.pause else "an operator let the run go on"
            self._note_order(why, PAUSE if order.pause else GO_ON, order)

    def _note_order(self, why: str, words: str, order: Order) -> None:
        self.journal.append(
            PaceRecord(
                rate=self.pacer.rate,
                until=None,
                why=why,
                order=words,
                operator=order.operator,
                reason=order.reason,
            )
        )

    async def _write_rejected(self, records: Iterable[Record]) -> None:
        """Write what was no phone; there may be millions, and a signal is heard among them."""
        for number, record in enumerate(records):
            if number % _RECORDS_BETWEEN_BREATHS == 0:
                await asyncio.sleep(0)
                self.stop.check()
            self.journal.append(record)

    def _dispatch(self, works: Iterator[Work]) -> Dispatch:
        spec = self.spec
        delivery = Delivery(
            self.sender,
            self.journal,
            self.breaker,
            self.pacer,
            self.stop,
            self._batch_ended,
            max_attempts=spec.limits.max_attempts,
            max_rows_per_phone=spec.safety.max_rows_per_phone,
            audit_all_phones=spec.audit_all_phones,
        )
        feed = Feed(works, delivery, self.stop, self._ahead, self.fold.refused_users)
        return Dispatch(feed, delivery, self.breaker, self.stop, concurrency=spec.limits.concurrency)

    def _ahead(self) -> int:
        """Return how many batches may be announced and not have left: what the gate lets leave soon."""
        if not self.breaker.clear:
            return 1
        most = self.spec.limits.concurrency * AHEAD_AT_MOST
        return max(1, self.pacer.may_leave_within(AHEAD_S, most=most))

    def _batch_ended(self, ended: Ended) -> None:
        self.breaker.batch_ended(ended)
        for watch in self._watches:
            watch.batch_ended(ended)

    @contextmanager
    def _deadline(self) -> Iterator[None]:
        """Stop taking work while there is time to drain: an attempt's timeout, or half of what there is."""
        limits, stop, loop = self.spec.limits, self.stop, asyncio.get_running_loop()
        if limits.deadline_s is None:
            yield
            return
        stop.deadline_s = loop.time() + limits.deadline_s
        drain_s = min(limits.timeout_s, limits.deadline_s / 2)
        timer = loop.call_at(stop.deadline_s - drain_s, stop.request, "deadline: its time is used up")
        try:
            yield
        finally:
            timer.cancel()

    def _note_pause(self, pause_s: float | None, why: str) -> None:
        until = None if pause_s is None else self.now() + timedelta(seconds=pause_s)
        self._note_change(PaceChange(self.pacer.rate, until, why))

    def _note_change(self, change: PaceChange) -> None:
        until = None if change.until is None else change.until.isoformat(timespec="milliseconds")
        self.journal.append(PaceRecord(rate=change.rate, until=until, why=change.why))

    def _run_record(self) -> RunRecord:
        spec = self.spec
        return RunRecord(
            v=AUDIT_VERSION,
            run_id=spec.run_id,
            job=spec.job,
            plan_sha256=spec.plan_sha256,
            version=spec.version,
            base_url=spec.base_url,
            limits=limits_to_json(spec.limits),
            safety=safety_to_json(spec.safety),
            mode=spec.mode,
            reason=spec.reason,
            operator=spec.operator,
            planned=Planned(batches=spec.planned.batches, phones=spec.planned.unique),
        )

    def _check_books(self) -> None:
        """Check the equation before the summary is written; a fault here would be ours."""
        if not self.fold.totals(self.spec.phones_of).holds:
            raise AssertionError("the records do not add up to the plan")

    def _summary(self, duration_s: float) -> SummaryRecord:
        spec, meter = self.spec, self.pacer.meter
        totals = self.fold.totals(spec.phones_of)
        ended = verdict(totals.open_batches, self.stop, confirmed=totals.all_confirmed)
        return _summary_of(
            totals,
            spec.planned,
            ended,
            requests=self.breaker.requests,
            retries=self.breaker.retries,
            plan_s=round(spec.plan_s, 3),
            duration_s=round(duration_s, 3),
            rate_achieved=round(meter.rate_achieved, 3),
            max_in_window=meter.max_in_window,
            peak_in_flight=meter.peak_in_flight,
            proxy=spec.proxy,
        )


def missing_summary(fold: Fold, planned: PlanTotals, phones_of: PhonesOf) -> SummaryRecord:
    """Return the summary that a session lacks which was killed after its last batch.

    Its totals are those of any summary. What the session itself did nobody knows any more: its figures are 0,
    and `why` says so.
    """
    totals = fold.totals(phones_of)
    status, _, exit_code = verdict(totals.open_batches, Stop(), confirmed=totals.all_confirmed)
    nothing = {name: 0 for name in SESSION_FIGURES if name != "proxy"}
    return _summary_of(totals, planned, (status, ADDED_LATER, exit_code), **nothing)


_Verdict = tuple[RunStatus, str | None, Exit]
_OF_THE_PLAN: Final = ("read", "unique", "duplicate", "rejected", "protected")


def _summary_of(totals: Totals, planned: PlanTotals, ended: _Verdict, **figures: Any) -> SummaryRecord:
    status, why, exit_code = ended
    read = {name: getattr(planned, name) for name in _OF_THE_PLAN}
    return SummaryRecord(
        status=status,
        why=why,
        exit_code=int(exit_code),
        batches=BatchTotals(**totals.batches),
        phones=PhoneTotals(**{**totals.phones, **read}),
        count=totals.count,
        uncertain_batches=totals.uncertain_batches,
        empty_batches=totals.empty_batches,
        **figures,
    )


def verdict(open_batches: int, stop: Stop, *, confirmed: bool) -> _Verdict:
    """Return a session's status, the reason if it stopped early, and its exit code (README, exit codes)."""
    reason = stop.reason
    if reason is not None and (open_batches or reason.even_if_done):
        return "stopped", reason.why, reason.exit_code
    if open_batches:
        raise AssertionError(f"{open_batches} batches are open, and nobody stopped the run")
    return ("complete", None, Exit.OK) if confirmed else ("partial", None, Exit.PARTIAL)
