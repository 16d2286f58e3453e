"""A plan in words and numbers, for `plan` and for whoever is asked to confirm it.

Says what would be deleted, where it came from, and what was left out and why. Phones appear masked only, and
windows exactly as they would be sent. It decides nothing and counts nothing: every number is the plan's.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from runner.output.report import align, span, titled
from runner.phones import KINDS, REASONS
from runner.plan.file import PlanFile
from runner.plan.header import PlanHeader, PlanSource, PlanWindow
from runner.settings import Limits
from runner.text import many, printable

__all__ = ["describe_plan", "scope"]

_MOST_SOURCES: Final = 100
_MOST_USERS: Final = 10
_MOST_WINDOWS: Final = 50
_HOW_FOUND: Final = {
    "asked": "as the job says",
    "header": "by its header",
    "content": "by what stands in it",
    "only": "the only one",
}


def scope(header: PlanHeader) -> str:
    """Return what a plan deletes as one phrase, windows included: for a headline, and for the question."""
    totals = header.totals
    parts = [many(totals.unique, "number")] if totals.unique else []
    if header.windows:
        first = min(window.created_at[0] for window in header.windows)
        last = max(window.created_at[1] for window in header.windows)
        parts.append(f"everything imported in {many(totals.windows, 'window')} from {first} to {last}")
    return f"{' and '.join(parts)}, of {many(totals.users, 'user')}" if parts else "nothing"


def describe_plan(plan: PlanFile, *, limits: Limits, base_url: str | None = None) -> str:
    """Return what a plan would do, as lines for people, without a final newline.

    Args:
        plan: Verified.
        limits: As they hold for the run (flags may differ from the plan's own).
        base_url: Where it would be done, if that is known.
    """
    header = plan.header
    parts = [_head(header, base_url), _sources(header), _values(header), _rejects(header), _users(plan)]
    parts += [
        _windows(header.windows),
        _size(header, limits),
        [f"note: {printable(n)}" for n in header.notes],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _head(header: PlanHeader, base_url: str | None) -> list[str]:
    where = "" if base_url is None else f", at {base_url}"
    made = header.made.on if header.at is None else f"{header.made_at:%Y-%m-%d %H:%M}"
    return [f"{printable(header.name)} – deletes {scope(header)}{where}", f"  planned {made} (UTC)"]


def _sources(header: PlanHeader) -> list[str]:
    shown = header.sources[:_MOST_SOURCES]
    more = len(header.sources) - len(shown) + header.more_sources
    head = ("", "values", "blank", "rejected", "changed", "hidden", "")
    return titled("sources", head, [*map(_source, shown)], "<>>>>><", f"{more:,} more" if more else "")


def _source(source: PlanSource) -> tuple[object, ...]:
    figures = (source.rows, source.blank, source.rejected, source.normalised, source.hidden)
    return source.source, *figures, _column(source)


def _column(source: PlanSource) -> str:
    """Return which column was read, how it was found, and which others might have been."""
    column = source.column
    if column is None:
        return ""
    if column.how == "only" and column.header:
        return f"column {column.column}, the only one; its header, and no number: {column.header!r}"
    name = f" {column.header!r}" if column.header else ""
    over = f"; passed over: {', '.join(column.passed_over)}" if column.passed_over else ""
    return f"column {column.column}{name}, {_HOW_FOUND[column.how]}{over}"


def _users(plan: PlanFile) -> list[str]:
    shown = plan.users[:_MOST_USERS]
    more = plan.header.totals.users - len(shown)
    rows = [(user.user_id, user.phones, user.windows) for user in shown]
    rest = many(more, "more user") if more else ""
    return titled("by user", ("", "numbers", "windows"), rows, "<>>", rest)


def _values(header: PlanHeader) -> list[str]:
    totals = header.totals
    rows: list[tuple[object, ...]] = [
        ("values read", totals.read, ""),
        ("to be deleted", totals.unique, "distinct phones"),
        ("duplicate", totals.duplicate, ""),
        ("rejected", totals.rejected, ""),
        ("protected", totals.protected, header.safety.protect_file or ""),
        ("blank", totals.blank, "cells without a value, not among those read"),
    ]
    if header.changed:
        rows.append(("changed", header.changed, "phones that were written in another way"))
    lines = align(rows, "<><", indent="")
    lines += _counted("rejected, by reason", header.rejects, REASONS)
    return lines + _counted("changed (a phone may have several)", header.normalised, KINDS)


def _counted(title: str, counts: Mapping[str, int] | None, words: Mapping[str, str]) -> list[str]:
    """Return how often each word applies, the most frequent first, and what it means."""
    if not counts:
        return []
    most_first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ["", title, *align([(name, times, words.get(name, "")) for name, times in most_first], "<><")]


def _rejects(header: PlanHeader) -> list[str]:
    rows = [(f"{r.source}:{r.line}", r.reason, r.value) for r in header.first_rejects]
    more = header.totals.rejected - len(rows)
    return titled("rejected: the first of them", (), rows, "<<<", f"{more:,} more" if more > 0 else "")


def _windows(windows: Sequence[PlanWindow]) -> list[str]:
    """Return the windows as they would be sent; here the whole import goes, whatever its numbers."""
    head = ("user", "imported from", "to", "encrypted", "most rows", "entry")
    rows = [
        (w.user_id, *w.created_at, "yes" if w.encryption else "no", w.max_rows, w.place)
        for w in windows[:_MOST_WINDOWS]
    ]
    more = len(windows) - len(rows)
    title = "windows: every number imported in them is deleted (most rows: of an entry over all its slices)"
    rest = f"{more:,} more, written out in the plan" if more else ""
    return titled(title, head, rows, "<<<<><", rest)


def _size(header: PlanHeader, limits: Limits) -> list[str]:
    totals = header.totals
    windows = f", {totals.windows:,} of them windows" if totals.windows else ""
    lines = [f"{many(totals.batches, 'request')} for {many(totals.users, 'user')}{windows}"]
    if limits.rate.whole is None:
        lines.append("rate unlimited: as fast as the server answers")
    elif totals.batches:
        lines.append(f"at {limits.rate} that takes at least {span(totals.batches / limits.rate.per_second)}")
    return lines
