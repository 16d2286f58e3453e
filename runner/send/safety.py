"""The safety rules that are looked at before anything is sent, the same on every path that sends.

Each refusal names the rule, the limit and the value. The rules that act while a run is under way stand where
they act: `max_rows_per_phone` in `delivery`, `max_failed` in `breaker`, the others in `watches`.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from runner.audit.fold import Fold
from runner.errors import AuditDamaged, Refused
from runner.model import Target
from runner.outcomes import AttemptFailed
from runner.plan.header import PlanHeader, PlanWindow

__all__ = [
    "Question",
    "audit_age",
    "check_windows",
    "is_stale",
    "plan_age",
    "was_capped",
]

STALE: Final = timedelta(days=1)

_CAPS = ("max_rows_per_phone", "stop_when_empty")


@dataclass(frozen=True, slots=True)
class Question:
    """Something a person must say yes to, and the flag that says it for them."""

    text: str
    flag: str


def plan_age(mtime_s: float, header: PlanHeader, now: datetime) -> timedelta:
    """Return how old a plan is: its file, or what it says itself, whichever is older."""
    return now - min(header.made_at, datetime.fromtimestamp(mtime_s, UTC))


def audit_age(fold: Fold, now: datetime) -> timedelta:
    """Return how long ago an audit was begun; AuditDamaged where it does not say."""
    try:
        return now - datetime.fromisoformat(fold.first_run.at)
    except (ValueError, TypeError) as error:
        raise AuditDamaged(fold.name, 1, "its time is none") from error


def is_stale(age: timedelta) -> bool:
    """Tell whether so much time has passed that rows imported since would go as well."""
    return age > STALE


def was_capped(fold: Fold) -> str | None:
    """Return why the last session stopped, if a cap stopped it: its scope was not what was thought."""
    why = (fold.last_summary and fold.last_summary.why) or ""
    return why if why.startswith(_CAPS) else None


async def check_windows(
    windows: Iterable[PlanWindow], list_total: Callable[[Target], Awaitable[int]]
) -> Mapping[str, int]:
    """Read the listing's total of every window and refuse an entry above its `max_rows`.

    Entries are told apart by their number: several may stand in one line of a job, and so share a place.
    Returns the rows by place.

    Raises:
        Refused: An entry matches more rows than its `max_rows`, or the listing cannot be read.
    """
    totals: dict[int, int] = defaultdict(int)
    most: dict[int, int] = {}
    by_place: dict[str, int] = defaultdict(int)
    places: dict[int, str] = {}
    for window in windows:
        entry = window.entry
        most[entry] = min(window.max_rows, most.get(entry, window.max_rows))
        places[entry] = window.place
        try:
            rows = await list_total(window.target)
        except AttemptFailed as error:
            raise Refused(
                f"max_rows: the listing of {window.place} could not be read: {error}",
                hint="a window is deleted only when its size is known; try again later",
            ) from error
        totals[entry] += rows
        by_place[window.place] += rows
    for entry, total in totals.items():
        if total > most[entry]:
            raise Refused(
                f"max_rows: {places[entry]} matches {total:,} rows, {most[entry]:,} are allowed",
                hint="look at the window; if it is right, raise max_rows in the job",
            )
    return by_place
