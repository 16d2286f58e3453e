"""Whether a plan is much larger than what its job asked for of late (`max_growth`).

What was asked stands in the audits of the folder that the new one goes to; only their ends are read. Nothing
known is no reason to ask.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Final

from runner.audit.edges import Edges, moment, read_edges
from runner.commands.new_audit import DEFAULT_FOLDER
from runner.commands.questions import asked
from runner.options import RunOptions
from runner.output.console import Console
from runner.plan.header import PlanHeader
from runner.send.safety import Question

__all__ = ["grown", "outgrown"]

_LAST: Final = 10
"""Runs that are compared with."""
_FINISHED: Final = ("complete", "partial")


def grown(header: PlanHeader, options: RunOptions, screen: Console) -> list[Question]:
    """Return the question that a plan raises which is too large for its job; `--accept-size` answers it.

    Raises:
        Refused: It is too large, that flag is not given, and nobody can say it.
    """
    words = outgrown(header, options.audit)
    if words is None or options.accept_size:
        return []
    return asked(f"{words}. Go on?", "--accept-size", screen)


def outgrown(header: PlanHeader, audit: Path | None) -> str | None:
    """Return by how much a plan is too large for where `audit` goes; None: it is not, or nobody knows."""
    most = header.safety.max_growth
    if most is None:
        return None
    last = _last_sizes(DEFAULT_FOLDER if audit is None else audit.parent, header.name)
    if not last or header.totals.unique <= most * (usual := median(last)):
        return None
    runs = "the last run" if len(last) == 1 else f"the last {len(last)} runs"
    return (
        f"max_growth: the plan has {header.totals.unique:,} numbers, more than {most:g} times"
        f" the {usual:,.10g} that {runs} of {header.name} had (median)"
    )


def _last_sizes(folder: Path, job: str) -> list[int]:
    """Return how many numbers the last finished runs of a job were asked to delete, the newest first."""
    runs = [edges for edges in _audits(folder) if edges.first.job == job and edges.first.mode == "run"]
    finished = [edges for edges in runs if edges.summary is not None and edges.summary.status in _FINISHED]
    finished.sort(key=lambda edges: moment(edges.first), reverse=True)
    return [edges.first.planned.phones for edges in finished[:_LAST]]


def _audits(folder: Path) -> Iterator[Edges]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.endswith(".plan") and entry.is_file():
                edges = read_edges(Path(entry.path))
                if isinstance(edges, Edges):
                    yield edges
