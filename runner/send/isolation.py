"""Finding the bad numbers of a batch that was refused for what it holds.

A refused part is cut: each number that the vendor's words name goes alone, the rest together; where the words
name none, into halves. So the parts of a batch are a tree in which every cut has two branches or more and
every leaf a number of its own: n numbers make at most 2n − 1 parts, whatever the words say. Each part is sent
once, and again only after what any batch is sent again for. A number counts as bad only when it was refused
alone; a name that proves false costs one request, and from then on this batch is halved.

Nothing here sends: `delivery` does, and keeps the parts that wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from runner.audit.records import BatchStatus
from runner.model import Reply
from runner.outcomes import AttemptFailed

__all__ = ["Part", "cut"]


@dataclass(slots=True, eq=False)
class Part:
    """Numbers of a batch that share a request, and what became of them."""

    phones: Sequence[str]
    tainted: bool
    """An attempt on these numbers, or on a whole that held them, may have been processed unseen."""
    named: bool = False
    """It is one number, alone because the vendor's words named it."""
    status: BatchStatus = "not_sent"
    departures: int = 0
    reply: Reply | None = None
    failure: AttemptFailed | None = None
    reason: str | None = None
    """The audit's word where no attempt gave one."""

    def confirmed(self, reply: Reply) -> None:
        """Settle it as deleted."""
        self.reply, self.status = reply, "deleted"

    def unconfirmed(self, failure: AttemptFailed) -> None:
        """Settle it by its last failure."""
        self.failure, self.status = failure, "unknown" if self.tainted else "failed"

    def untried(self, reason: str) -> None:
        """Settle it as never tried."""
        self.reason, self.status = reason, "unknown" if self.tainted else "not_sent"

    @property
    def refused(self) -> bool:
        """Whether the vendor refused it for the numbers in it; of a single one that is its fault alone."""
        last = self.failure if self.reply is None else None
        return last is not None and last.kind.blames_numbers and len(self.phones) > 0

    @property
    def faulty(self) -> bool:
        """Whether it is not confirmed, and not only for the numbers in it."""
        return self.status in {"failed", "unknown"} and not self.refused

    @property
    def may_be_cut(self) -> bool:
        """Whether it was refused and holds more than one number."""
        return self.refused and len(self.phones) > 1


def cut(part: Part, *, believe_names: bool) -> list[Part]:
    """Return at least two parts that hold each number of a refused one once, those that it names first."""
    words = part.failure.message if part.failure is not None and believe_names else ""
    named = [phone for phone in part.phones if phone in words]
    if not named:
        middle = (len(part.phones) + 1) // 2
        return [Part(half, part.tainted) for half in (part.phones[:middle], part.phones[middle:])]
    rest = tuple(phone for phone in part.phones if phone not in named)
    alone = [Part((phone,), part.tainted, named=True) for phone in named]
    return [*alone, Part(rest, part.tainted)] if rest else alone
