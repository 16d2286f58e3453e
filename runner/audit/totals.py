"""The totals of an audit, and what must hold of them (promise 4). Nothing is counted here."""

from collections.abc import Mapping
from dataclasses import dataclass

from runner.audit.records import STATUSES, SummaryRecord, as_json

__all__ = ["Totals"]

_READ_PARTS = ("unique", "duplicate", "rejected", "protected")


@dataclass(frozen=True, slots=True)
class Totals:
    """The totals of an audit, in the summary's words; a fold's answer, never counted elsewhere."""

    batches: Mapping[str, int]
    """`planned`, and one for each status."""
    phones: Mapping[str, int]
    """`unique` (those asked), and one for each status."""
    count: int
    uncertain_batches: int
    empty_batches: int
    attempts: int
    attempts_assumed: int
    """Those of `attempts` that stand for an announced batch without an end: each counts as one, and may have
    been none (it was announced ahead of its turn) or several (it was tried again)."""
    open_batches: int
    phones_known: bool = True
    """False: without the plan, phones of open uncertain batches stand under `not_sent`."""

    def __add__(self, other: "Totals") -> "Totals":
        """Return the totals of two audits together, which are about different batches."""
        return Totals(
            batches=_sums(self.batches, other.batches),
            phones=_sums(self.phones, other.phones),
            count=self.count + other.count,
            uncertain_batches=self.uncertain_batches + other.uncertain_batches,
            empty_batches=self.empty_batches + other.empty_batches,
            attempts=self.attempts + other.attempts,
            attempts_assumed=self.attempts_assumed + other.attempts_assumed,
            open_batches=self.open_batches + other.open_batches,
            phones_known=self.phones_known and other.phones_known,
        )

    @property
    def holds(self) -> bool:
        """Whether asked = deleted + failed + unknown + not_sent, in batches and in phones (promise 4)."""
        by_status = [(self.batches[s], self.phones[s]) for s in STATUSES]
        return (
            min(min(pair) for pair in by_status) >= 0
            and sum(pair[0] for pair in by_status) == self.batches["planned"]
            and sum(pair[1] for pair in by_status) == self.phones["unique"]
        )

    @property
    def all_confirmed(self) -> bool:
        """Whether every batch was confirmed by the server (exit code 0)."""
        return self.batches["deleted"] == self.batches["planned"]

    def agree_with(self, summary: SummaryRecord) -> bool:
        """Tell whether a summary says the same, as far as phones are known."""
        shown = as_json(summary)
        phones, told = shown["phones"], self.phones
        exact = STATUSES if self.phones_known else STATUSES[:2]
        return (
            shown["batches"] == self.batches
            and all(phones[status] == told[status] for status in exact)
            and phones["unique"] == sum(phones[status] for status in STATUSES) == told["unique"]
            and phones["read"] == sum(phones[key] for key in _READ_PARTS)
            and summary.count == self.count
            and summary.uncertain_batches == self.uncertain_batches
            and summary.empty_batches == self.empty_batches
            and (summary.status == "complete") <= self.all_confirmed
        )


def _sums(one: Mapping[str, int], other: Mapping[str, int]) -> Mapping[str, int]:
    return {name: number + other[name] for name, number in one.items()}
