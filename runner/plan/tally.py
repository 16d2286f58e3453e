"""What came in while a plan was made: values by source, changes by kind, rejects by reason, in numbers.

Keeps the promise that normalisation is reported, never silent, and that what is wrong in a list is named: the
first ten with their place, all of them to whoever asked. Values are shown masked only. Its memory does not
grow with the lists.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from runner.errors import Refused
from runner.lists.rows import Rows
from runner.phones import REASONS, Normalised, mask
from runner.plan.header import PlanSource, Reject

__all__ = ["Intake", "printable", "reject_words"]

_MAX_SOURCES = 200
_MAX_FIRST = 10


@dataclass(slots=True)
class Intake:
    """Counts of what was read; `on_reject` gets every rejected value.

    Args:
        on_reject: Called with each reject, masked, in the order of reading.
    """

    on_reject: Callable[[Reject], None] | None = None
    read: int = 0
    rejected: int = 0
    changed: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    first: list[Reject] = field(default_factory=list)
    more_sources: int = 0
    _sources: dict[str, list[int]] = field(default_factory=dict)
    _unlisted: str = ""

    def take(self, rows: Rows, result: Normalised) -> None:
        """Count some rows and what normalising made of them."""
        self.read += len(rows.values)
        self.rejected += len(result.bad)
        self.changed += result.changed
        for kind, times in result.kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0) + times
        source = printable(rows.source)
        counts = self._counts_of(source)
        if counts is not None:
            counts[0] += len(rows.values)
            counts[1] += len(result.bad)
            counts[2] += result.changed
        for index, reason in result.bad.items():
            self._reject(Reject(source, rows.lines[index], reason, mask(rows.values[index])))

    def _counts_of(self, source: str) -> list[int] | None:
        counts = self._sources.get(source)
        if counts is None and len(self._sources) < _MAX_SOURCES:
            counts = self._sources[source] = [0, 0, 0]
        elif counts is None and source != self._unlisted:
            self._unlisted = source
            self.more_sources += 1
        return counts

    def _reject(self, reject: Reject) -> None:
        self.reasons[reject.reason] = self.reasons.get(reject.reason, 0) + 1
        if len(self.first) < _MAX_FIRST:
            self.first.append(reject)
        if self.on_reject is not None:
            self.on_reject(reject)

    @property
    def sources(self) -> tuple[PlanSource, ...]:
        """The first sources, in the order of reading."""
        return tuple(PlanSource(source, *counts) for source, counts in self._sources.items())

    def by_reason(self) -> dict[str, int]:
        """Return how many values each reason rejected, the most frequent first."""
        return dict(sorted(self.reasons.items(), key=lambda item: (-item[1], item[0])))

    def check_share(self, limit: float) -> None:
        """Refuse lists of which more than `limit` is no phone (usually the wrong column)."""
        if self.rejected <= limit * self.read:
            return
        reason, times = next(iter(self.by_reason().items()))
        places = "; ".join(reject_words(reject) for reject in self.first[:3])
        share = self.rejected / self.read
        why = f"{times:,} × {reason} ({REASONS.get(reason, reason)})"
        raise Refused(
            f"max_invalid: {self.rejected:,} of {self.read:,} values are no phones, {share:.2%} where "
            f"{limit * 100:g}% are allowed; mostly {why}: {places}",
            hint="In the job file: check that the right phone_column is read, or raise safety.max_invalid.",
        )


def printable(text: str) -> str:
    """Return a text that can be written as UTF-8: a file name need not be any (it may be GB18030)."""
    return text.encode("utf-8", "backslashreplace").decode()


def reject_words(reject: Reject) -> str:
    """Return one reject as a person reads it: place, masked value, reason."""
    return f"{reject.source}:{reject.line} {reject.value} ({reject.reason})"
