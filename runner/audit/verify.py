"""Whether an audit is what was written: its chain, its sequence, its equation.

Keeps the promise of `verify`: a record changed, moved, removed or added is noticed, and so is a missing end.
It reads and never repairs. What it cannot know: who can write the file can compute an unkeyed chain anew;
only a head value that was kept elsewhere shows that.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from runner.audit.fold import Feed, Fold, PhonesOf, SessionRecords, feed_lines, take_lines
from runner.audit.reader import AuditLines
from runner.errors import AuditDamaged, Exit

__all__ = ["State", "Verification", "striking_off", "verify"]


class State(Enum):
    """What `verify` found, with the exit code of each."""

    WHOLE = "whole"
    DAMAGED = "damaged"
    OPEN_ENDED = "open_ended"

    @property
    def exit_code(self) -> Exit:
        """0 whole, 1 damaged, 3 intact but without an end."""
        return {State.WHOLE: Exit.OK, State.DAMAGED: Exit.PARTIAL, State.OPEN_ENDED: Exit.STOPPED}[self]


@dataclass(frozen=True, slots=True)
class Verification:
    """The finding; `line` counts from 1 (0: the file as a whole)."""

    state: State
    what: str
    line: int = 0
    head: str = ""
    """The chain of the last whole record: after a summary, the value worth keeping elsewhere."""
    records: int = 0
    sessions: tuple[SessionRecords, ...] = ()


def striking_off(heads: set[str]) -> Feed:
    """Return what feeds a fold and strikes off each chain that is among the heads looked for."""

    def watched(lines: AuditLines) -> Iterator[bytes]:
        for line in lines:
            yield line
            heads.discard(lines.chain)

    def feed(fold: Fold, lines: AuditLines) -> None:
        take_lines(fold, watched(lines))

    return feed


def verify(path: Path, *, heads: Iterable[str] = (), phones_of: PhonesOf | None = None) -> Verification:
    """Prove an audit's chain, its order and the equation of each of its summaries.

    Args:
        path: The audit.
        heads: Chain values kept elsewhere (a session's last); each must still be a record's chain, or else
            something before that session's end was changed or cut.
        phones_of: The plan's phones by `seq`, if the plan is at hand.

    Raises:
        Refused: The file cannot be read, it is no audit, or another user's.
    """
    missing = {head.strip().lower() for head in heads}
    lines = AuditLines(path, verify_chain=True, own=True)
    fold = Fold(str(path), phones_of=phones_of)
    try:
        feed_lines(fold, lines, striking_off(missing))
    except AuditDamaged as error:
        return Verification(State.DAMAGED, error.message, error.line)
    return _judge(fold, missing)


def _judge(fold: Fold, missing: set[str]) -> Verification:
    state, what, line = State.WHOLE, "every record is in its place, and the totals are their sum", 0
    if missing:
        state = State.DAMAGED
        what = f"no record has the head {', '.join(sorted(missing))}: records were changed or cut"
    elif fold.torn_bytes:
        state, line = State.OPEN_ENDED, fold.records + 1
        what = f"intact up to a torn last line of {fold.torn_bytes} bytes: killed, or cut"
    elif not fold.complete:
        state, line = State.OPEN_ENDED, fold.records
        what = "intact, but the last session has no summary: killed, cut, or still running"
    return Verification(state, what, line, fold.chain, fold.records, tuple(fold.sessions))
