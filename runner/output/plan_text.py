"""A plan in words and numbers, for `plan` and for whoever is asked to confirm it.

Says what would be deleted, where it came from, and what was left out and why. Phones appear masked only, and
windows exactly as they would be sent. It decides nothing and counts nothing: every number is the header's.
"""

from collections.abc import Mapping, Sequence

from runner.output.report import align, printable, span
from runner.phones import KINDS, REASONS
from runner.plan.header import PlanHeader, PlanSource, PlanWindow, Reject
from runner.settings import Limits

__all__ = ["describe_plan"]

_MOST_SOURCES = 20
_MOST_WINDOWS = 50


def describe_plan(header: PlanHeader, *, limits: Limits, base_url: str | None = None) -> str:
    """Return what a plan would do, as lines for people, without a final newline.

    Args:
        header: The plan's first line.
        limits: As they hold for the run (flags may differ from the plan's own).
        base_url: Where it would be done, if that is known.
    """
    parts = [_head(header, base_url), _sources(header), _values(header), _rejects(header)]
    parts += [
        _windows(header.windows),
        _size(header, limits),
        [f"note: {printable(n)}" for n in header.notes],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _head(header: PlanHeader, base_url: str | None) -> list[str]:
    where = "" if base_url is None else f", against {base_url}"
    return [f"{printable(header.name)} – planned on {header.made_on} (UTC){where}"]


def _sources(header: PlanHeader) -> list[str]:
    shown = header.sources[:_MOST_SOURCES]
    more = len(header.sources) - len(shown) + header.more_sources
    if not shown:
        return []
    rows = [("", "rows", "rejected", "changed"), *map(_source, shown)]
    return ["sources", *align(rows, "<>>>"), *([f"  and {more:,} more"] if more else [])]


def _source(source: PlanSource) -> tuple[object, ...]:
    return source.source, source.rows, source.rejected, source.normalised


def _values(header: PlanHeader) -> list[str]:
    totals = header.totals
    rows: list[tuple[object, ...]] = [
        ("values read", totals.read, ""),
        ("to be deleted", totals.unique, "distinct phones"),
        ("duplicate", totals.duplicate, ""),
        ("rejected", totals.rejected, ""),
        ("protected", totals.protected, header.safety.protect_file or ""),
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
    if not header.first_rejects:
        return []
    rows = [(_place(reject), reject.reason, reject.value) for reject in header.first_rejects]
    more = header.totals.rejected - len(rows)
    return [
        "rejected: the first of them",
        *align(rows, "<<<"),
        *([f"  and {more:,} more"] if more > 0 else []),
    ]


def _place(reject: Reject) -> str:
    return f"{reject.source}:{reject.line}"


def _windows(windows: Sequence[PlanWindow]) -> list[str]:
    """Return the windows as they would be sent; here the whole import goes, whatever its numbers."""
    if not windows:
        return []
    head = ("user", "imported from", "to", "encrypted", "most rows", "entry")
    rows = [
        (w.user_id, *w.created_at, "yes" if w.encryption else "no", w.max_rows, w.place)
        for w in windows[:_MOST_WINDOWS]
    ]
    more = len(windows) - len(rows)
    return [
        "windows: every number imported in them is deleted (most rows: of an entry over all its slices)",
        *align([head, *rows], "<<<<><"),
        *([f"  and {more:,} more, written out in the plan"] if more else []),
    ]


def _size(header: PlanHeader, limits: Limits) -> list[str]:
    totals = header.totals
    windows = f", {totals.windows:,} of them windows" if totals.windows else ""
    lines = [f"{_many(totals.batches, 'request')} for {_many(totals.users, 'user')}{windows}"]
    if limits.rate.whole is None:
        lines.append("rate unlimited: as fast as the server answers")
    elif totals.batches:
        lines.append(f"at {limits.rate} that takes at least {span(totals.batches / limits.rate.per_second)}")
    return lines


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
