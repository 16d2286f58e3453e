"""Looks at every batch that ends, for signs that the job itself is wrong: the list, the path, the token.

Such a run is stopped although the server is well; what the server suffers from is the breaker's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from runner.audit.fold import Fold
from runner.send.delivery import Ended
from runner.settings import Safety
from runner.stop import Stop

__all__ = ["Watch", "watches_of"]

EMPTY_BATCHES: Final = 20
"""When the first so many batches all deleted nothing, it may be the wrong account."""
LOOKED_AT_FROM: Final = 200
"""Numbers that must have been sent before their share of refused ones says anything."""
STRANGERS: Final = 3


class Watch(Protocol):
    """Looks at the batches of a session."""

    def batch_ended(self, ended: Ended) -> None:
        """Look at one that has its record; it stands in the audit's fold."""
        ...


def watches_of(safety: Safety, stop: Stop, fold: Fold, warn: Callable[[str], None]) -> tuple[Watch, ...]:
    """Return all that look at the batches of a session.

    Args:
        safety: The rules that they hold.
        stop: Ends the run.
        fold: Of the whole audit.
        warn: Says something to a person.
    """
    return (
        RefusalWatch(stop, safety.max_refused),
        StrangerWatch(stop, fold),
        EmptyWatch(stop, fold, warn, stops=safety.stop_when_empty),
    )


@dataclass(slots=True)
class EmptyWatch:
    """Notices when an audit's first batches all deleted nothing, and stops the run or warns."""

    stop: Stop
    fold: Fold
    warn: Callable[[str], None]
    stops: bool
    """`stop_when_empty`; without it a person is warned."""
    _over: bool = False

    def batch_ended(self, _ended: Ended) -> None:
        """Look at all that ended until now."""
        if self._over or self.fold.ended < EMPTY_BATCHES:
            return
        totals = self.fold.totals()
        self._over = totals.batches["deleted"] >= EMPTY_BATCHES
        if totals.batches["deleted"] != EMPTY_BATCHES or totals.count:
            return
        words = f"the first {EMPTY_BATCHES} batches deleted nothing (wrong account?)"
        if self.stops:
            self.stop.request(f"stop_when_empty: {words}", even_if_done=True)
        else:
            self.warn(words)


@dataclass(slots=True)
class RefusalWatch:
    """Stops the run when too many numbers of this session are refused for what they are (`max_refused`)."""

    stop: Stop
    max_refused: float
    sent: int = 0
    refused: int = 0

    def batch_ended(self, ended: Ended) -> None:
        """Count a batch's numbers, all at its end: the bad ones are singled out before the good ones go."""
        self.sent += ended.sent
        self.refused += ended.refused
        if self.sent >= LOOKED_AT_FROM and self.refused > self.max_refused * self.sent:
            self.stop.request(
                f"max_refused: the vendor refused {self.refused:,} of {self.sent:,} numbers"
                f" for what they are, more than {100 * self.max_refused:g}% (the wrong list, or encryption?)"
            )


@dataclass(slots=True)
class StrangerWatch:
    """Stops the run when the vendor knows none of its first users, and nothing was ever confirmed."""

    stop: Stop
    fold: Fold
    """Of the whole audit: an earlier session may have had a deletion confirmed."""
    _refused: set[str] = field(default_factory=set)
    _over: bool = False

    def batch_ended(self, ended: Ended) -> None:
        """Look at one batch; those that say nothing about their user are passed over."""
        if ended.user_refused:
            self._refused.add(ended.user_id)
        elif ended.status == "deleted" or ended.refused:
            self._over = True
        if self._over or len(self._refused) < STRANGERS:
            return
        self._over = True
        totals = self.fold.totals()
        if not totals.batches["deleted"] + totals.phones["deleted"]:
            self.stop.request(
                f"the first {STRANGERS} users were refused and nothing was ever confirmed:"
                " the base URL's path is wrong, or the token sees nobody",
                even_if_done=True,
                remedy="mend the base URL, or take a token that sees these users",
            )
