"""A run in one line: as a result for scripts, and as a row of a table for people. Nothing is counted here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Final

from runner.audit.edges import Edges, Flaw, moment
from runner.audit.fold import Fold
from runner.audit.manifest import JobManifest, ShardEntry
from runner.audit.records import BatchRecord, PaceRecord
from runner.output.fetched_job import job_status
from runner.output.pauses import Pauses, pause_words
from runner.output.progress import clock
from runner.output.report import align
from runner.output.run_results import RunStatusLine
from runner.text import printable

__all__ = ["Known", "flawed_line", "job_line", "status_line", "status_text", "waiting_line"]

_LATELY_S: Final = 60.0
"""A run's speed is that of so many seconds."""
_HEADER: Final = (
    *("job", "start", "state"),
    *("asked", "deleted", "failed", "unknown", "not sent", "open"),
    "next",
)
_NUMBERS: Final = ("asked", "deleted", "failed", "unknown", "not_sent", "open")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a run beside the ends of its audit.

    Args:
        running: A process holds its audit.
        fold: All of it.
        ended: How many batches have their end.
    """

    running: bool = False
    fold: Fold | None = None
    ended: int | None = None


def flawed_line(path: Path, flaw: Flaw) -> RunStatusLine:
    """Return the line of a file that says nothing of a run."""
    return RunStatusLine(audit=str(path), state=flaw)


def status_line(
    edges: Edges, known: Known, *, next_command: str | None, plan: str | None, now: datetime
) -> RunStatusLine:
    """Return the line of a run.

    Args:
        edges: Its audit's ends.
        known: What else was read; nothing, where it ended well: its summary says all.
        next_command: What to type next.
        plan: The plan beside it.
        now: The wall's time.
    """
    first, summary, fold = edges.first, edges.summary, known.fold
    ended = known.ended if fold is None else fold.ended
    planned = first.planned.batches
    pause = _pause(edges, now) if known.running else None
    speed = _speed(edges, now if pause is None else moment(pause[0])) if known.running else None
    left_s = None
    held_s = 0.0 if pause is None else pause[1]
    if speed and ended is not None and isfinite(held_s):
        left_s = round((planned - ended) / speed + held_s)
    return RunStatusLine(
        job=first.job,
        run_id=first.run_id,
        audit=str(edges.path),
        plan=plan,
        base_url=first.base_url,
        next=next_command,
        state=summary.status if summary is not None else "running" if known.running else "killed",
        why=None if summary is None else summary.why,
        start=first.at,
        end=None if summary is None else summary.at,
        percent=_percent(ended, planned, done=summary is not None and summary.status != "stopped"),
        pause=None if pause is None else pause_words(pause[0]),
        batches_per_s=speed,
        left_s=left_s,
        asked=first.planned.phones,
        **_figures(edges, known),
    )


def waiting_line(manifest: JobManifest, entry: ShardEntry) -> RunStatusLine:
    """Return the line of a shard that never began; one without a batch is complete."""
    return RunStatusLine(
        job=manifest.name,
        run_id=manifest.run_id,
        audit="",
        base_url=manifest.base_url,
        state="open" if entry.batches else "complete",
        percent=_percent(0, entry.batches, done=False),
        asked=entry.phones,
        deleted=0,
        failed=0,
        unknown=0,
        not_sent=0,
        open=entry.phones,
    )


def job_line(
    folder: Path, manifest: JobManifest, shards: Sequence[RunStatusLine], *, rerun: str
) -> RunStatusLine:
    """Return the line of a fetched job; `rerun` is what to type where it has ended and is not complete."""
    state = job_status(manifest, [shard.state for shard in shards])
    starts = [shard.start for shard in shards if shard.start]
    ends = [shard.end for shard in shards if shard.end]
    whys = [shard.why for shard in shards if shard.why and shard.state == "stopped"]
    return RunStatusLine(
        job=manifest.name,
        run_id=manifest.run_id,
        audit=str(folder),
        base_url=manifest.base_url,
        next=rerun if state == "partial" else None,
        state=state,
        why=whys[0] if whys else None,
        start=min(starts, key=datetime.fromisoformat, default=None),
        end=None if state == "open" else max(ends, key=datetime.fromisoformat, default=None),
        percent=_share(manifest, shards),
        asked=manifest.planned.phones,
        deleted=_sum(shard.deleted for shard in shards),
        failed=_sum(shard.failed for shard in shards),
        unknown=_sum(shard.unknown for shard in shards),
        not_sent=_sum(shard.not_sent for shard in shards),
        open=_sum(shard.open for shard in shards),
    )


def _share(manifest: JobManifest, shards: Sequence[RunStatusLine]) -> float | None:
    """Return the share of the batches that have ended, rounded down as those of the shards are."""
    shares = [shard.percent for shard in shards]
    known = [share for share in shares if share is not None]
    if len(known) < len(shares):
        return None
    weighed = sum(share * entry.batches for share, entry in zip(known, manifest.shards, strict=True))
    return 100.0 if set(known) == {100.0} else int(10 * weighed / manifest.planned.batches) / 10


def _sum(numbers: Iterable[int | None]) -> int | None:
    """Return the sum; None where one of them is not known."""
    known = [*numbers]
    return None if None in known else sum(number for number in known if number is not None)


def _percent(ended: int | None, planned: int, *, done: bool) -> float | None:
    if done or not planned:
        return 100.0
    # Rounded down: 100 says that nothing is left.
    return None if ended is None else min(100.0, int(1000 * ended / planned) / 10)


def _figures(edges: Edges, known: Known) -> dict[str, int | None]:
    """Return numbers by what became of them, None where only a longer reading would tell."""
    summary, fold = edges.summary, known.fold
    if fold is not None:
        totals = fold.totals()
        open_phones = fold.open_phones
        told = {name: totals.phones[name] for name in ("deleted", "failed", "unknown", "not_sent")}
        return {**told, "not_sent": told["not_sent"] - open_phones, "open": open_phones}
    if summary is None:
        return {}
    phones = summary.phones
    told = {"deleted": phones.deleted, "failed": phones.failed}
    if summary.status == "stopped":  # those open stand among its unknown and not_sent ones
        return {**told}
    return {**told, "unknown": phones.unknown, "not_sent": phones.not_sent, "open": 0}


def _pause(edges: Edges, now: datetime) -> tuple[PaceRecord, float] | None:
    """Return the pause that a running run is in, if it is in one: while it lasts hardly anything follows."""
    pauses = Pauses()
    for record in edges.last:
        pauses.note(record)
    return pauses.at(now)


def _speed(edges: Edges, until: datetime) -> float | None:
    """Return how many batches a second ended before a moment; None where its records do not reach back."""
    ends = [moment(record) for record in edges.last if isinstance(record, BatchRecord)]
    span_s = min(_LATELY_S, (until - moment(edges.last[0])).total_seconds())
    if span_s <= 0:
        return None
    return round(sum(0 <= (until - at).total_seconds() <= span_s for at in ends) / span_s, 2)


def status_text(lines: Sequence[RunStatusLine], missed: str) -> str:
    """Return a table of runs, and what is missed, in words."""
    said = align([_HEADER, *map(_row, lines)], "<<<>>>>>><", indent="") if lines else ["no runs"]
    return "\n".join([*said, *([missed] if missed else [])])


def _row(line: RunStatusLine) -> tuple[str, ...]:
    numbers = ("?" if (value := getattr(line, name)) is None else f"{value:,}" for name in _NUMBERS)
    start = "?" if line.start is None else f"{datetime.fromisoformat(line.start).astimezone():%Y-%m-%d %H:%M}"
    return (printable(line.job or "?"), start, _state(line), *numbers, line.next or printable(line.audit))


def _state(line: RunStatusLine) -> str:
    if line.percent is None or line.state in {"complete", "partial"}:
        return line.state
    share = f"{line.state} {line.percent:.1f}%"
    if line.state != "running":
        return share
    speed = "?" if line.batches_per_s is None else f"{line.batches_per_s:g}"
    return f"{share}, {line.pause or f'{speed} batches/s'}, {clock(line.left_s)} left"
