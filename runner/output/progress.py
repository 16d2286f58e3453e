"""How far a run is, in words: the figures, how fast it goes, and why nothing leaves where nothing does.

Shows what others counted and decides nothing. Every line of the block is shorter than 40 columns, so that a
narrow terminal cuts nothing and one that is made narrower wraps nothing.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from runner.settings import Rate
from runner.text import many, wrap

__all__ = ["MOST_COLUMNS", "Progress", "Snapshot", "block", "clock", "sentence"]

MOST_COLUMNS: Final = 39

_NOW_S: Final = 3.0
"""The rate now is that of so many seconds."""
_LATELY_S: Final = 60.0
"""What is left is reckoned by the batches of so many."""
_BAR: Final = 24


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The figures of a run at one moment; numbers are phone numbers."""

    batches: int
    """Those that ended, in this and in earlier sessions."""
    planned_batches: int
    deleted: int
    failed: int
    unknown: int
    planned_numbers: int
    rows: int
    """Deleted, by the server's count."""
    requests: int
    """Requests of this session that left."""
    retries: int
    on_the_wire: int
    allowed: Rate
    """The rate allowed just now."""
    state: str = ""
    """Why nothing leaves, or less than is allowed; empty where nothing holds the run up."""
    held_s: float = 0.0
    """Seconds until a pause ends; infinity: until an operator says so."""


class Progress:
    """The course of one session, from snapshots that are shown to it now and then."""

    def __init__(self, started_s: float) -> None:
        self._started_s = started_s
        self._seen: deque[tuple[float, Snapshot]] = deque()
        """Those of the last minute, each with its time."""

    def see(self, now: Snapshot, at_s: float) -> dict[str, Any]:
        """Take in a snapshot and return the figures of this moment, in the order in which they are shown."""
        self._seen.append((at_s, now))
        while self._seen[0][0] < at_s - _LATELY_S:
            self._seen.popleft()
        rate = 0.0 if now.held_s else self._rate(now, at_s)
        return {
            "percent": round(100 * now.batches / now.planned_batches, 1) if now.planned_batches else 100.0,
            "batches": now.batches,
            "batches_planned": now.planned_batches,
            "numbers_deleted": now.deleted,
            "numbers_planned": now.planned_numbers,
            "rows_deleted": now.rows,
            "numbers_failed": now.failed,
            "numbers_unknown": now.unknown,
            "rate": round(rate, 1),
            "rate_allowed": str(now.allowed),
            "retries": now.retries,
            "on_the_wire": now.on_the_wire,
            "elapsed_s": round(at_s - self._started_s),
            "left_s": self._left_s(now, at_s),
            "state": now.state or _why_idle(now, rate),
        }

    def _rate(self, now: Snapshot, at_s: float) -> float:
        """Return the requests a second that left in the last few seconds.

        A few requests in a few seconds are one more or less than the rate makes them, and some may have left
        before it was lowered: such a surplus is none, and not shown.
        """
        lately = [(s, seen) for s, seen in self._seen if s >= at_s - _NOW_S]
        left, span_s = now.requests - lately[0][1].requests, at_s - lately[0][0]
        if not left or not span_s:
            return 0.0
        most = max(seen.allowed.per_second for _, seen in lately)
        estimate = left / span_s
        return min(estimate, now.allowed.per_second) if (left - 1) / span_s <= most else estimate

    def _left_s(self, now: Snapshot, at_s: float) -> int | None:
        """Return how many seconds the rest takes, by the speed and the rate allowed; None: nobody knows."""
        first_s, first = self._seen[0]
        left = now.planned_batches - now.batches
        if left and now.batches == first.batches:
            return None
        lately_s = left * (at_s - first_s) / (now.batches - first.batches) if left else 0.0
        at_least_s = left / now.allowed.per_second
        left_s = max(lately_s, at_least_s) + now.held_s
        return round(left_s) if math.isfinite(left_s) else None


def _why_idle(now: Snapshot, rate: float) -> str:
    if rate:
        return ""
    if now.on_the_wire:
        return f"waiting for {many(now.on_the_wire, 'reply')}"
    return "waiting for the rate, or before a retry" if now.batches < now.planned_batches else ""


def block(figures: dict[str, Any], columns: int) -> list[str]:
    """Return the figures as the lines of a block, the most important first."""
    filled = round(_BAR * figures["percent"] / 100)
    lines = [
        f"[{'=' * filled}{'.' * (_BAR - filled)}] {figures['percent']:.1f}%",
        f"{figures['batches']:,} of {figures['batches_planned']:,} batches",
        f"{figures['numbers_deleted']:,} of {figures['numbers_planned']:,} numbers deleted",
        f"{figures['rows_deleted']:,} rows deleted",
        f"failed {figures['numbers_failed']:,}, unknown {figures['numbers_unknown']:,} numbers",
        f"rate {figures['rate']:,.1f}/s now, {figures['rate_allowed']} allowed",
        f"{many(figures['retries'], 'retry')}, {figures['on_the_wire']:,} on the wire",
        f"{clock(figures['elapsed_s'])} elapsed, {clock(figures['left_s'])} left",
    ]
    if figures["state"]:
        lines.insert(1, figures["state"])
    return [piece for line in lines for piece in wrap(line, min(columns, MOST_COLUMNS))]


def sentence(figures: dict[str, Any]) -> str:
    """Return the figures as one line."""
    parts = [
        f"{figures['percent']:.1f}%",
        f"{figures['batches']:,} of {figures['batches_planned']:,} batches",
        f"{figures['numbers_deleted']:,} of {figures['numbers_planned']:,} numbers deleted",
        f"{figures['rows_deleted']:,} rows",
        f"failed {figures['numbers_failed']:,}, unknown {figures['numbers_unknown']:,} numbers",
        f"rate {figures['rate']:,.1f}/s of {figures['rate_allowed']}",
        f"{many(figures['retries'], 'retry')}",
        f"{figures['on_the_wire']:,} on the wire",
        f"{clock(figures['elapsed_s'])} elapsed, {clock(figures['left_s'])} left",
        *([figures["state"]] if figures["state"] else []),
    ]
    return "; ".join(parts)


def clock(seconds: int | None) -> str:
    """Return a span as `0:12:33`, from a day on as `1d 02:03:04`; `?` where nobody can say."""
    if seconds is None:
        return "?"
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days}d {hour:02}:{minute:02}:{second:02}" if days else f"{hour}:{minute:02}:{second:02}"
