"""The course of a run in a bounded number of points, for whoever draws it.

Owns when things happened: buckets of equal width that double it whenever a run outgrows them, so that a run
of a minute and one of a month take the same memory. Time is counted while a session runs; what lies between
two sessions is left out, and marked. It feeds a fold and looks on: no figure of a report comes from here.
"""

import heapq
import math
import operator
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Final, TypeVar

from runner.audit.fold import Fold
from runner.audit.reader import AuditLines
from runner.audit.records import GO_ON, PAUSE, PaceRecord, RunRecord, TimedEnd, decode_timed
from runner.settings import Rate, parse_rate

__all__ = ["FINEST_S", "MOST_BUCKETS", "Course", "Pause", "Resumed", "Timeline", "Timelines"]

MOST_BUCKETS: Final = 480
FINEST_S: Final = 0.25
_MOST_NAMED = 24
_MOST_SPREAD = 2000
_LAST_PAUSES = 16


@dataclass(frozen=True, order=True, slots=True)
class Pause:
    """One pause of everybody, or several of the same reason that overlap."""

    seconds: float
    start_s: float
    at: str
    why: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """Where on the time line a later session begins, and when that was."""

    start_s: float
    at: str


@dataclass(frozen=True, slots=True)
class Course:
    """What a time line knows; times in seconds of running, buckets of `width_s` from 0 to `end_s`.

    `requests` are counted when they left: the first of a batch by its record's duration, further ones in
    even steps until its end. Those of batches that were left open are not among them. `allowed` is the
    highest rate, in requests a second, that was allowed in a bucket; infinity without a limit.
    """

    width_s: float
    end_s: float
    window_s: float
    """Over how long the rate's promise holds: a second, or a minute where a rate is given so."""
    confirmed: Sequence[int]
    """Phones."""
    unconfirmed: Sequence[int]
    """Phones of batches that ended otherwise."""
    requests: Sequence[int]
    allowed: Sequence[float]
    paused_s: Sequence[float]
    pauses: Sequence[Pause]
    """The longest, in order of time."""
    pause_count: int
    pause_total_s: float
    resumed: Sequence[Resumed]
    """The first sessions after the first one."""


@dataclass(slots=True)
class _Bucket:
    """What a bucket holds of the allowed rate: the highest that was said in it, and the last."""

    highest: float
    last: float


class Timeline:
    """Feeds an audit's lines to a fold and notes when what happened; `feed` is a `fold.Feed`.

    Args:
        start: When time begins that goes on between sessions as well, for audits whose times are compared;
            None: with the first session, and time that no session ran is left out.
    """

    def __init__(self, start: str | None = None) -> None:
        self._start_s = None if start is None else _seconds(start)
        self._width_s = FINEST_S
        self._window_s = 1.0
        self._end_s = 0.0
        self._session_s = 0.0
        self._zero = 0.0
        self._confirmed = [0] * MOST_BUCKETS
        self._unconfirmed = [0] * MOST_BUCKETS
        self._requests = [0] * MOST_BUCKETS
        self._paused_s = [0.0] * MOST_BUCKETS
        self._rates: dict[int, _Bucket] = {}
        self._pauses: list[Pause] = []
        self._pause_count, self._pause_total_s = 0, 0.0
        self._now_paused: Pause | None = None
        self._held: Pause | None = None
        self._last_pauses: deque[tuple[float, float]] = deque(maxlen=_LAST_PAUSES)
        self._resumed: list[Resumed] = []

    def feed(self, fold: Fold, lines: AuditLines) -> None:
        """Take every whole line into the fold, and note its time; raises one of `MALFORMED`."""
        decode, end_batch, apply = decode_timed, fold.end_batch, fold.apply
        for line in lines:
            record = decode(line)
            if type(record) is TimedEnd and fold.in_session:
                before = fold.attempts_before(record.seq)
                end_batch(record, line)
                self._end(record, before)
            else:
                apply(record)
                self._note(record)
        self._end_session()

    def _note(self, record: object) -> None:
        """Take in what is not a batch's end."""
        if isinstance(record, RunRecord):
            self._begin(record)
        elif isinstance(record, PaceRecord):
            self._pace(record)

    def _begin(self, run: RunRecord) -> None:
        self._end_session()
        if self._start_s is not None:
            self._end_s = max(self._end_s, _seconds(run.at) - self._start_s)
        elif self._zero and len(self._resumed) < _MOST_NAMED:
            self._resumed.append(Resumed(self._end_s, run.at))
        self._session_s = self._end_s
        self._zero = _seconds(run.at) - self._end_s if self._start_s is None else self._start_s
        self._set_rate(self._end_s, str(run.limits.get("rate")))

    def _pace(self, record: PaceRecord) -> None:
        at_s = self._position(record.at)
        self._set_rate(at_s, record.rate)
        if record.order in {PAUSE, GO_ON}:
            self._note_pause(self._held, at_s)
            held = record.order == PAUSE
            self._held = Pause(math.inf, at_s, record.at, _words(record)) if held else None
        if record.until is None:
            return
        until_s = max(at_s, _seconds(record.until) - self._zero)
        before = self._now_paused
        if before is not None and before.why == record.why and at_s <= before.start_s + before.seconds:
            self._now_paused = Pause(until_s - before.start_s, before.start_s, before.at, before.why)
        else:
            self._note_pause(before, at_s)
            self._now_paused = Pause(until_s - at_s, at_s, record.at, record.why)

    def _end_session(self) -> None:
        """Note the pauses that are going on: they end with their session."""
        for pause in (self._now_paused, self._held):
            self._note_pause(pause, self._end_s)
        self._now_paused = self._held = None

    def _note_pause(self, pause: Pause | None, at_s: float) -> None:
        """Note a pause, if there was one, as far as it went."""
        if pause is None:
            return
        seconds = min(pause.seconds, at_s - pause.start_s)
        self._pause_count += 1
        self._pause_total_s += seconds
        self._last_pauses.append((pause.start_s, pause.start_s + seconds))
        ended = Pause(seconds, pause.start_s, pause.at, pause.why)
        if len(self._pauses) < _MOST_NAMED:
            heapq.heappush(self._pauses, ended)
        else:
            heapq.heappushpop(self._pauses, ended)
        self._shade(pause.start_s, pause.start_s + seconds)

    def _shade(self, from_s: float, to_s: float) -> None:
        last, width_s = self._bucket(to_s), self._width_s
        for bucket in range(int(from_s / width_s), last + 1):
            overlap_s = min(to_s, (bucket + 1) * width_s) - max(from_s, bucket * width_s)
            self._paused_s[bucket] = min(width_s, self._paused_s[bucket] + max(0.0, overlap_s))

    def _set_rate(self, at_s: float, said: str) -> None:
        rate = _rate(said)
        if rate is None:
            return
        self._window_s = max(self._window_s, rate.period_s)
        number, bucket = rate.per_second, self._bucket(at_s)
        known = self._rates.setdefault(bucket, _Bucket(number, number))
        known.highest, known.last = max(known.highest, number), number

    def _end(self, record: TimedEnd, before: int) -> None:
        at_s = self._position(record.at)
        bucket = self._bucket(at_s)
        self._confirmed[bucket] += record.phones - record.phones_left
        if record.phones_left or record.status != "deleted":
            self._unconfirmed[bucket] += max(1, record.phones_left)
        sent = record.attempts - before
        if sent > 0 and record.duration_ms is not None:
            first_s = at_s - record.duration_ms / 1000
            first_s = min(at_s, max(first_s, self._session_s))
            self._requests[int(first_s / self._width_s)] += 1
            if sent > 1:
                self._spread(first_s, at_s, sent - 1)

    def _spread(self, from_s: float, to_s: float, further: int) -> None:
        """Count the further requests of a batch in even steps up to its end; none left during a pause."""
        if further > _MOST_SPREAD:
            self._requests[self._bucket(to_s)] += further
            return
        for step in range(1, further + 1):
            at_s = self._after_pause(from_s + (to_s - from_s) * step / further)
            self._requests[self._bucket(min(at_s, to_s))] += 1

    def _after_pause(self, at_s: float) -> float:
        for start_s, end_s in self._last_pauses:
            if start_s < at_s < end_s:
                return end_s
        pause = self._now_paused
        if pause is not None and pause.start_s < at_s < pause.start_s + pause.seconds:
            return pause.start_s + pause.seconds
        return at_s

    def _position(self, at: str) -> float:
        """Return a moment as seconds of running; a clock that was set back does not turn time."""
        at_s = _seconds(at) - self._zero
        self._end_s = max(self._end_s, at_s)
        return at_s if at_s > self._session_s else self._session_s

    def _bucket(self, at_s: float) -> int:
        bucket = int(at_s / self._width_s)
        while bucket >= MOST_BUCKETS:
            self._widen()
            bucket //= 2
        return bucket

    def _widen(self) -> None:
        """Put every two buckets into one."""
        self._width_s *= 2
        for counts in (self._confirmed, self._unconfirmed, self._requests, self._paused_s):
            counts[:] = [*map(operator.add, counts[::2], counts[1::2]), *[0] * (MOST_BUCKETS // 2)]
        rates: dict[int, _Bucket] = {}
        for bucket, said in sorted(self._rates.items()):
            known = rates.setdefault(bucket // 2, said)
            known.highest, known.last = max(known.highest, said.highest), said.last
        self._rates = rates

    def course(self) -> Course:
        """Return what was noted until now."""
        used = self._bucket(self._end_s) + 1
        return Course(
            width_s=self._width_s,
            end_s=self._end_s,
            window_s=self._window_s,
            confirmed=self._confirmed[:used],
            unconfirmed=self._unconfirmed[:used],
            requests=self._requests[:used],
            allowed=self._allowed(used),
            paused_s=self._paused_s[:used],
            pauses=sorted(self._pauses, key=lambda pause: pause.start_s),
            pause_count=self._pause_count,
            pause_total_s=self._pause_total_s,
            resumed=tuple(self._resumed),
        )

    def _allowed(self, used: int) -> list[float]:
        allowed, now = [], 0.0
        for bucket in range(used):
            said = self._rates.get(bucket)
            allowed.append(now if said is None else max(now, said.highest))
            now = now if said is None else said.last
        return allowed


class Timelines:
    """One time line over the audits of a run, which are fed one after the other; `feed` is a `fold.Feed`.

    Args:
        start: When the first of several audits began; None: there is just one.
    """

    def __init__(self, start: str | None = None) -> None:
        self._start = start
        self._course: Course | None = None

    def feed(self, fold: Fold, lines: AuditLines) -> None:
        """Take in an audit; raises as `Timeline.feed` does."""
        line = Timeline(self._start)
        line.feed(fold, lines)
        self._course = line.course() if self._course is None else _together(self._course, line.course())

    def course(self) -> Course:
        """Return what was noted of all of them."""
        return self._course or Timeline().course()


def _together(one: Course, other: Course) -> Course:
    """Return the course of two audits that were written side by side, under one rate and the same pauses."""
    width_s = max(one.width_s, other.width_s)
    one, other = _coarser(one, width_s), _coarser(other, width_s)
    pauses = _united([*one.pauses, *other.pauses])
    all_named = all(len(course.pauses) == course.pause_count for course in (one, other))
    count, total_s = len(pauses), sum(pause.seconds for pause in pauses)
    return Course(
        width_s=width_s,
        end_s=max(one.end_s, other.end_s),
        window_s=max(one.window_s, other.window_s),
        confirmed=_joined(operator.add, one.confirmed, other.confirmed),
        unconfirmed=_joined(operator.add, one.unconfirmed, other.unconfirmed),
        requests=_joined(operator.add, one.requests, other.requests),
        allowed=_joined(max, one.allowed, other.allowed),
        paused_s=_joined(max, one.paused_s, other.paused_s),
        pauses=sorted(heapq.nlargest(_MOST_NAMED, pauses), key=lambda pause: pause.start_s),
        pause_count=count if all_named else max(count, one.pause_count, other.pause_count),
        pause_total_s=total_s if all_named else max(total_s, one.pause_total_s, other.pause_total_s),
        resumed=(),
    )


_Number = TypeVar("_Number", int, float)


def _joined(
    both: Callable[[_Number, _Number], _Number], one: Sequence[_Number], other: Sequence[_Number]
) -> Sequence[_Number]:
    """Return two rows of buckets as one, which is as long as the longer of them."""
    return [both(*pair) for pair in zip_longest(one, other, fillvalue=0)]


def _coarser(course: Course, width_s: float) -> Course:
    """Return a course with buckets of this width, a multiple of its own."""
    step = round(width_s / course.width_s)

    def grouped(
        row: Sequence[_Number], of_one: Callable[[Sequence[_Number]], _Number] = sum
    ) -> list[_Number]:
        return [of_one(row[at : at + step]) for at in range(0, len(row), step)]

    return replace(
        course,
        width_s=width_s,
        confirmed=grouped(course.confirmed),
        unconfirmed=grouped(course.unconfirmed),
        requests=grouped(course.requests),
        allowed=grouped(course.allowed, max),
        paused_s=grouped(course.paused_s),
    )


def _united(pauses: Sequence[Pause]) -> list[Pause]:
    """Return pauses with those of one reason that overlap as one: they are what several audits say of it."""
    united: dict[str, list[Pause]] = {}
    for pause in sorted(pauses, key=lambda pause: pause.start_s):
        known = united.setdefault(pause.why, [])
        last = known[-1] if known else None
        if last is not None and pause.start_s <= last.start_s + last.seconds:
            end_s = max(last.start_s + last.seconds, pause.start_s + pause.seconds)
            known[-1] = replace(last, seconds=end_s - last.start_s)
        else:
            known.append(pause)
    return [pause for known in united.values() for pause in known]


def _words(record: PaceRecord) -> str:
    """Return why there is a pause, and of an operator's who wanted it and what for."""
    said = ": ".join(filter(None, (record.operator, record.reason)))
    return f"{record.why} ({said})" if said else record.why


def _rate(said: str) -> Rate | None:
    """Return a rate as it was said; None where it cannot be read: a picture is not worth an error."""
    try:
        return parse_rate(said)
    except ValueError:
        return None


def _seconds(at: str) -> float:
    """Return a moment as seconds since 1970; ValueError where it is none."""
    moment = datetime.fromisoformat(at)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()
