"""What holds a run up, by its `pace` records: the server's pauses, the breaker's, and an operator's. Pure."""

import math
from datetime import datetime

from runner.audit.records import GO_ON, PAUSE, PaceRecord, Record, RunRecord
from runner.phones import mask_text
from runner.text import printable

__all__ = ["Pauses", "pause_words"]


class Pauses:
    """The pauses of a session, from its records in their order; those of an earlier one are over."""

    def __init__(self) -> None:
        self._hold: PaceRecord | None = None
        self._longest: tuple[datetime, PaceRecord] | None = None

    def note(self, record: Record) -> None:
        """Take in a record; a `pace` whose time is none says nothing."""
        if isinstance(record, RunRecord):
            self._hold = self._longest = None
        elif isinstance(record, PaceRecord) and record.order is not None:
            self._hold = {PAUSE: record, GO_ON: None}.get(record.order, self._hold)
        elif isinstance(record, PaceRecord):
            until = _moment(record.until)
            if until is not None and (self._longest is None or until > self._longest[0]):
                self._longest = until, record

    def at(self, now: datetime) -> tuple[PaceRecord, float] | None:
        """Return the pause that lasts, and for how many seconds still: infinity of an operator's."""
        if self._hold is not None:
            return self._hold, math.inf
        left_s = 0.0 if self._longest is None else (self._longest[0] - now).total_seconds()
        return (self._longest[1], left_s) if self._longest is not None and left_s > 0 else None


def pause_words(pause: PaceRecord) -> str:
    """Return a pause in words for people: until when or since when, and why."""
    until, since = _moment(pause.until), _moment(pause.at)
    if until is not None:
        return printable(f"paused until {until:%H:%M:%S}: {mask_text(pause.why)}")
    whose = f" by {pause.operator}" if pause.operator else ""
    begun = f" since {since:%H:%M:%S}" if since is not None else ""
    why = f": {pause.reason}" if pause.reason else ""
    return printable(f"paused{mask_text(whose)}{begun}{mask_text(why)}")


def _moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        return None
