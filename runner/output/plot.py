"""Axes and frames of charts: inline SVG that stretches with the page while its words keep their size. Pure.

A chart is a grid: figures on the left, a plot that is drawn on 1000 by 1000 and stretched to whatever room
there is, words below. So it is as legible at 390 px as at 1280, without a script and a style of its own.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from runner.text import printable

__all__ = ["FULL", "Tick", "compact", "frame", "nice_top", "shown", "time_ticks", "value_ticks"]

FULL: Final = 1000
"""Width and height of the plot's own coordinates; y grows downwards."""

_TIME_STEPS_S: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 10800, 21600, 43200),
)
_DAY_S: Final = 86400
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_MOST_TICKS: Final = 8


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis (0 to 1, from the left or from below) and what stands there.

    `minor` ones give way where there is little room.
    """

    share: float
    words: str
    minor: bool = False


def shown(words: object) -> str:
    """Return anybody's words fit to stand in a page."""
    return escape(printable(str(words)))


def compact(number: float) -> str:
    """Return a number in few characters: `950`, `12 k`, `1.2 M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / (1e3 if unit == 'k' else size):,.4g} {unit}"
    return f"{number:,.4g}"


def nice_top(most: float) -> float:
    """Return the end of a scale that holds `most`, a multiple of its step."""
    step = _step(most)
    return step * max(1, math.ceil(most / step - 1e-9))


def _step(most: float) -> float:
    """Return a step of 1, 2, 2.5 or 5 times a power of ten, about four of which make `most`."""
    if most <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(most / 4))
    return next(step * size for step in (1, 2, 2.5, 5, 10) if most / (step * size) <= 5.5)


def value_ticks(top: float) -> list[Tick]:
    """Return the ticks of a scale from 0 to a nice top."""
    step = _step(top)
    count = max(1, round(top / step))
    return [Tick(n / count, compact(top * n / count)) for n in range(count + 1)]


def time_ticks(end_s: float) -> list[Tick]:
    """Return the ticks of a time line in seconds, minutes, hours or days; none where no time passed."""
    if end_s <= 0:
        return []
    step = next((step for step in _TIME_STEPS_S if end_s / step <= _MOST_TICKS), None)
    if step is None:
        step = _DAY_S * math.ceil(end_s / _DAY_S / _MOST_TICKS)
    size, unit = next(pair for pair in _UNITS if step % pair[0] == 0)
    count = int(end_s / step)
    return [Tick(n * step / end_s, f"{n * step // size:,} {unit}", bool(n % 2)) for n in range(count + 1)]


def frame(
    label: str, marks: str, *, y: Sequence[Tick] = (), x: Sequence[Tick] = (), above: str = "", kind: str = ""
) -> str:
    """Return a chart.

    Args:
        label: What it shows, for who cannot see it.
        marks: SVG in the plot's own coordinates, stretched.
        y: The scale on the left, with a line across each.
        x: What stands below.
        above: SVG in shares of the plot, not stretched: words, and marks of a fixed size.
        kind: A class of the page's style.
    """
    grid = "".join(
        f'<path class="grid" d="M0 {at}H{FULL}"/>' for at in (round(FULL * (1 - tick.share)) for tick in y)
    )
    scale = "".join(
        f'<text x="100%" y="{100 - 100 * tick.share:.2f}%" dy=".32em">{shown(tick.words)}</text>'
        for tick in y
    )
    return (
        f'<div class="plot {kind}"><svg class="y" aria-hidden="true">{scale}</svg>'
        f'<svg class="in" role="img" aria-label="{shown(label)}">'
        f'<svg width="100%" height="100%" viewBox="0 0 {FULL} {FULL}" preserveAspectRatio="none">'
        f"{grid}{marks}</svg>"
        f'{above}</svg><svg class="x" aria-hidden="true">{"".join(_below(x))}</svg></div>'
    )


def _below(ticks: Iterable[Tick]) -> Iterable[str]:
    for tick in ticks:
        anchor = ' class="start"' if tick.share < 0.03 else ' class="end"' if tick.share > 0.97 else ""
        if tick.minor:
            anchor = ' class="minor"'
        yield f'<text x="{100 * tick.share:.2f}%" y="1em"{anchor}>{shown(tick.words)}</text>'
