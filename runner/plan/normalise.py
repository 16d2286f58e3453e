"""Rows on their way into a plan: normalised, freed of what is bad, and made of JSON-lines entries.

Works on some thousand rows at a time, never on one. It counts nothing and decides nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final, TypeVar, cast

from runner.job.entries import Entry
from runner.lists.rows import Rows
from runner.model import Window
from runner.phones import Normalised, PhoneRule, normalise_many
from runner.plan.grouping import Context

__all__ = ["ROWS_AT_ONCE", "alike", "context_of", "good_phones", "normalised_rows", "rows_of", "without_bad"]

ROWS_AT_ONCE: Final = 8192
"""Values in one `Rows` that is made here."""

_FEW: Final = 50
"""Below one bad row in so many, deleting them one by one is faster than copying the others."""

_Cell = TypeVar("_Cell")


def context_of(windows: Sequence[Window], *, encryption: bool) -> Context:
    """Return what the rows of an entry or a table share."""
    return (windows[0] if windows else None), encryption


def normalised_rows(rows: Rows, rule: PhoneRule) -> Normalised:
    """Normalise values; those that their format spoiled are bad for that reason, whatever they look like."""
    if not rows.flaws:
        return normalise_many(rows.values, rule)
    values = list(rows.values)
    for index in rows.flaws:
        values[index] = ""
    result = normalise_many(values, rule)
    return replace(result, bad=dict(sorted((result.bad | rows.flaws).items())))


def without_bad(column: Sequence[_Cell], bad: dict[int, str]) -> list[_Cell]:
    """Return a column without the bad rows."""
    if len(bad) * _FEW > len(column):
        return [cell for index, cell in enumerate(column) if index not in bad]
    good = list(column)
    for index in reversed(bad):  # ascending, so that the places of those still to go stay right
        del good[index]
    return good


def good_phones(result: Normalised) -> list[str]:
    """Return the phones of the rows that have one."""
    return cast(list[str], without_bad(result.phones, result.bad))  # a phone is None where it is bad


# ---- requests, many to a chunk ------------------------------------------------------------------------


def alike(
    entries: Iterable[Entry], note_idle: Callable[[str], None]
) -> Iterator[tuple[Context, list[Entry]]]:
    """Yield consecutive entries of one context together, some thousand phones at a time."""
    batch: list[Entry] = []
    phones, context = 0, None
    for entry in entries:
        if not entry.phones:
            note_idle(entry.place)
            continue
        own = context_of(entry.windows, encryption=entry.encryption)
        if context is not None and batch and (own != context or phones >= ROWS_AT_ONCE):
            yield context, batch
            batch, phones = [], 0
        context = own
        batch.append(entry)
        phones += len(entry.phones)
    if context is not None and batch:
        yield context, batch


def rows_of(source: str, entries: list[Entry]) -> Iterator[Rows]:
    """Yield the phones of entries as rows that name their own user, by the line of each entry."""
    lines: list[int] = []
    values: list[str] = []
    users: list[str] = []
    for entry in entries:
        line = entry.place.rpartition(":")[2]
        times = len(entry.phones)
        lines += [int(line) if line.isdecimal() else 1] * times
        values += entry.phones
        users += [entry.user_id] * times
    for start in range(0, len(values), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        yield Rows(source, lines[part], values[part], users[part], {})
