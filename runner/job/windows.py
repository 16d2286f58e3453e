"""Import-time windows: absolute pairs, relative ones computed once, and slices of them.

Keeps this promise: what a window says never widens. A reversed, malformed or unreal date is an error; slices
touch without a gap or an overlap; and where a wall time occurs twice (the end of summer time) the window
gets smaller, not larger. Nothing here reads the clock: `now` is given, so that a plan has one.

A duration is a number of real seconds (`1d` is 24 hours, whatever the clocks do that night). It is taken from
the instant `now`, and only the result is written as the zone's wall time. Slices are cut on the wall.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from runner.model import Window
from runner.settings import parse_duration

__all__ = [
    "EARLIEST",
    "MAX_SLICES",
    "RelativeWindow",
    "absolute_window",
    "parse_instant",
    "relative_window",
    "slice_window",
    "wall_now",
    "zone",
]

EARLIEST = "1970-01-01 00:00:00"
"""Where a window of phones starts when nothing says so; `delete_window` never gets it."""

MAX_SLICES = 10_000
"""More windows than that from one entry are a slip of the unit."""

_INSTANT = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})")
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class RelativeWindow:
    """A window as a job says it: instants as text, durations as text; each part may be absent.

    Args:
        start: `from`, absolute.
        end: `to`, absolute.
        older_than: The window ends this long before now.
        last: The window starts this long before now.
    """

    start: str | None = None
    end: str | None = None
    older_than: str | None = None
    last: str | None = None


def zone(name: str) -> ZoneInfo:
    """Return the time zone of that name; ValueError if there is none."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:  # a folder, `../x`, an unknown name
        raise ValueError(f"time zone {name[:60]!r} is not known: write one such as Asia/Shanghai") from error


def parse_instant(text: str) -> datetime:
    """Parse `YYYY-MM-DD HH:MM:SS`, exactly that and a real date; the result is a naive wall time.

    Raises:
        ValueError: It is anything else.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise ValueError("write a date and time as YYYY-MM-DD HH:MM:SS")
    try:
        return datetime(*map(int, match.groups()))  # type: ignore[arg-type]  # noqa: DTZ001 - a wall time
    except ValueError as error:
        raise ValueError(f"{text} is not a real date and time: {error}") from None


def absolute_window(start: str, end: str) -> Window:
    """Return the window of two instants, both included; ValueError where it is malformed or reversed."""
    if parse_instant(start) > parse_instant(end):
        raise ValueError(f"the window is reversed: it starts {start} and ends {end}")
    return start, end


def relative_window(said: RelativeWindow, *, now: datetime, timezone: str) -> Window:
    """Return the absolute window that is meant at the instant `now`; the end defaults to now.

    Raises:
        ValueError: It says nothing, says one end twice, is malformed, or starts after its end.
    """
    if said == RelativeWindow():
        raise ValueError("the window says nothing: give from, to, older_than or last")
    if said.start is not None and said.last is not None:
        raise ValueError("from and last both say where the window starts: keep one")
    if said.end is not None and said.older_than is not None:
        raise ValueError("to and older_than both say where the window ends: keep one")
    local, now = zone(timezone), now.replace(microsecond=0)
    start = said.start or EARLIEST
    if said.last is not None:
        start = _wall(_before(now, said.last), local, latest=True)
    end = said.end or _wall(_before(now, said.older_than), local, latest=False)
    return absolute_window(start, end)


def wall_now(now: datetime, timezone: str) -> str:
    """Return the zone's wall time at the instant `now`, as windows write it."""
    return _text(now.astimezone(zone(timezone)))


def slice_window(window: Window, width: timedelta) -> tuple[Window, ...]:
    """Cut a window into windows of at most `width`, in order, without a gap and without an overlap.

    Raises:
        ValueError: The width is under a second, or there would be more than `MAX_SLICES`.
    """
    start, end = parse_instant(window[0]), parse_instant(window[1])
    if width < _SECOND:
        raise ValueError("a slice is at least one second")
    if (end - start) // width >= MAX_SLICES:
        raise ValueError(f"more than {MAX_SLICES:,} slices: make the slice longer")
    return tuple(_slices(start, end, width))


def _slices(start: datetime, end: datetime, width: timedelta) -> Iterator[Window]:
    while end - start >= width:
        following = start + width
        yield _text(start), _text(following - _SECOND)
        start = following
    yield _text(start), _text(end)


def _before(now: datetime, duration: str | None) -> datetime:
    try:
        return now.astimezone(UTC) - (parse_duration(duration) if duration else timedelta())
    except OverflowError:
        raise ValueError(f"{duration} ago is before the calendar begins") from None


def _wall(instant: datetime, local: ZoneInfo, *, latest: bool) -> str:
    """Return the wall time of an instant; where that occurs twice, the reading that makes a window smaller.

    `latest` for a start: no row before the instant carries a wall time at or after the result. Without it,
    for an end: no row after the instant carries a wall time at or before it.
    """
    try:
        shown = instant.astimezone(local)
        offsets = [shown.replace(fold=fold).utcoffset() or timedelta() for fold in (0, 1)]
        return _text(instant.replace(tzinfo=None) + (max(offsets) if latest else min(offsets)))
    except OverflowError:
        raise ValueError("the window leaves the calendar") from None


def _text(wall: datetime) -> str:
    return wall.replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")  # strftime does not pad the year
