"""What came in while a plan was made: values by source, changes by kind, rejects by reason, in numbers.

Keeps the promise that normalisation is reported, never silent, that a column is never read unsaid, and that
what is wrong in a list is named: the first ten with their place, all of them to whoever asked. Values are
shown masked only. Its memory does not grow with the lists.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from runner.lists.rows import ColumnRead, Rows
from runner.phones import Normalised, mask
from runner.plan.header import PlanSource, Reject
from runner.text import encodable

__all__ = ["Tally"]

MAX_SOURCES = 10_000
"""Sources that are told one by one."""
_MAX_FIRST: Final = 10
_MAX_HEADER: Final = 100
_MAX_PASSED_OVER: Final = 20


@dataclass(slots=True)
class Tally:
    """Counts of what was read; `on_reject` gets every rejected value.

    Args:
        on_reject: Called with each reject, masked, in the order of reading.
    """

    on_reject: Callable[[Reject], None] | None = None
    read: int = 0
    rejected: int = 0
    changed: int = 0
    blank: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    first: list[Reject] = field(default_factory=list)
    more_sources: int = 0
    _sources: "dict[str, _SourceCount]" = field(default_factory=dict)
    _unlisted: str = ""

    def take(self, rows: Rows, result: Normalised) -> None:
        """Count some rows and what normalising made of them."""
        self.read += len(rows.values)
        self.rejected += len(result.bad)
        self.changed += result.changed
        self.blank += rows.blank
        self.kinds.update(result.kinds)
        source = encodable(rows.source)
        counts = self._counts_of(source, rows.column)
        if counts is not None:
            counts.add(rows, result)
        for index, reason in result.bad.items():
            self._reject(Reject(source, rows.lines[index], reason, mask(rows.values[index])))

    def _counts_of(self, source: str, column: ColumnRead | None) -> "_SourceCount | None":
        counts = self._sources.get(source)
        if counts is None and len(self._sources) < MAX_SOURCES:
            counts = self._sources[source] = _SourceCount(_bounded(column))
        elif counts is None and source != self._unlisted:
            self._unlisted = source
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
        return tuple(counts.of(source) for source, counts in self._sources.items())

    def by_reason(self) -> dict[str, int]:
        """Return how many values each reason rejected, the most frequent first."""
        return dict(sorted(self.reasons.items(), key=lambda item: (-item[1], item[0])))


@dataclass(slots=True)
class _SourceCount:
    """The figures of one source."""

    column: ColumnRead | None
    rows: int = 0
    rejected: int = 0
    normalised: int = 0
    blank: int = 0
    hidden: int = 0

    def add(self, rows: Rows, result: Normalised) -> None:
        self.rows += len(rows.values)
        self.rejected += len(result.bad)
        self.normalised += result.changed
        self.blank += rows.blank
        self.hidden += rows.hidden

    def of(self, source: str) -> PlanSource:
        return PlanSource(
            source, self.rows, self.rejected, self.normalised, self.blank, self.hidden, self.column
        )


def _bounded(column: ColumnRead | None) -> ColumnRead | None:
    """Return what was said of a column with headers that a plan can hold: not too long, not too many."""
    if column is None:
        return None
    passed_over = [encodable(name[:_MAX_HEADER]) for name in column.passed_over[:_MAX_PASSED_OVER]]
    if more := len(column.passed_over) - len(passed_over):
        passed_over.append(f"and {more:,} more")
    header = encodable(column.header[:_MAX_HEADER])
    return replace(column, header=header, passed_over=tuple(passed_over))
