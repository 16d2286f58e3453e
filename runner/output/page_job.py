"""What a page says of when a run was, and of the shards of a fetched job, which were sent side by side."""

from datetime import datetime
from typing import Final

from runner.audit.records import STATUSES
from runner.output.fetched_job import by_need, goes_on_in_cluster
from runner.output.page_parts import Clock, more, pill, table, words
from runner.output.plot import shown
from runner.output.report import span
from runner.output.report_fields import Report
from runner.text import many

__all__ = ["end_of", "facts_of_job", "shards_table", "start_of", "took"]

_MOST_SHARDS: Final = 50


def start_of(report: Report) -> str:
    """Return when a run began; a job of which nothing has: when it was fetched."""
    began = [session.start for session in report.sessions]
    if report.fetched is None or not began:
        return began[0] if began or report.fetched is None else report.fetched.at
    return min(began, key=datetime.fromisoformat)


def took(report: Report) -> str:
    """Return how long was sent, as far as that is known: a killed session says nothing of it.

    The shards of a job are sent side by side: it took from the first session's start to the last one's end.
    """
    sessions = report.sessions
    if report.fetched is not None:
        return _took_in_all(report)
    known = [session.duration_s for session in sessions if session.duration_s is not None]
    least = "≥ " if len(known) < len(sessions) else ""
    return least + span(sum(known)) if known else "–"


def _took_in_all(report: Report) -> str:
    ends = [datetime.fromisoformat(session.end) for session in report.sessions if session.end]
    if not ends:
        return "–"
    took_s = (max(ends) - datetime.fromisoformat(start_of(report))).total_seconds()
    return ("≥ " if goes_on_in_cluster(report) else "") + span(max(0.0, took_s))


def end_of(report: Report) -> str | None:
    """Return when the last session ended; None: it has not, or something of a job is open."""
    if report.fetched is None:
        return report.sessions[-1].end
    ends = [session.end for session in report.sessions if session.end]
    return None if report.status == "open" else max(ends, key=datetime.fromisoformat, default=None)


def facts_of_job(report: Report, clock: Clock) -> list[tuple[str, str]]:
    """Return which job of a cluster it was, if it was one."""
    job = report.fetched
    if job is None:
        return []
    return [
        ("job", f"<code>{shown(job.id)}</code>, {many(len(job.shards), 'shard')}"),
        ("fetched", clock.both(job.at)),
    ]


def shards_table(report: Report) -> str:
    """Return the shards of a fetched job, those first that need somebody."""
    if report.fetched is None:
        return ""
    shards = by_need(report.fetched.shards)
    rows = [
        [
            f"{shard.shard:,}",
            pill(shard.status) + words(shard.why or ""),
            *(f"{getattr(shard.batches, part):,}" for part in ("planned", *STATUSES, "open")),
        ]
        for shard in shards[:_MOST_SHARDS]
    ]
    head = ("shard", "state", "batches", "confirmed", "failed", "unknown", "not sent", "open")
    rest = more(len(shards) - _MOST_SHARDS, "shards")
    return f"<h2>Shards</h2>{table(head, rows, numbers=(0, *range(2, 8)))}{rest}"
