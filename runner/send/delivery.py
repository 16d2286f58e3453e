"""One batch to its end: intent, attempts, isolation, outcome.

Keeps the invariant that nothing is sent unrecorded: `deliver` takes only batches that `announce` made
durable, and every announced batch ends in one `batch` record, or stays open (promises 4 to 6). An attempt's
kind comes from `outcomes`; what it means for the batch is decided here. It never knows whether the run is a
first one, a resume or a rerun, and it never decides how many batches are under way: that is `dispatch`.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import NamedTuple, Protocol

from runner.audit.journal import Journal
from runner.audit.records import BatchRecord, BatchStatus, OpenRecord, SendingRecord
from runner.model import DeleteRequest, Prior, Reply, Sender, Work, phones_sha256
from runner.outcomes import INTERRUPTED, AttemptFailed, NextStep
from runner.phones import mask_echoes
from runner.send.isolation import Part, cut
from runner.send.pace import Pacing
from runner.send.pacing import retried
from runner.stop import Stop, Stopping

__all__ = ["Delivery", "Ended", "StillOpen"]

_SEVERITY: Mapping[BatchStatus, int] = {"deleted": 0, "not_sent": 1, "failed": 2, "unknown": 3}


class SendPermit(Protocol):
    """Probation and breaker, as delivery sees them."""

    clear: bool
    """Whether all may make attempts just now, without asking."""

    async def wait_for_permit(self, seq: int) -> None:
        """Wait until this batch may make an attempt; raise `Stopping` when it never will."""
        ...

    def departed(self, *, retry: bool) -> None:
        """Note that a request left."""
        ...

    def attempt_ended(self, seq: int, failure: AttemptFailed | None, words: str = "") -> None:
        """Note how an attempt ended, in words that may be shown where it failed."""
        ...


class Ended(NamedTuple):
    """A batch that has its `batch` record."""

    seq: int
    user_id: str
    status: BatchStatus
    skipped: bool = False
    """True: it was never tried, because its user had been refused."""
    user_refused: bool = False
    """True: the rest of its user is not to be tried."""
    within_caps: bool = True
    faulty: bool = False
    """True: it is failed or unknown, and not only for numbers that the vendor refused for what they are."""
    sent: int = 0
    """Numbers of it that were sent in this session."""
    refused: int = 0
    """Those of them that the vendor refused for what they are."""


class _Sums(NamedTuple):
    """Of a batch's parts; see `Ended`."""

    rows: int | None
    """Those that went by the vendor's word; None: it said nothing."""
    faulty: bool
    sent: int
    refused: int


@dataclass(frozen=True, slots=True)
class StillOpen:
    """A batch that a stop left open."""

    seq: int


@dataclass(slots=True)
class BatchProgress:
    """How far one batch has come; attempts are those of all its sessions."""

    work: Work
    attempts: int
    uncertain: int
    waiting: deque[Part]
    on_left: Callable[[int], None]
    started_s: float | None = None
    """When the first request of this session left."""
    settled: list[Part] = field(default_factory=list)
    on_the_wire: bool = False
    isolating: bool = False
    believe_names: bool = True
    """No number that the vendor's words named has proved good."""
    user_refused: bool = False
    within_caps: bool = True

    def duration_ms(self, now_s: float) -> float | None:
        """Return how long it took until this loop time; None: nothing of it left."""
        return None if self.started_s is None else round((now_s - self.started_s) * 1000, 1)

    def settle_untried(self, reason: str) -> None:
        """Settle what waits: by its own last attempt if there was one, else as never tried."""
        for part in self.waiting:
            if part.failure is not None:
                part.unconfirmed(part.failure)
            else:
                part.untried(reason)
        self.settled.extend(self.waiting)
        self.waiting.clear()


@dataclass(slots=True)
class Delivery:
    """Brings announced batches to their end, each in its own task; one instance serves them all."""

    sender: Sender
    journal: Journal
    traffic: SendPermit
    pacing: Pacing
    stop: Stop
    on_ended: Callable[[Ended], None]
    """Called with each batch that has its record, sent or not."""
    max_attempts: int
    max_rows_per_phone: int
    audit_all_phones: bool = False
    _announced: dict[int, Prior] = field(default_factory=dict)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    async def announce(self, works: Sequence[Work]) -> None:
        """Make the intent to send these batches durable; `works` come in `seq` order.

        Raises:
            Stopped: The audit cannot be written.
        """
        for first, last in _ranges(work.batch.seq for work in works):
            self.journal.append(SendingRecord.of(first, last))
        self._announced.update((work.batch.seq, work.prior) for work in works)
        await self.journal.sync()

    def end_unsent(self, work: Work, reason: str) -> Ended:
        """End a batch that is decided never to be tried (`skipped`, `protected`)."""
        progress = _progress_of(work, lambda _seq: None)
        progress.settle_untried(reason)
        return self._end(progress)

    async def deliver(self, work: Work, on_left: Callable[[int], None]) -> Ended | StillOpen:
        """Send an announced batch until it ends or the run stops.

        A cancellation leaves a batch whose request is on the wire open and uncertain, without a record.

        Args:
            work: The batch.
            on_left: Called with its `seq` when a request of it has left, or is not to leave soon.

        Raises:
            Stopped: The audit cannot be written; the batch stays open.
        """
        if work.batch.seq not in self._announced:
            raise AssertionError(f"batch {work.batch.seq} was not announced")
        progress = _progress_of(work, on_left)
        try:
            while progress.waiting:
                await self._settle_next(progress)
        except Stopping:
            if not progress.isolating:
                return self._stay_open(progress)
            progress.settle_untried("interrupted")
        except asyncio.CancelledError:
            self._abandon(progress)
            raise
        except Exception:
            # Whatever it was, nobody can say any more what left: no `open` record may claim to know.
            self._announced.pop(work.batch.seq, None)
            raise
        finally:
            on_left(work.batch.seq)
        return self._end(progress)

    def leave_open(self) -> None:
        """Write an `open` record for every announced batch that has no end and no doubt about it."""
        for seq, prior in sorted(self._announced.items()):
            self.journal.append(
                OpenRecord(seq=seq, attempts=prior.attempts, uncertain_attempts=prior.uncertain)
            )
        self._announced.clear()

    async def _settle_next(self, progress: BatchProgress) -> None:
        """Bring the first waiting part to its end, or replace it by smaller ones."""
        part = progress.waiting[0]
        if progress.user_refused:
            part.untried("skipped")
        else:
            try:
                part.confirmed(await self._send(part, progress))
            except AttemptFailed as failure:
                self._settle_unconfirmed(part, progress, failure)
            else:
                progress.believe_names &= not part.named
                self._check_cap(part, progress)
        progress.waiting.popleft()
        if part.may_be_cut:
            progress.isolating = True
            progress.waiting.extend(cut(part, believe_names=progress.believe_names))
        else:
            progress.settled.append(part)

    def _settle_unconfirmed(self, part: Part, progress: BatchProgress, failure: AttemptFailed) -> None:
        part.unconfirmed(failure)
        if failure.kind.then is NextStep.STOP:
            self.stop.request(failure.why_stopped)
            raise Stopping from failure
        progress.user_refused = failure.kind.refuses_user

    def _send(self, part: Part, progress: BatchProgress) -> Awaitable[Reply]:
        """Send a part, again where that may help."""
        batch = progress.work.batch
        whole = part.phones is batch.phones
        request = DeleteRequest.whole(batch) if whole else DeleteRequest.of(batch.target, tuple(part.phones))
        attempt = partial(self._attempt, request, part, progress)
        return retried(attempt, self.max_attempts, self.stop)

    async def _attempt(self, request: DeleteRequest, part: Part, progress: BatchProgress) -> Reply:
        """Make one attempt and tell everybody how it ended.

        Where a permit is withdrawn before the request left, it waits for another.
        """
        seq = progress.work.batch.seq

        def left() -> None:
            self.traffic.departed(retry=part.departures > 0)
            if progress.started_s is None:
                progress.started_s = self._loop.time()
            progress.on_the_wire = True
            progress.on_left(seq)
            part.departures += 1
            progress.attempts += 1

        while True:
            if not self.traffic.clear:
                await self.traffic.wait_for_permit(seq)
            try:
                reply = await self.sender.send(request, left)
            except Stopping:
                self.stop.check()
                continue
            except AttemptFailed as failure:
                progress.on_the_wire = False
                progress.on_left(seq)
                self._note(failure, part, progress)
                words = mask_echoes(failure.message, part.phones)
                self.traffic.attempt_ended(seq, failure, f"{failure.kind.error}: {words}")
                raise
            progress.on_the_wire = False
            self.traffic.attempt_ended(seq, None)
            return reply

    def _note(self, failure: AttemptFailed, part: Part, progress: BatchProgress) -> None:
        part.failure = failure
        if failure.kind.uncertain:
            part.tainted = True
            progress.uncertain += 1
        if failure.asks_for_less:
            self.pacing.rate_limited(failure.retry_after_s)

    def _check_cap(self, part: Part, progress: BatchProgress) -> None:
        most = self.max_rows_per_phone * len(part.phones)
        if part.reply is not None and part.phones and part.reply.count > most:
            progress.within_caps = False
            self.stop.request(
                f"max_rows_per_phone: batch {progress.work.batch.seq} deleted {part.reply.count} rows"
                f" for {len(part.phones)} numbers, {most} at most",
                even_if_done=True,
            )

    def _abandon(self, progress: BatchProgress) -> None:
        """Settle a batch whose task is cancelled: what is on the wire is in doubt."""
        if progress.on_the_wire and not progress.isolating:
            del self._announced[progress.work.batch.seq]
        elif progress.isolating:
            if progress.on_the_wire:
                part = progress.waiting[0]
                part.tainted = True
                progress.uncertain += 1
                part.failure = AttemptFailed(INTERRUPTED, left=True)
            progress.settle_untried("interrupted")
            self._end(progress)
        else:
            self._stay_open(progress)

    def _stay_open(self, progress: BatchProgress) -> StillOpen:
        seq = progress.work.batch.seq
        self._announced[seq] = Prior(progress.attempts, progress.uncertain)
        return StillOpen(seq)

    def _end(self, progress: BatchProgress) -> Ended:
        """Write the batch's one record."""
        work, batch, parts = progress.work, progress.work.batch, progress.settled
        if work.protected and batch.phones:
            parts = [*parts, _protected_part(work)]
        worst = parts[0] if len(parts) == 1 else max(parts, key=lambda part: _SEVERITY[part.status])
        left, gone = _left_and_gone(batch.phones, parts)
        sums = _sums(parts, isolating=progress.isolating)
        http_status, code, message, error = _words(worst)
        self.journal.append(
            BatchRecord(
                seq=batch.seq,
                user_id=batch.target.user_id,
                created_at=batch.target.created_at,
                encryption=batch.target.encryption,
                delete_window=batch.target.delete_window,
                phones=len(batch.phones),
                phones_left=len(left),
                phones_sha256=phones_sha256(batch.phones),
                status=worst.status,
                count=sums.rows,
                attempts=progress.attempts,
                uncertain_attempts=progress.uncertain,
                http_status=http_status,
                code=code,
                message=message,
                error=error,
                duration_ms=progress.duration_ms(self._loop.time()),
                phone=(*left, *gone) if self.audit_all_phones else tuple(left),
            )
        )
        self._announced.pop(batch.seq, None)
        skipped = not sums.sent and worst.reason in {"skipped", "protected"}
        ended = Ended(
            batch.seq,
            batch.target.user_id,
            worst.status,
            skipped=skipped,
            user_refused=progress.user_refused,
            within_caps=progress.within_caps,
            faulty=sums.faulty and not skipped,
            sent=sums.sent,
            refused=sums.refused,
        )
        self.on_ended(ended)
        return ended


def _left_and_gone(phones: Sequence[str], parts: Sequence[Part]) -> tuple[Sequence[str], ...]:
    """Return the phones that are not confirmed, and those that are, each in the batch's order."""
    deleted = [part for part in parts if part.status == "deleted"]
    if len(deleted) in {0, len(parts)}:
        return ((), phones) if deleted else (phones, ())
    gone = {phone for part in deleted for phone in part.phones}
    left = tuple(phone for phone in phones if phone not in gone)
    return left, tuple(phone for phone in phones if phone in gone)


def _progress_of(work: Work, on_left: Callable[[int], None]) -> BatchProgress:
    phones: Sequence[str] = work.batch.phones
    if work.protected:
        phones = tuple(phone for phone in phones if phone not in work.protected)
    parts = [Part(phones, tainted=work.prior.uncertain > 0)] if phones or not work.batch.phones else []
    return BatchProgress(work, work.prior.attempts, work.prior.uncertain, deque(parts), on_left)


def _protected_part(work: Work) -> Part:
    part = Part(tuple(p for p in work.batch.phones if p in work.protected), work.prior.uncertain > 0)
    part.untried("protected")
    return part


def _sums(parts: Iterable[Part], *, isolating: bool) -> _Sums:
    rows, faulty, sent, refused = None, False, 0, 0
    for part in parts:
        faulty = faulty or part.faulty
        if part.reply is not None:
            rows = part.reply.count + (rows or 0)
        # The parts of a whole that was cut have left with it, whether or not each went again.
        if part.departures or (isolating and part.reason != "protected"):
            sent += len(part.phones)
            refused += part.refused
    return _Sums(rows, faulty, sent, refused)


def _words(part: Part) -> tuple[int | None, int | None, str | None, str | None]:
    """Return HTTP status, code, message and error: how the part ended, in the server's words."""
    if part.reply is not None:
        return 200, 200, part.reply.message, None
    if part.reason is not None or part.failure is None:
        return None, None, None, part.reason
    failure = part.failure
    return failure.http_status, failure.code, failure.message or None, failure.kind.error


def _ranges(seqs: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of each run of consecutive numbers."""
    for _, run in groupby(enumerate(seqs), key=lambda pair: pair[1] - pair[0]):
        numbers = [seq for _, seq in run]
        yield numbers[0], numbers[-1]
