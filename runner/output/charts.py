"""The charts of a page: a run's course, how long its batches took, and several runs side by side. Pure.

Each is bounded whatever a run's length. What is rare is drawn larger than it is, so that nobody overlooks it:
no part of a bar is thinner than a hundredth, and the mark where numbers were not confirmed has a fixed width.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from runner.audit.timeline import Course, Pause
from runner.output.plot import FULL, Tick, compact, frame, nice_top, shown, time_ticks, value_ticks

__all__ = [
    "Column",
    "confirmed_chart",
    "latency_chart",
    "named_pauses",
    "rate_chart",
    "status_bar",
    "trend_chart",
]

_LEAST_SHARE: Final = 0.01
_MOST_POINTS: Final = 240
_MOST_BARS: Final = 96
_MOST_MARKS: Final = 60
_MOST_NAMED: Final = 6
_APART: Final = 0.04
_LEAST_HEIGHT: Final = 18
_BINS_A_DECADE: Final = 12


# ---- the course of a run ------------------------------------------------------------------------------


def confirmed_chart(course: Course, asked: int) -> str:
    """Return the numbers confirmed over time, of those asked; marks where some were not."""
    total, points = 0, [(0, FULL)]
    top = nice_top(max(asked, 1))
    step = math.ceil(len(course.confirmed) / _MOST_POINTS)
    for first in range(0, len(course.confirmed), step):
        total += sum(course.confirmed[first : first + step])
        points.append((_x(course, (first + step) * course.width_s), round(FULL * (1 - total / top))))
    line = "M" + "L".join(f"{x} {y}" for x, y in points)
    goal = round(FULL * (1 - asked / top))
    marks = (
        f'{_shades(course)}<path class="area" d="{line}V{FULL}H0Z"/><path class="line" d="{line}"/>'
        f'<path class="goal" d="M0 {goal}H{FULL}"/>{_breaks(course)}'
    )
    return frame(
        f"{total:,} of {asked:,} numbers confirmed, over time",
        marks,
        y=value_ticks(top),
        x=time_ticks(course.end_s),
        above=_rug(course) + _names(course),
        kind="tall",
    )


def rate_chart(course: Course) -> str:
    """Return the requests a second, beside the rate that was allowed."""
    group = _group(course)
    width_s = group * course.width_s
    rates = [sum(course.requests[i : i + group]) / width_s for i in range(0, len(course.requests), group)]
    limits = [rate for rate in course.allowed if math.isfinite(rate)]
    top = nice_top(max([*rates, *limits, 0.1]))
    gap = 0.15 if len(rates) <= _MOST_BARS // 2 else 0.0
    bars = "".join(
        f"M{_x(course, i * width_s)} {FULL}V{round(FULL * (1 - rate / top))}"
        f"H{_x(course, (i + 1 - gap) * width_s)}V{FULL}Z"
        for i, rate in enumerate(rates)
        if rate
    )
    marks = f'{_shades(course)}<path class="bars" d="{bars}"/>{_allowed(course, top)}{_breaks(course)}'
    return frame(
        "requests a second, and the rate allowed, over time",
        marks,
        y=value_ticks(top),
        x=time_ticks(course.end_s),
    )


def named_pauses(course: Course) -> list[Pause]:
    """Return the pauses that bear a number in the charts: the longest, where there is room between them."""
    chosen: list[Pause] = []
    for pause in sorted(course.pauses, reverse=True):
        if all(abs(pause.start_s - other.start_s) > _APART * course.end_s for other in chosen):
            chosen.append(pause)
    return sorted(chosen[:_MOST_NAMED], key=lambda pause: pause.start_s)


def _x(course: Course, at_s: float) -> int:
    return 0 if course.end_s <= 0 else round(FULL * min(1.0, at_s / course.end_s))


def _group(course: Course) -> int:
    """Return how many buckets make a bar: at least what the rate's promise speaks of."""
    least = math.ceil(course.window_s / course.width_s)
    return max(1, least, math.ceil(len(course.requests) / _MOST_BARS))


def _shades(course: Course) -> str:
    """Return the pauses as shades behind everything; those that fill less than half a bucket are lighter."""
    paths, at = ["", "", ""], 0
    for depth, buckets in groupby(round(2 * paused / course.width_s + 0.4) for paused in course.paused_s):
        first, at = at, at + len(list(buckets))
        x, end = _x(course, first * course.width_s), _x(course, at * course.width_s)
        paths[min(depth, 2)] += f"M{x} 0H{max(end, x + 2)}V{FULL}H{x}Z"
    light, full = (f'<path class="pause{kind}" d="{paths[n]}"/>' for n, kind in ((1, " light"), (2, "")))
    return light * bool(paths[1]) + full * bool(paths[2])


def _allowed(course: Course, top: float) -> str:
    """Return the allowed rate as steps; nothing where there was no limit."""
    steps, at = [], 0
    for rate, buckets in groupby(course.allowed):
        first, at = at, at + len(list(buckets))
        if not math.isfinite(rate):
            steps.append("")
            continue
        y = round(FULL * (1 - rate / top))
        begin = "M" if not steps or not steps[-1] else "L"
        steps.append(f"{begin}{_x(course, first * course.width_s)} {y}H{_x(course, at * course.width_s)}")
    return f'<path class="allowed" d="{"".join(steps)}"/>' if any(steps) else ""


def _breaks(course: Course) -> str:
    lines = "".join(f"M{_x(course, again.start_s)} 0V{FULL}" for again in course.resumed)
    return f'<path class="break" d="{lines}"/>' if lines else ""


def _names(course: Course) -> str:
    """Return the numbers of the pauses that the page names below the charts."""
    return "".join(
        f'<text class="name" x="{_middle(course, pause):.2f}%" y="1.1em">{number}</text>'
        for number, pause in enumerate(named_pauses(course), start=1)
    )


def _middle(course: Course, pause: Pause) -> float:
    share = (pause.start_s + pause.seconds / 2) / course.end_s if course.end_s > 0 else 0.0
    return 100 * min(0.99, max(0.01, share))


def _rug(course: Course) -> str:
    """Return a mark of fixed width wherever numbers were not confirmed."""
    group = math.ceil(len(course.unconfirmed) / _MOST_MARKS)
    marks = []
    for first in range(0, len(course.unconfirmed), group):
        number = sum(course.unconfirmed[first : first + group])
        if number:
            x = _x(course, (first + group / 2) * course.width_s) / FULL * 100
            marks.append(
                f'<rect class="rug" x="{x:.1f}%" y="100%"><title>{number:,} not confirmed</title></rect>'
            )
    return "".join(marks)


# ---- how long batches took ----------------------------------------------------------------------------


def latency_chart(counts: Sequence[tuple[int, int]], marks: Mapping[str, float]) -> str:
    """Return how long batches took, on a scale of powers of ten.

    Args:
        counts: How many batches took so many milliseconds, in order; not empty.
        marks: Words → milliseconds, each a line across.
    """
    edges = _edges(counts[0][0], counts[-1][0])
    heights = [0] * (len(edges) - 1)
    bin_ = 0
    for ms, number in counts:
        while ms >= edges[bin_ + 1]:
            bin_ += 1
        heights[bin_] += number
    top = nice_top(max(heights))
    low, high = math.log10(edges[0]), math.log10(edges[-1])

    def x(ms: float) -> float:
        return (math.log10(max(ms, edges[0])) - low) / (high - low)

    bars = "".join(
        f"M{FULL * x(a):.0f} {FULL}V{FULL - max(_LEAST_HEIGHT, FULL * n / top):.0f}"
        f"H{FULL * x(b) - 2:.0f}V{FULL}Z"
        for a, b, n in zip(edges, edges[1:], heights, strict=False)
        if n
    )
    lines = "".join(f"M{FULL * x(ms):.0f} 0V{FULL}" for ms in marks.values())
    words = "".join(
        f'<text class="{"end" if x(ms) > 0.5 else "start"}" x="{100 * x(ms):.2f}%" y="{1 + 1.25 * row:.2f}em"'
        f' dx="{-4 if x(ms) > 0.5 else 4}">{shown(name)}</text>'
        for row, (name, ms) in enumerate(marks.items())
    )
    ticks = [Tick(x(10**n), _ms(10**n)) for n in range(math.ceil(low), math.floor(high) + 1)]
    return frame(
        "batches by how long they took",
        f'<path class="bars" d="{bars}"/><path class="mark" d="{lines}"/>',
        y=value_ticks(top),
        x=ticks,
        above=words,
    )


def _edges(first_ms: int, last_ms: int) -> list[int]:
    """Return edges of bins, about twelve to a power of ten, that hold both; whole decades at least."""
    low = math.floor(math.log10(max(first_ms, 1)))
    high = max(low + 1, math.ceil(math.log10(max(last_ms, 1) + 1)))
    bins = range(low * _BINS_A_DECADE, high * _BINS_A_DECADE + 1)
    return sorted({round(10 ** (n / _BINS_A_DECADE)) for n in bins})


def _ms(ms: int) -> str:
    return f"{ms} ms" if ms < 1000 else f"{ms // 1000:,} s"


# ---- shares, and several runs -------------------------------------------------------------------------


def status_bar(shares: Mapping[str, int]) -> str:
    """Return parts of a whole as one bar, none of them thinner than a hundredth of it."""
    total = sum(shares.values())
    if not total:
        return ""
    wide = {name: max(number / total, _LEAST_SHARE) for name, number in shares.items() if number}
    spare = sum(wide.values())
    parts, at = [], 0.0
    for name, share in wide.items():
        width = 100 * share / spare
        parts.append(
            f'<rect class="{name}" x="{at:.2f}%" width="{width:.2f}%" height="100%">'
            f"<title>{shown(name.replace('_', ' '))}: {shares[name]:,}</title></rect>"
        )
        at += width
    said = ", ".join(f"{shares[name]:,} {name.replace('_', ' ')}" for name in wide)
    return f'<svg class="bar" role="img" aria-label="{shown(said)}">{"".join(parts)}</svg>'


@dataclass(frozen=True, slots=True)
class Column:
    """One run in a trend: its numbers confirmed and not, and what it is called."""

    confirmed: int
    unconfirmed: int
    words: str
    name: str


def trend_chart(columns: Sequence[Column]) -> str:
    """Return runs beside each other: numbers confirmed, and above them those that were not."""
    top = nice_top(max(column.confirmed + column.unconfirmed for column in columns) or 1)
    width = FULL / len(columns)
    confirmed, unconfirmed = [], []
    for n, column in enumerate(columns):
        x, end = round((n + 0.12) * width), round((n + 0.88) * width)
        y = round(FULL * (1 - column.confirmed / top))
        confirmed.append(f"M{x} {FULL}V{y}H{end}V{FULL}Z")
        if column.unconfirmed:
            height = max(_LEAST_HEIGHT, round(FULL * column.unconfirmed / top))
            unconfirmed.append(f"M{x} {y}V{max(0, y - height)}H{end}V{y}Z")
    every = math.ceil(len(columns) / 8)
    ticks = [
        Tick((n + 0.5) / len(columns), column.name, bool(n // every % 2))
        for n, column in enumerate(columns)
        if n % every == 0
    ]
    said = "; ".join(column.words for column in columns)
    marks = (
        f'<path class="deleted" d="{"".join(confirmed)}"/><path class="failed" d="{"".join(unconfirmed)}"/>'
    )
    return frame(f"numbers by run: {compact(len(columns))} runs; {said}", marks, y=value_ticks(top), x=ticks)
