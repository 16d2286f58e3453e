"""Planning: every value of a job to the least number of batches, each phone of a target exactly once.

Keeps promises 1, 2 and 8 up to the plan file: nothing that the job does not name gets in, an empty list is
nothing to do and never a window, no phone stands twice under a target, and memory does not grow. The same
input gives the same bytes. All of the input is read and judged before the plan exists; a safety rule that is
broken leaves no file. It opens no connection and asks nobody.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import structs

from runner.errors import Refused
from runner.files import refuse_existing
from runner.job.entries import Entry, Job, Table
from runner.job.requests import read_requests
from runner.lists.read import read_rows
from runner.lists.rows import Rows
from runner.model import Target, is_safe_user_id
from runner.plan.batching import BatchWriter
from runner.plan.by_user import UserTally
from runner.plan.flawed_users import FlawedUsers
from runner.plan.grouping import Context, Grouping
from runner.plan.header import Made, PlanHeader, PlanTotals, PlanWindow, Reject
from runner.plan.normalise import (
    ROWS_AT_ONCE,
    alike,
    context_of,
    good_phones,
    normalised_rows,
    rows_of,
    without_bad,
)
from runner.plan.overlaps import Overlaps
from runner.plan.protect import ProtectList
from runner.plan.protect_file import read_protect_file
from runner.plan.rules import check_plan
from runner.plan.spill import open_private, spill_full
from runner.plan.tally import SourceCount, Tally
from runner.plan.write import write_plan
from runner.settings import Safety, limits_to_json, safety_to_json
from runner.text import encodable

__all__ = ["Planner", "PlanningProgress", "plan_batches_again", "plan_job"]

_CHUNK: Final = 1 << 20
_MAX_NAMED: Final = 10
"""Entries without anything to do that are named; of the others the notes say how many."""
_BATCHES_AT_ONCE: Final = 500
_MAX_WINDOWS: Final = 100_000


@dataclass(frozen=True, slots=True)
class PlanningProgress:
    """How far planning is: values read so far, from which source at present; `batches` written so far."""

    rows: int
    source: str
    batches: int = 0

    def __str__(self) -> str:
        if self.batches:
            return f"planning: {self.rows:,} values read, {self.batches:,} batches written"
        return f"planning: {self.rows:,} values read, now {self.source}"


class Planner:
    """One plan in the making: add rows and windows in any order, then `finish` once.

    Args:
        job: Name, limits, safety, phone rule, timezone, notes; its lists are added by whoever calls.
        tmp_dir: Where spilled values live; None: where the system keeps temporary files.
        on_progress: Called every some thousand values and batches.
        on_reject: Called with every rejected value, masked.

    Raises:
        Refused: The protect file is missing, unreadable or unsure.
    """

    def __init__(
        self,
        job: Job,
        *,
        tmp_dir: Path | None = None,
        on_progress: Callable[[PlanningProgress], None] | None = None,
        on_reject: Callable[[Reject], None] | None = None,
    ) -> None:
        self._job = job
        self._tmp_dir = tmp_dir
        self._on_progress = on_progress
        self._tally = Tally(on_reject)
        self._protected = _protect_list(job)
        self._grouping = Grouping(tmp_dir)
        self._windows: dict[Target, list[PlanWindow]] = {}
        self._window_entries = 0
        self._notes: list[str] = list(job.notes)
        self._idle = 0
        self._flawed = FlawedUsers()

    def __enter__(self) -> "Planner":
        return self

    def __exit__(self, *_: object) -> None:
        self._grouping.__exit__()

    # ---- what comes in --------------------------------------------------------------------------------

    def add_rows(self, rows: Rows, context: Context, user_id: str | None = None) -> None:
        """Add rows of one list; without `user_id` each row names its own user.

        A row whose user id is flawed goes nowhere, and `finish` will refuse.
        """
        result = normalised_rows(rows, "opaque" if context[1] else self._job.phone_rule)
        self._tally.take(rows, result)
        if user_id is not None:
            self._grouping.add_for(context, user_id, good_phones(result))
        else:
            users = rows.users or []
            self._grouping.add(context, without_bad(users, result.bad), good_phones(result))
            bad_too = not all(is_safe_user_id(users[i].strip()) for i in result.bad)
            if rows.user_flaws or self._grouping.unsafe or bad_too:
                self._grouping.unsafe = False
                self._flawed.look(rows)
        if self._on_progress is not None:
            self._on_progress(PlanningProgress(self._tally.total.rows, rows.source))

    def add_entry(self, entry: Entry) -> None:
        """Add everything that an entry of a job file names; an empty list is noted."""
        if entry.delete_window:
            self._add_windows(entry)
            return
        context = context_of(entry.windows, encryption=entry.encryption)
        before = replace(self._tally.total)
        for start in range(0, len(entry.phones), ROWS_AT_ONCE):
            values = list(entry.phones[start : start + ROWS_AT_ONCE])
            lines = range(start + 1, start + len(values) + 1)
            self.add_rows(Rows(f"{entry.place} phone", lines, values, None, {}), context, entry.user_id)
        if entry.lists is not None:
            rule = "opaque" if entry.encryption else self._job.phone_rule
            for rows in read_rows(entry.lists, rule=rule, stdin=self._job.stdin):
                self.add_rows(rows, context, entry.user_id)
        self._note_if_idle(entry.place, before)

    def _note_if_idle(self, place: str, before: SourceCount) -> None:
        """Say aloud that an entry or a table gave no phone since `before`; its window is not touched."""
        total = self._tally.total
        read, blank = total.rows - before.rows, total.blank - before.blank
        if read == total.rejected - before.rejected:
            cells = f"all of its {blank:,} cells are blank" if blank else "the list is empty"
            self._note_idle(place, f"none of its {read:,} values is a phone" if read else cells)

    def _note_idle(self, place: str, why: str = "the list is empty") -> None:
        if any(note.startswith(f"{place}: ") for note in self._job.notes):
            return
        self._idle += 1
        if self._idle <= _MAX_NAMED:
            self._notes.append(f"{place}: {why}: nothing to do for it")

    def add_table(self, table: Table) -> None:
        """Add a list of many users; an empty one is noted."""
        before = replace(self._tally.total)
        context = context_of(table.windows, encryption=table.encryption)
        for rows in read_rows(table.lists, rule="opaque" if table.encryption else self._job.phone_rule):
            self.add_rows(rows, context)
        self._note_if_idle(table.place, before)

    def add_requests(self, path: str, entries: Iterable[Entry]) -> None:
        """Add the entries of a JSON-lines job, of any number; `path` is what to call it."""
        source = "standard input" if path == "-" else path
        for context, batch in alike(entries, self._note_idle):
            for rows in rows_of(source, batch):
                self.add_rows(rows, context)

    def _add_windows(self, entry: Entry) -> None:
        self._window_entries += 1
        for window in entry.windows:
            self.add_window(
                PlanWindow(
                    seq=1,
                    user_id=entry.user_id,
                    created_at=window,
                    encryption=entry.encryption,
                    max_rows=entry.max_rows or 1,
                    place=encodable(entry.place),
                    entry=self._window_entries,
                )
            )

    def add_window(self, window: PlanWindow) -> None:
        """Add a batch that deletes by window alone; its `seq` is given when the plan is finished.

        Raises:
            Refused: There are more windows than a plan may hold.
        """
        self._windows.setdefault(window.target, []).append(window)
        if len(self._windows) > _MAX_WINDOWS:
            raise Refused(f"more than {_MAX_WINDOWS:,} windows", hint="Choose longer slices.")

    def add_phones(self, target: Target, phones: Sequence[str]) -> None:
        """Add phones that are normalised already (what `rerun` has).

        Raises:
            Refused: One of them is a number that no plan can have made.
        """
        if not all(phone.isprintable() and phone for phone in phones):
            raise Refused("a number that no plan can have made: empty, or with a line break in it")
        self._tally.total.rows += len(phones)
        self._grouping.add_for((target.created_at, target.encryption), target.user_id, phones)

    # ---- what comes out -------------------------------------------------------------------------------

    def finish(self, out: Path, *, now: datetime, version: str) -> PlanHeader:
        """Judge what came in, and write the plan.

        Raises:
            Refused: Rows have no user id that can be sent, `max_invalid` or `max_phones` is exceeded, `out`
                exists, or a disk is full.
        """
        self._flawed.refuse_any()
        try:
            with open_private(self._tmp_dir) as body:
                totals, windows = self._write_batches(body)
                header = self._header(totals, windows, now.astimezone(UTC), version)
                check_plan(header)
                body.seek(0)
                write_plan(out, header, iter(lambda: body.read(_CHUNK), b""))
        except OSError as error:  # the plan's own errors are told apart by `write_plan`
            raise spill_full(error) from error
        return header

    def _write_batches(self, body: BinaryIO) -> tuple[PlanTotals, tuple[PlanWindow, ...]]:
        """Write every batch line; returns the totals and the windows with their `seq`."""
        writer = BatchWriter(body)
        users = UserTally(Counter(target.user_id for target in self._windows))
        protected = told = 0
        with Overlaps(self._tmp_dir) as overlaps:
            for target, phones in self._grouping.by_target():
                left = self._without_protected(phones)
                protected += len(phones) - len(left)
                if left:
                    users.add(target.user_id, len(left))
                    writer.put(target, left)
                if self._grouping.has_several(target.user_id):
                    overlaps.add(target.user_id, left)
                if self._on_progress is not None and writer.batches >= told + _BATCHES_AT_ONCE:
                    told = writer.batches
                    self._on_progress(PlanningProgress(self._tally.total.rows, "", told))
            writer.end()
            self._notes += [*writer.scope_notes(), *overlaps.note()]
        windows = self._write_windows(writer)
        tally = self._tally.total
        duplicate = tally.rows - tally.rejected - protected - writer.phones
        return PlanTotals(
            read=tally.rows,
            unique=writer.phones,
            duplicate=duplicate,
            rejected=tally.rejected,
            protected=protected,
            batches=writer.batches,
            users=users.count,
            windows=writer.windows,
            blank=tally.blank,
        ), windows

    def _without_protected(self, phones: list[str]) -> list[str]:
        found = self._protected.matches(phones) if self._protected is not None else frozenset()
        return [phone for phone in phones if phone not in found] if found else phones

    def _write_windows(self, writer: BatchWriter) -> tuple[PlanWindow, ...]:
        """Write the windows, which come last, and return what was said of each, with its `seq`."""
        numbered: list[PlanWindow] = []
        for target, said in self._windows.items():
            seq = writer.put_window(target)
            numbered += [structs.replace(window, seq=seq) for window in said]
        if self._protected is not None and numbered:
            self._notes.append("windows delete every number imported then, protected ones as well")
        return tuple(sorted(numbered, key=lambda window: (window.entry, window.seq)))

    def _header(
        self, totals: PlanTotals, windows: tuple[PlanWindow, ...], now: datetime, version: str
    ) -> PlanHeader:
        if self._idle > _MAX_NAMED:
            self._notes.append(f"{self._idle - _MAX_NAMED:,} more entries have nothing to do")
        tally, job = self._tally, self._job
        protect_notes = self._protected.notes if self._protected is not None else ()
        return PlanHeader(
            name=encodable(job.name),
            made=Made(version, now.date().isoformat()),
            limits_said=limits_to_json(job.limits),
            safety_said=safety_to_json(_absolute(job.safety)),
            phone_rule=job.phone_rule,
            timezone=job.timezone,
            sources=tally.sources,
            more_sources=tally.more_sources,
            totals=totals,
            changed=tally.total.normalised,
            normalised=dict(sorted(tally.kinds.items())),
            rejects=tally.by_reason(),
            first_rejects=tuple(tally.first),
            windows=windows,
            notes=tuple(map(encodable, (*self._notes, *protect_notes))),
            at=now.isoformat(timespec="seconds"),
        )


def _absolute(safety: Safety) -> Safety:
    path = safety.protect_file
    return safety if path is None else replace(safety, protect_file=str(Path(path).absolute()))


def _protect_list(job: Job) -> ProtectList | None:
    path = _absolute(job.safety).protect_file
    if path is not None and encodable(path) != path:
        raise Refused(f"protect file {encodable(path)}: a plan holds paths in UTF-8 only", hint="Rename it.")
    return None if path is None else read_protect_file(path, job.phone_rule)


# ---- the two ways to a plan ---------------------------------------------------------------------------


def plan_job(
    job: Job,
    out: Path,
    *,
    now: datetime,
    version: str,
    tmp_dir: Path | None = None,
    on_progress: Callable[[PlanningProgress], None] | None = None,
    rejects: Callable[[Reject], None] | None = None,
) -> PlanHeader:
    """Read everything that a job names, and write its plan to `out`.

    Args:
        job: Checked; its lists are read now.
        out: The plan's path (0600); nothing may be there.
        now: The present time, which the plan states.
        version: Of the program, which the plan states.
        tmp_dir: Where spilled values live; None: where the system keeps temporary files.
        on_progress: Called every some thousand values and batches.
        rejects: Called with every rejected value, masked, in the order of reading; also when the plan is
            refused in the end.

    Raises:
        Refused: An input cannot be read, a safety rule says no, `out` exists, or a disk is full.
    """
    refuse_existing(out)
    with Planner(job, tmp_dir=tmp_dir, on_progress=on_progress, on_reject=rejects) as planner:
        for entry in job.entries:
            planner.add_entry(entry)
        for table in job.tables:
            planner.add_table(table)
        for path in job.request_files:
            planner.add_requests(path, read_requests(path, stdin=job.stdin))
        return planner.finish(out, now=now, version=version)


def plan_batches_again(
    work: Iterable[tuple[Target, Sequence[str]]],
    settings: Job,
    out: Path,
    *,
    windows: Sequence[PlanWindow] = (),
    now: datetime,
    version: str,
    tmp_dir: Path | None = None,
) -> PlanHeader:
    """Plan phones that are normalised already, and windows: what `rerun` sends.

    Args:
        work: Target → its phones (none for a window), in any order.
        settings: Name, limits, safety, phone rule, timezone and notes; its lists are not read.
        out: As in `plan_job`.
        windows: The earlier plans' windows: they know `max_rows`, place and entry; those without work are
            left out.
        now: As in `plan_job`.
        version: As in `plan_job`.
        tmp_dir: As in `plan_job`.

    Raises:
        Refused: As in `plan_job`; or a window's `max_rows` is not known.
    """
    refuse_existing(out)
    known = _by_target(windows)
    with Planner(settings, tmp_dir=tmp_dir) as planner:
        for target, phones in work:
            if not target.delete_window:
                planner.add_phones(target, phones)
                continue
            if target not in known:
                raise Refused(f"{target.user_id}: a window whose max_rows is in no plan")
            for window in known[target]:
                planner.add_window(window)
            known[target] = []
        return planner.finish(out, now=now, version=version)


def _by_target(windows: Sequence[PlanWindow]) -> dict[Target, list[PlanWindow]]:
    """Return what earlier plans say of each window, their entries numbered anew."""
    numbers: dict[tuple[str, int, int], int] = {}
    known: dict[Target, list[PlanWindow]] = {}
    for window in windows:
        entry = numbers.setdefault((window.place, window.entry, window.max_rows), len(numbers) + 1)
        known.setdefault(window.target, []).append(structs.replace(window, entry=entry))
    return known
