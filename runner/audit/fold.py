"""What an audit adds up to: the one place where records become states and totals.

Keeps promises 4 and 5: totals are a fold of the records and the plan, over the whole audit, and every attempt
whose end nobody knows is counted as uncertain. The same fold is fed by the journal while a run lasts and
by a file afterwards. It must never keep a count that a record did not give, and never accept a history that
cannot have happened.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runner.access import origin_of
from runner.audit.durations import Durations
from runner.audit.reader import NOTHING_SENT, AuditLines, Inconsistent
from runner.audit.records import (
    ADDED_LATER,
    AUDIT_VERSION,
    BREAKER,
    MALFORMED,
    SESSION_FIGURES,
    STATUSES,
    BatchEnd,
    BatchRecord,
    OpenRecord,
    PaceRecord,
    Planned,
    Record,
    RunRecord,
    SendingRecord,
    SummaryRecord,
    as_json,
    decode_batch,
    decode_narrow,
)
from runner.audit.totals import Totals
from runner.audit.unconfirmed import Unconfirmed
from runner.errors import AuditDamaged
from runner.model import Prior
from runner.outcomes import USER_REFUSED_WORDS
from runner.settings import Rate

__all__ = [
    "Feed",
    "Fold",
    "PhonesOf",
    "SessionRecords",
    "Tallies",
    "feed_lines",
    "fold_audit",
    "take_lines",
]

_CODE: dict[str, int] = {status: code for code, status in enumerate(STATUSES, start=1)}
_DELETED, _UNKNOWN, _NOT_SENT = _CODE["deleted"], _CODE["unknown"], _CODE["not_sent"]
_MOST_BATCHES = 10**8

PhonesOf = Callable[[int], int]
"""How many phones the plan has in a batch, by its `seq`."""

Feed = Callable[["Fold", AuditLines], None]
"""Takes every line of an audit into a fold; raises one of `MALFORMED`."""


@dataclass(frozen=True, slots=True)
class SessionRecords:
    """One session of an audit: how it began, and how it ended; None: it was killed, or it still runs."""

    run: RunRecord
    summary: SummaryRecord | None = None

    @property
    def figures(self) -> Mapping[str, Any]:
        """What its summary tells of this session alone (`requests` to the end), if it knows."""
        if self.summary is None or self.summary.why == ADDED_LATER:
            return {}
        told = as_json(self.summary)
        return {name: told[name] for name in SESSION_FIGURES}


@dataclass(frozen=True, slots=True)
class Tallies:
    """What folds of one run's audits may share, so that it has one bound for all of them."""

    unconfirmed: Unconfirmed = field(default_factory=Unconfirmed)
    durations: Durations = field(default_factory=Durations)


class Fold:
    """Records in, states and totals out; in memory one byte a batch and the few that are open.

    Args:
        name: The audit's path, for errors.
        phones_of: The plan's number of phones by `seq`; without it a summary's phones are held against the
            fold only as far as records tell.
        tallies: Those of the run that it is a part of; None: its own.
    """

    def __init__(
        self, name: str = "audit", *, phones_of: PhonesOf | None = None, tallies: Tallies | None = None
    ) -> None:
        tallies = tallies or Tallies()
        self.name = name
        self.records = 0
        self.sessions: list[SessionRecords] = []
        self.refused_users: dict[str, str] = {}
        """Users that a batch found refused whole, and the `error` it ended with: the rest is not sent."""
        self.unconfirmed = tallies.unconfirmed
        """Batches that did not end `deleted`, by cause and by user."""
        self.durations = tallies.durations
        self.chain = ""
        """The last record's chain, where the fold was given one."""
        self.torn_bytes = 0
        self.planned_batches = 0
        self.planned_phones = 0
        self.in_session = False
        """Between a run record and its summary."""
        self.paused_until: datetime | None = None
        """When the last pause that the server asked for ends."""
        self.ordered_rate: Rate | None = None
        """The rate that an operator set last in this session; None: the session's own holds."""
        self._attempts = 0
        self._assumed = 0
        self._phones_of = phones_of
        self._state = bytearray(1)
        self._pending: set[int] = set()
        self._prior: dict[int, tuple[int, int]] = {}
        self._batches = [0] * (len(STATUSES) + 1)
        self._phones = [0] * (len(STATUSES) + 1)
        self._count = 0
        self._uncertain = 0
        self._empty = 0

    @classmethod
    def unbegun(cls, name: str, planned: Planned, tallies: Tallies) -> "Fold":
        """Return the fold of an audit that is still to come: everything is open, and nothing was sent."""
        fold = cls(name, tallies=tallies)
        fold._size(planned)
        return fold

    def add(self, record: Record, *, chain: str = "") -> None:
        """Take in the next record and the chain of its line.

        Raises:
            AuditDamaged: It cannot follow what came before; the fold is of no use any more.
        """
        try:
            self.apply(record)
        except ValueError as error:
            raise AuditDamaged(self.name, self.records + 1, str(error)) from error
        self.records += 1
        self.chain = chain

    def apply(self, record: Record | BatchEnd) -> None:
        """Take in the next record; raises `Inconsistent`."""
        if type(record) is RunRecord:
            self._begin(record)
            return
        if not self.in_session:
            raise Inconsistent("a run record must stand here: at the start, and after every summary")
        if type(record) is BatchRecord:
            self.end_batch(record)
        elif type(record) is SendingRecord:
            self._intend(record)
        elif type(record) is OpenRecord:
            self._leave_open(record)
        elif type(record) is PaceRecord:
            self._note_pace(record)
        elif type(record) is SummaryRecord:
            self._finish(record)

    def _note_pace(self, record: PaceRecord) -> None:
        """Remember what the server asked for, and an operator; other pauses end with their session."""
        self.ordered_rate = record.ordered_rate or self.ordered_rate
        if record.until is not None and not record.why.startswith(BREAKER):
            until = datetime.fromisoformat(record.until).astimezone(UTC)
            self.paused_until = until if self.paused_until is None else max(until, self.paused_until)

    def _begin(self, record: RunRecord) -> None:
        if record.v != AUDIT_VERSION:
            raise Inconsistent(f"version {record.v} of the audit format; this program reads {AUDIT_VERSION}")
        if not self.sessions:
            if record.mode == "resume":
                raise Inconsistent("the first session says mode resume")
            self._size(record.planned)
        elif record.mode != "resume":
            raise Inconsistent(f"a later session says mode {record.mode}, not resume")
        elif _identity(record) != _identity(self.first_run):
            raise Inconsistent("a later session has another plan or origin than the first")
        self._settle()
        self.ordered_rate = None
        self.sessions.append(SessionRecords(record))
        self.in_session = True

    def _size(self, planned: Planned) -> None:
        if planned.batches > _MOST_BATCHES:
            raise Inconsistent("planned numbers that cannot be")
        self.planned_batches, self.planned_phones = planned.batches, planned.phones
        self._state = bytearray(planned.batches + 1)

    def _settle(self) -> None:
        """Count every intent that a session left behind as one attempt whose end nobody knows."""
        self._assumed += len(self._pending)
        for seq in self._pending:
            attempts, uncertain = self._prior.get(seq, (0, 0))
            self._prior[seq] = (attempts + 1, uncertain + 1)
        self._pending.clear()

    def _intend(self, record: SendingRecord) -> None:
        first, last = record.span()
        if not 1 <= first <= last <= self.planned_batches:
            raise Inconsistent(f"an intent for {first} to {last} of {self.planned_batches} batches")
        span = last - first + 1
        if self._state.count(0, first, last + 1) != span:
            raise Inconsistent(f"an intent over {first} to {last} covers a batch that has ended")
        before = len(self._pending)
        self._pending.update(range(first, last + 1))
        if len(self._pending) != before + span:
            raise Inconsistent(f"a second intent within {first} to {last} before the first one's end")

    def _leave_open(self, record: OpenRecord) -> None:
        seq = record.seq
        if seq not in self._pending:
            raise Inconsistent(f"batch {seq} is left open without an intent")
        self._check_attempts(seq, record.attempts, record.uncertain_attempts)
        self._pending.remove(seq)
        self._prior[seq] = (record.attempts, record.uncertain_attempts)

    def _check_attempts(self, seq: int, attempts: int, uncertain: int) -> None:
        before = self._prior.get(seq, (0, 0))
        if not 0 <= uncertain <= attempts or attempts < before[0] or uncertain < before[1]:
            raise Inconsistent(f"attempts of batch {seq} that cannot be: {attempts}, {uncertain} uncertain")

    def end_batch(self, record: BatchRecord | BatchEnd, line: bytes = b"") -> None:
        """Take in a batch's end (the hot path of a large audit); raises `Inconsistent`.

        `line` is what a narrow view was read from: the whole record is looked at where it was not confirmed.
        """
        seq, state = record.seq, self._state
        attempts, uncertain = record.attempts, record.uncertain_attempts
        if not 0 < seq < len(state):
            raise Inconsistent(f"batch {seq} of {self.planned_batches}")
        if state[seq]:
            raise Inconsistent(f"batch {seq} ends a second time")
        try:
            self._pending.remove(seq)
        except KeyError:
            if (attempts, uncertain) != self._prior.get(seq, (0, 0)):
                raise Inconsistent(f"batch {seq} was sent without an intent") from None
        if uncertain or seq in self._prior:
            self._check_attempts(seq, attempts, uncertain)
            self._prior.pop(seq, None)
            self._uncertain += uncertain > 0
        count = record.count
        if record.status == "deleted":
            if record.phones_left or count is None or attempts < 1:
                raise Inconsistent(f"batch {seq} says deleted and shows no confirmation")
            code = _DELETED
            self._phones[_DELETED] += record.phones
        else:
            code = self._end_short(record if isinstance(record, BatchRecord) else decode_batch(line))
        state[seq] = code
        self._batches[code] += 1
        self._attempts += attempts
        if count:
            self._count += count
        elif count == 0:
            self._empty += 1
        if record.duration_ms is not None:
            self.durations.add(record.duration_ms)

    def _end_short(self, record: BatchRecord) -> int:
        """Take in what only a batch that was not confirmed whole has; returns its status's code."""
        if not min(record.phones, 1) <= record.phones_left <= record.phones:
            raise Inconsistent(f"batch {record.seq} is {record.status} with {record.phones_left} phones left")
        if record.error in USER_REFUSED_WORDS:
            self.refused_users.setdefault(record.user_id, record.error)
        self.unconfirmed.add(record)
        code = _CODE[record.status]
        self._phones[code] += record.phones_left
        self._phones[_DELETED] += record.phones - record.phones_left
        return code

    def _finish(self, record: SummaryRecord) -> None:
        self._settle()
        try:
            totals = self.totals(self._phones_of)
        except IndexError:
            raise Inconsistent("the plan beside it has no such batch: it is of another run") from None
        if not totals.holds:
            raise Inconsistent("the records do not add up to what was planned")
        if not totals.agree_with(record):
            raise Inconsistent("the summary is not the sum of the records")
        self.in_session = False
        self.sessions[-1] = SessionRecords(self.sessions[-1].run, record)

    def totals(self, phones_of: PhonesOf | None = None) -> Totals:
        """Return the totals up to now; an intent without an end counts as an uncertain attempt.

        Args:
            phones_of: The plan's phones by `seq`; asked for open uncertain batches only.
        """
        doubtful = self._doubtful()
        batches = self._batches.copy()
        phones = self._phones.copy()
        batches[_UNKNOWN] += len(doubtful)
        batches[_NOT_SENT] += self.planned_batches - self.ended - len(doubtful)
        if phones_of is not None:
            phones[_UNKNOWN] += sum(map(phones_of, doubtful))
        phones[_NOT_SENT] += self.planned_phones - sum(phones)
        return Totals(
            batches={"planned": self.planned_batches, **dict(zip(STATUSES, batches[1:], strict=True))},
            phones={"unique": self.planned_phones, **dict(zip(STATUSES, phones[1:], strict=True))},
            count=self._count,
            uncertain_batches=self._uncertain + len(doubtful),
            empty_batches=self._empty,
            attempts=self._attempts + len(self._pending) + sum(prior[0] for prior in self._prior.values()),
            attempts_assumed=self._assumed + len(self._pending),
            open_batches=self.planned_batches - self.ended,
            phones_known=phones_of is not None or not doubtful,
        )

    def _doubtful(self) -> set[int]:
        """Return the open batches with an attempt whose end nobody knows."""
        return {seq for seq, prior in self._prior.items() if prior[1]} | self._pending

    @property
    def ended(self) -> int:
        """How many batches have their `batch` record."""
        return sum(self._batches)

    @property
    def open_phones(self) -> int:
        """How many phones the batches without a `batch` record have."""
        return self.planned_phones - sum(self._phones)

    def is_ended(self, seq: int) -> bool:
        """Tell whether a batch has its `batch` record."""
        return bool(self._state[seq])

    def attempts_before(self, seq: int) -> int:
        """Return how many attempts of an open batch are known of the sessions before this one."""
        return self._prior.get(seq, (0, 0))[0]

    def prior(self, seq: int) -> Prior:
        """Return what was done for an open batch so far; an intent without an end is an uncertain attempt."""
        attempts, uncertain = self._prior.get(seq, (0, 0))
        left_behind = seq in self._pending
        return Prior(attempts + left_behind, uncertain + left_behind)

    @property
    def complete(self) -> bool:
        """Whether the last session has its summary."""
        return bool(self.sessions) and self.sessions[-1].summary is not None

    @property
    def first_run(self) -> RunRecord:
        """The audit's first record; IndexError where there is none."""
        return self.sessions[0].run

    @property
    def last_run(self) -> RunRecord:
        """The last session's first record; IndexError where there is none."""
        return self.sessions[-1].run

    @property
    def last_summary(self) -> SummaryRecord | None:
        """The last summary, although a killed session may have come after it."""
        return next((s.summary for s in reversed(self.sessions) if s.summary is not None), None)


def _identity(record: RunRecord) -> tuple[str, Planned, str]:
    """Return what all sessions share; the path within the origin may change."""
    return record.plan_sha256, record.planned, origin_of(record.base_url)


def take_lines(fold: Fold, lines: Iterable[bytes]) -> None:
    """Take every whole line into a fold."""
    decode, end_batch, apply = decode_narrow, fold.end_batch, fold.apply
    for line in lines:
        record = decode(line)
        # Outside a session `apply` refuses every record but a run's.
        if type(record) is BatchEnd and fold.in_session:
            end_batch(record, line)
        else:
            apply(record)


def fold_audit(
    path: Path,
    *,
    verify_chain: bool,
    phones_of: PhonesOf | None = None,
    own: bool = False,
    feed: Feed = take_lines,
    tallies: Tallies | None = None,
) -> Fold:
    """Return the fold of an audit; a torn last line is left out and counted in `torn_bytes`.

    Args:
        path: The audit.
        verify_chain: Prove every record's chain (`resume`, `rerun` and `verify` do).
        phones_of: The plan's phones by `seq`, to hold the summaries' phones against.
        own: Refuse a link, and a file of another user's, as `resume` does.
        feed: Takes the lines in; one that also looks on.
        tallies: As of a fold.

    Raises:
        Refused: The file cannot be read, or it is no audit.
        AuditDamaged: A record is malformed, or cannot follow those before it.
    """
    lines = AuditLines(path, verify_chain=verify_chain, own=own)
    fold = Fold(str(path), phones_of=phones_of, tallies=tallies)
    feed_lines(fold, lines, feed)
    if not fold.sessions:
        raise AuditDamaged(str(path), 0, "no whole record in it", hint=NOTHING_SENT)
    return fold


def feed_lines(fold: Fold, lines: AuditLines, feed: Feed = take_lines) -> None:
    """Take every whole line into a fold, and what is known at the end; raises AuditDamaged with the line."""
    try:
        feed(fold, lines)
    except MALFORMED as error:
        raise lines.damaged(str(error)) from error
    fold.records = lines.number
    fold.chain = lines.chain
    fold.torn_bytes = lines.torn
