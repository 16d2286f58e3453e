"""What a session is doing just now, for whoever watches it: asked of those who count, never counted again."""

import asyncio
from dataclasses import dataclass

from runner.audit.fold import Fold
from runner.audit.records import Record
from runner.output.pauses import Pauses, pause_words
from runner.output.progress import Snapshot
from runner.process import utc_now
from runner.send.breaker import Breaker
from runner.send.pace import Pacing
from runner.settings import parse_rate
from runner.stop import Stop
from runner.text import many

__all__ = ["SessionMonitor"]


@dataclass(frozen=True, slots=True)
class _Watched:
    """The parts of a session that can be looked at."""

    fold: Fold
    pacer: Pacing
    breaker: Breaker
    stop: Stop


class SessionMonitor:
    """The monitor of one session.

    Args:
        timeout_s: Of one attempt: for so long at most is a reply waited for after a stop.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._watched: _Watched | None = None
        self._pauses = Pauses()
        self._stopped_s: float | None = None

    def watch(self, fold: Fold, pacer: Pacing, breaker: Breaker, stop: Stop) -> None:
        """Look at these from now on."""
        self._watched = _Watched(fold, pacer, breaker, stop)

    def note(self, record: Record) -> None:
        """Remember what a record says of pauses."""
        self._pauses.note(record)

    def signalled(self, name: str) -> str:
        """Return what is to be said of a first signal."""
        if self._watched is None:
            return f"{name}: stopping; nothing is being deleted; again to leave now"
        on_the_wire = self._watched.pacer.meter.in_flight
        awaited = f"waiting for {many(on_the_wire, 'reply')}, {self._timeout_s:g} s at most"
        return f"{name}: nothing more is sent; {awaited if on_the_wire else 'stopping'}; again to leave now"

    def snapshot(self) -> Snapshot:
        """Return the figures of this moment; only once there is something to `watch`."""
        assert self._watched is not None  # noqa: S101 - said above
        fold, pacer, breaker = self._watched.fold, self._watched.pacer, self._watched.breaker
        totals = fold.totals()
        state, held_s = self._state(self._watched)
        return Snapshot(
            batches=fold.ended,
            planned_batches=fold.planned_batches,
            deleted=totals.phones["deleted"],
            failed=totals.phones["failed"],
            unknown=totals.phones["unknown"],
            planned_numbers=fold.planned_phones,
            rows=totals.count,
            requests=pacer.meter.departures,
            retries=breaker.retries,
            on_the_wire=pacer.meter.in_flight,
            allowed=parse_rate(pacer.rate),
            state=state,
            held_s=held_s,
        )

    def _state(self, watched: _Watched) -> tuple[str, float]:
        """Return what holds the session up, if something does, and for how many seconds."""
        if watched.stop.reason is not None:
            return self._stopping(watched, watched.stop.reason.why), 0.0
        if (pause := self._pauses.at(utc_now())) is not None:
            return pause_words(pause[0]), pause[1]
        if not watched.breaker.clear:
            return "one batch at a time, until one is confirmed", 0.0
        return "", 0.0

    def _stopping(self, watched: _Watched, why: str) -> str:
        now_s = asyncio.get_running_loop().time()
        self._stopped_s = self._stopped_s or now_s
        left_s = max(0.0, self._stopped_s + self._timeout_s - now_s)
        awaited = many(watched.pacer.meter.in_flight, "reply")
        return f"stopping ({why}): waiting for {awaited}, {left_s:.0f} s at most"
