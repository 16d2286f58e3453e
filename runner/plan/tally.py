"""What came in while a plan was made: values by source, changes by kind, rejects by reason, in numbers.

Keeps the promise that normalisation is reported, never silent, that a column is never read unsaid, and that
what is wrong in a list is named: the first ten with their place, all of them to whoever asked. Values are
shown masked only. Its memory does not grow with the lists.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from runner.lists.rows import ColumnRead, Rows
from runner.phones import Normalised, mask
from runner.plan.header import PlanSource, Reject
from runner.text import encodable

__all__ = ["SourceCount", "Tally"]

MAX_SOURCES = 10_000
"""Sources that are told one by one."""
_MAX_FIRST: Final = 10
_MAX_HEADER: Final = 100
_MAX_PASSED_OVER: Final = 20

_Key = tuple[str, ColumnRead | None]
"""A file that is read twice may be read for two columns."""


@dataclass(slots=True)
class SourceCount:
    """The figures of one source, or of all; fields as in `PlanSource`."""

    column: ColumnRead | None = None
    rows: int = 0
    rejected: int = 0
    normalised: int = 0
    blank: int = 0
    hidden: int = 0

    def of(self, source: str) -> PlanSource:
        """Return the figures as a plan tells them."""
        return PlanSource(
            source, self.rows, self.rejected, self.normalised, self.blank, self.hidden, self.column
        )


@dataclass(slots=True)
class Tally:
    """Counts of what was read; `on_reject` gets every rejected value.

    Args:
        on_reject: Called with each reject, masked, in the order of reading.
        total: The figures of all sources together.
    """

    on_reject: Callable[[Reject], None] | None = None
    total: SourceCount = field(default_factory=SourceCount)
    kinds: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    first: list[Reject] = field(default_factory=list)
    more_sources: int = 0
    _sources: dict[_Key, SourceCount] = field(default_factory=dict)
    _unlisted: _Key | None = None

    def take(self, rows: Rows, result: Normalised) -> None:
        """Count some rows and what normalising made of them."""
        rejected = _without_blank(rows.values, result.bad)
        blank = len(result.bad) - len(rejected)
        source = encodable(rows.source)
        for counts in (self.total, self._counts_of(source, rows.column)):
            counts.rows += len(rows.values) - blank
            counts.rejected += len(rejected)
            counts.normalised += result.changed
            counts.blank += rows.blank + blank
            counts.hidden += rows.hidden
        self.kinds.update(result.kinds)
        for index, reason in rejected.items():
            self._reject(Reject(source, rows.lines[index], reason, mask(rows.values[index])))

    def _counts_of(self, source: str, column: ColumnRead | None) -> SourceCount:
        """Return where a source is counted; of one too many nobody looks there."""
        key = (source, column)
        counts = self._sources.get(key) or SourceCount(_bounded(column))
        if len(self._sources) < MAX_SOURCES:
            self._sources[key] = counts
        elif key not in self._sources and key != self._unlisted:
            self._unlisted = key
            self.more_sources += 1
        return counts

    def _reject(self, reject: Reject) -> None:
        self.reasons[reject.reason] += 1
        if len(self.first) < _MAX_FIRST:
            self.first.append(reject)
        if self.on_reject is not None:
            self.on_reject(reject)

    @property
    def sources(self) -> tuple[PlanSource, ...]:
        """The first sources, in the order of reading."""
        return tuple(counts.of(source) for (source, _), counts in self._sources.items())

    def by_reason(self) -> dict[str, int]:
        """Return how many values each reason rejected, the most frequent first."""
        return dict(sorted(self.reasons.items(), key=lambda item: (-item[1], item[0])))


def _without_blank(values: Sequence[str], bad: dict[int, str]) -> dict[int, str]:
    """Return what is bad but for blank values: they are none, wherever they come from."""
    if "empty" not in bad.values():
        return bad
    return {index: reason for index, reason in bad.items() if reason != "empty" or values[index].strip()}


def _bounded(column: ColumnRead | None) -> ColumnRead | None:
    """Return what was said of a column with headers that a plan can hold: not too long, not too many."""
    if column is None:
        return None
    passed_over = [encodable(name[:_MAX_HEADER]) for name in column.passed_over[:_MAX_PASSED_OVER]]
    if more := len(column.passed_over) - len(passed_over):
        passed_over.append(f"and {more:,} more")
    header = encodable(column.header[:_MAX_HEADER])
    return replace(column, header=header, passed_over=tuple(passed_over))
