"""Draws a run from its audit, as README shows one: `python -m tests.bench.picture AUDIT docs/run.svg`.

Above, the numbers confirmed; below, the batches that ended in each half of a second, the rate that was
allowed, and the pauses. The audit of the demo gives README's picture:

    bulk-delete demo --keep DIR && python -m tests.bench.picture DIR/audit/demo.jsonl docs/run.svg
"""

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from string import Template

WIDTH, LEFT, RIGHT = 760, 64, 20
UPPER, LOWER = (40, 200), (250, 350)
"""The y coordinates of the two panels, from top to bottom."""
BIN_S = 0.5

PAGE = Template("""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 $width 400">
<title>$title</title>
<style>
  text { font: 12px system-ui, sans-serif }
  .ink { fill: #24292f } .soft { fill: #6e7781 } .line { stroke: #d0d7de }
  .pause { fill: #bf8700; opacity: .18 }
  .confirmed { fill: #1a7f37; opacity: .25 } .edge { fill: none; stroke: #1a7f37; stroke-width: 2 }
  .sent { fill: #0969da } .allowed { fill: none; stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 4 3 }
  @media (prefers-color-scheme: dark) {
    .ink { fill: #e6edf3 } .soft { fill: #9198a1 } .line { stroke: #3d444d } .edge { stroke: #3fb950 }
    .confirmed { fill: #3fb950 } .sent { fill: #4493f8 } .allowed { stroke: #f85149 } .pause { fill: #d29922 }
  }
</style>
$body
</svg>
""")


@dataclass(frozen=True)
class Run:
    """What is drawn of an audit; times in seconds since its first record."""

    end_s: float
    confirmed: list[tuple[float, int]]
    ended: Counter[int]
    rates: list[tuple[float, float]]
    pauses: list[tuple[float, float]]
    summary: dict


def read_run(audit: Path) -> Run:
    """Read one session; its rate must be given by the second."""
    records = [json.loads(line) for line in audit.read_bytes().splitlines()]
    began = datetime.fromisoformat(records[0]["at"])

    def since(text: str) -> float:
        return (datetime.fromisoformat(text) - began).total_seconds()

    confirmed, ended, total = [(0.0, 0)], Counter(), 0
    rates, pauses = [(0.0, _per_second(records[0]["limits"]["rate"]))], []
    for record in records:
        at = since(record["at"])
        if record["type"] == "batch":
            total += record["phones"] - record["phones_left"]
            confirmed.append((at, total))
            ended[int(at / BIN_S)] += record["attempts"] > 0
        elif record["type"] == "pace":
            rates.append((at, _per_second(record["rate"])))
            if record["until"]:
                pauses.append((at, since(record["until"])))
    return Run(since(records[-1]["at"]), confirmed, ended, rates, pauses, records[-1])


def _per_second(rate: str) -> float:
    number, _, unit = rate.partition("/")
    return float(number) / (60 if unit == "m" else 1)


def draw(run: Run) -> str:
    """Return the SVG."""
    scale = (WIDTH - LEFT - RIGHT) / run.end_s
    done = max(run.confirmed[-1][1], 1)
    most = max([*(n / BIN_S for n in run.ended.values()), *(rate for _, rate in run.rates), 1])

    def x(at: float) -> float:
        return LEFT + at * scale

    def y(panel: tuple[int, int], share: float) -> float:
        return panel[1] - share * (panel[1] - panel[0])

    parts = [
        f'<rect class="pause" x="{x(a):.1f}" y="{UPPER[0]}" width="{(b - a) * scale:.1f}" '
        f'height="{LOWER[1] - UPPER[0]}"/>'
        for a, b in run.pauses
    ]
    edge = " ".join(
        f"{x(at):.1f},{y(UPPER, n / done):.1f}" for at, n in run.confirmed[:: len(run.confirmed) // 200 + 1]
    )
    last = f"{x(run.end_s):.1f},{y(UPPER, run.confirmed[-1][1] / done):.1f}"
    parts.append(
        f'<polygon class="confirmed" points="{LEFT},{UPPER[1]} {edge} {last} {x(run.end_s):.1f},{UPPER[1]}"/>'
    )
    parts.append(f'<polyline class="edge" points="{edge} {last}"/>')
    for index, n in sorted(run.ended.items()):
        top = y(LOWER, n / BIN_S / most)
        parts.append(
            f'<rect class="sent" x="{x(index * BIN_S) + 1:.1f}" y="{top:.1f}" '
            f'width="{max(BIN_S * scale - 2, 1):.1f}" height="{LOWER[1] - top:.1f}"/>'
        )
    steps = []
    for (at, rate), (until, _) in zip(run.rates, [*run.rates[1:], (run.end_s, 0.0)], strict=True):
        steps += [f"{x(at):.1f},{y(LOWER, rate / most):.1f}", f"{x(until):.1f},{y(LOWER, rate / most):.1f}"]
    parts.append(f'<polyline class="allowed" points="{" ".join(steps)}"/>')
    parts += _words(run, x)
    return PAGE.substitute(width=WIDTH, title="A run, from its audit", body="\n".join(parts))


def _words(run: Run, x) -> list[str]:
    phones, summary = run.summary["phones"], run.summary
    words = [
        _text(LEFT, 24, f"numbers confirmed: {phones['deleted']:,} of {phones['unique']:,}", "ink"),
        _text(LEFT, 236, "batches ended a second; dashed: the rate allowed", "ink"),
        _text(
            LEFT,
            392,
            f"{summary['requests']:,} requests, {summary['retries']} retries, {phones['failed']} failed, "
            f"{phones['unknown']} unknown; shaded: the server asked for a pause",
            "soft",
        ),
    ]
    lines = [
        f'<line class="line" x1="{LEFT}" y1="{bottom}" x2="{WIDTH - RIGHT}" y2="{bottom}"/>'
        for _, bottom in (UPPER, LOWER)
    ]
    seconds = range(0, int(run.end_s) + 1, max(1, int(run.end_s) // 8))
    return [*words, *lines, *(_text(x(s), LOWER[1] + 16, f"{s} s", "soft") for s in seconds)]


def _text(x: float, y: float, words: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y}">{words}</text>'


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("audit", type=Path)
    parser.add_argument("picture", type=Path)
    given = parser.parse_args()
    given.picture.write_text(draw(read_run(given.audit)), encoding="utf-8")


if __name__ == "__main__":
    main()
