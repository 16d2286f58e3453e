"""Reports as one self-contained HTML page: no script, no request to anywhere, no style but its own.

Everything that is filled in is escaped first. The figures are those of `report.make_report`, the charts those
of the audit's time line; no phone is in it except masked. Its size has a bound, whatever the runs' length.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from string import Template
from typing import Final

from runner.audit.records import STATUSES
from runner.audit.timeline import Course, Pause
from runner.output.charts import (
    Column,
    confirmed_chart,
    latency_chart,
    named_pauses,
    rate_chart,
    status_bar,
    trend_chart,
)
from runner.output.fetched_job import GOES_ON, goes_on_in_cluster
from runner.output.page_job import end_of, facts_of_job, shards_table, start_of, took
from runner.output.page_parts import Clock, ended, more, pairs, pill, table, words
from runner.output.page_style import POLICY, STYLE
from runner.output.plot import shown
from runner.output.report import STATE_WORDS, remarks, span, values_read
from runner.output.report_fields import Report, ReportSession
from runner.phones import mask_text
from runner.text import many

__all__ = ["PageRun", "report_html"]

_MOST_RUNS: Final = 100
_MOST_BYTES: Final = 100_000
_MOST_COLUMNS: Final = 60
_MOST_CAUSES: Final = 25
_MOST_SESSIONS: Final = 15

_PAGE: Final = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="referrer" content="no-referrer">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
$sections
<footer>$footer</footer>
</main>
</body>
</html>
""")


@dataclass(frozen=True, slots=True)
class PageRun:
    """One run as a page shows it."""

    report: Report
    course: Course
    durations: Sequence[tuple[int, int]] = ()
    """How many batches took so many milliseconds."""


def report_html(runs: Sequence[PageRun], *, made: str, zone: tzinfo | None = None) -> str:
    """Return one page for these runs, the earliest first.

    Args:
        runs: At least one; of many the latest are shown, and of these the last few in full.
        made: When the page is made, as ISO 8601.
        zone: Of the local times; None: the machine's.
    """
    clock = Clock(zone)
    ordered = sorted(runs, key=lambda run: start_of(run.report))
    articles = list(_articles(ordered, clock))[::-1]
    overview = [_overview(ordered, len(articles), clock)] if len(runs) > 1 else []
    title = ", ".join(dict.fromkeys(run.report.job for run in ordered[-3:]))
    return _PAGE.substitute(
        policy=POLICY,
        style=STYLE,
        title=shown(f"{title} – bulk-delete"),
        sections="\n".join([*overview, *articles]),
        footer=f"Made {clock.both(made)} from the audit alone; every line's chain was checked."
        " Rows and numbers are what the server confirmed.",
    )


def _articles(runs: Sequence[PageRun], clock: Clock) -> Iterator[str]:
    """Yield runs in full, the last one first, until the page is long enough."""
    written = 0
    for number in reversed(range(max(0, len(runs) - _MOST_RUNS), len(runs))):
        article = _article(runs[number], _name(number), clock)
        written += len(article.encode(errors="replace"))
        if written > _MOST_BYTES and number < len(runs) - 1:
            return
        yield article


def _name(number: int) -> str:
    return f"run-{number + 1}"


# ---- several runs -------------------------------------------------------------------------------------


def _overview(runs: Sequence[PageRun], detailed: int, clock: Clock) -> str:
    """Return a table of the runs, the last so many of which follow in full, and their trend."""
    columns = [_column(run.report, clock) for run in runs[-_MOST_COLUMNS:]]
    first = len(runs) - detailed
    rows = [_overview_row(run.report, _name(n) if n >= first else "", clock) for n, run in enumerate(runs)]
    left_out = max(0, len(rows) - _MOST_RUNS)
    head = ("job", "started", "ended", "asked", "confirmed", "failed", "unknown", "not sent", "took")
    notes = [f"{left_out:,} earlier runs are not shown."] if left_out else []
    if first:
        notes.append(f"The last {detailed} follow in full; for another one, name its audit alone.")
    confirmed = sum(run.report.phones.deleted for run in runs)
    asked = sum(run.report.phones.unique for run in runs)
    return (
        f'<section class="overview"><h1>{len(runs):,} runs</h1>'
        f'<p class="outcome">{confirmed:,} of {asked:,} numbers are confirmed in all.</p>'
        f"<h2>The runs</h2>{table(head, rows[left_out:], numbers=range(3, 9), kind='runs')}"
        f'<h2>Numbers by run</h2><figure><figcaption><span><i class="dot deleted"></i>confirmed</span>'
        f'<span><i class="dot failed"></i>not confirmed</span></figcaption>{trend_chart(columns)}</figure>'
        f"{''.join(f'<p class=soft>{note}</p>' for note in notes)}</section>"
    )


def _column(report: Report, clock: Clock) -> Column:
    phones = report.phones
    left = phones.unique - phones.deleted
    start = start_of(report)
    words = f"{clock.local(start)}: {phones.deleted:,} of {phones.unique:,}"
    return Column(phones.deleted, left, words, clock.local(start, "%m-%d"))


def _overview_row(report: Report, name: str, clock: Clock) -> list[str]:
    job = words(report.job)
    phones = report.phones
    numbers = (phones.unique, *(getattr(phones, status) for status in STATUSES))
    return [
        job if not name else f'<a href="#{name}">{job}</a>',
        shown(clock.local(start_of(report))),
        pill(report.status),
        *(f"{number:,}" for number in numbers),
        took(report),
    ]


# ---- one run ------------------------------------------------------------------------------------------


def _article(run: PageRun, name: str, clock: Clock) -> str:
    report = run.report
    parts = [
        _head(report, clock),
        _figures(report),
        _next(report.next),
        _notes(report),
        _charts(run, clock),
        _causes(report),
        _users(report),
        shards_table(report),
        _sessions(report.sessions, clock),
        _facts(report, clock),
    ]
    return f'<article id="{name}">{"".join(parts)}</article>'


def _head(report: Report, clock: Clock) -> str:
    return (
        f'<header><p class="eyebrow">bulk-delete, {clock.both(start_of(report))}</p>'
        f"<h1>{shown(report.job)}</h1>"
        f'<p class="outcome">{pill(report.status)}{shown(_outcome(report))}</p></header>'
    )


def _outcome(report: Report) -> str:
    """Return in one sentence how it ended."""
    if not report.batches.planned:
        return "There was nothing to do."
    unit, shares = _unit(report)
    asked, confirmed = sum(shares.values()), shares["deleted"]
    whole = f"all {asked:,}" if confirmed == asked else f"{confirmed:,} of {asked:,}"
    rest = [f"{shares[status]:,} {_REST[status]}" for status in STATUSES[1:] if shares[status]]
    left = report.batches.planned - report.batches.deleted
    if left and not rest:
        rest = [f"{left:,} of {many(report.batches.planned, 'batch')} are not"]
    why = f" ({mask_text(report.why)})" if report.why else ""
    over = report.status in {"complete", "partial"} and not why
    told = whole if over else f"{STATE_WORDS[report.status]}{why}: {whole}"
    return f"{told[0].upper()}{told[1:]} {unit} are confirmed{'; ' if rest else ''}{', '.join(rest)}."


_REST: Final = {"failed": "failed", "unknown": "may or may not be gone", "not_sent": "were not sent"}


def _unit(report: Report) -> tuple[str, dict[str, int]]:
    """Return what is counted and how much of it ended how: numbers, or batches where none has any."""
    ended = report.phones if report.phones.unique else report.batches
    shares = {str(status): int(getattr(ended, status)) for status in STATUSES}
    return ("numbers" if report.phones.unique else "windows"), shares


def _figures(report: Report) -> str:
    _, shares = _unit(report)
    words = {"deleted": "confirmed"}
    rows = [("asked", f"{sum(shares.values()):,}", "", False)]
    for status, number in shares.items():
        dot = f'<i class="dot {status}"></i>'
        rows.append((words.get(status, status.replace("_", " ")), f"{number:,}", dot, not number))
    rows += [
        ("rows deleted", f"{report.count:,}", "", False),
        ("sending took", took(report), "", False),
    ]
    cells = "".join(
        f"<div{' class=zero' if zero else ''}><dt>{dot}{name}</dt><dd>{value}</dd></div>"
        for name, value, dot, zero in rows
    )
    return f'<dl class="figures">{cells}</dl>{status_bar(shares)}'


def _next(command: str | None) -> str:
    return "" if command is None else f'<p class="next">Next: <code>{shown(command)}</code></p>'


def _notes(report: Report) -> str:
    lines = remarks(report) + ([f"to go on: {GOES_ON}"] if goes_on_in_cluster(report) else [])
    items = "".join(f"<li>{shown(line[0].upper() + line[1:])}.</li>" for line in lines)
    return f'<ul class="notes">{items}</ul>' if items else ""


# ---- charts -------------------------------------------------------------------------------------------


def _charts(run: PageRun, clock: Clock) -> str:
    if not any(run.course.confirmed) and not any(run.course.requests):
        return ""
    return "<h2>The course of the run</h2>" + "".join(
        (
            _figure(
                "Numbers confirmed",
                _confirmed_words(run),
                confirmed_chart(run.course, run.report.phones.unique),
            )
            if run.report.phones.unique
            else "",
            _figure("Requests a second", _rate_words(run), rate_chart(run.course)),
            _pauses(run.course, clock),
            _latency(run),
        )
    )


def _figure(title: str, words: Iterable[str], chart: str) -> str:
    said = "".join(words)
    return f"<figure><figcaption><h3>{title}</h3>{said}</figcaption>{chart}</figure>"


def _confirmed_words(run: PageRun) -> Iterable[str]:
    yield f"<span>dotted: the {run.report.phones.unique:,} asked for</span>"
    if any(run.course.paused_s):
        yield '<span class="key k-pause">everybody paused</span>'
    if any(run.course.unconfirmed):
        yield '<span class="key k-rug">not confirmed</span>'
    if run.course.resumed:
        yield "<span>upright dots: resumed; the time between sessions is left out</span>"


def _rate_words(run: PageRun) -> Iterable[str]:
    yield '<span class="key k-allowed">allowed</span>'
    last = [session for session in run.report.sessions if session.max_in_window is not None]
    if last and run.report.fetched is None:  # no session of a job knows what left the others
        most = max(session.max_in_window or 0 for session in last)
        window = "minute" if run.course.window_s > 1 else "second"
        of = "" if len(last) == len(run.report.sessions) else ", in the sessions that ended"
        yield f"<span>most in any {window}{of}, measured at the gate: {most:,}</span>"


def _pauses(course: Course, clock: Clock) -> str:
    if not course.pause_count:
        return ""
    items = "".join(f"<li>{_pause(pause, clock)}</li>" for pause in named_pauses(course))
    total = f"{many(course.pause_count, 'pause')}, {span(course.pause_total_s)} in all"
    if course.pause_count > len(named_pauses(course)):
        total += "; the longest:"
    return _figure("Pauses", [f"<span>{total}</span>"], f'<ol class="pauses">{items}</ol>')


def _pause(pause: Pause, clock: Clock) -> str:
    return f"{shown(clock.local(pause.at, '%H:%M:%S'))}, {span(pause.seconds)}: {words(mask_text(pause.why))}"


def _latency(run: PageRun) -> str:
    times = run.report.duration_ms
    if not run.durations or times.p50 is None or times.p95 is None or times.max is None:
        return ""
    marks = {"median": times.p50, "95 %": times.p95}
    words = f"<span>median {times.p50:,} ms, 95 % within {times.p95:,} ms, longest {times.max:,} ms</span>"
    return _figure("Time of a batch", [words], latency_chart(run.durations, marks))


# ---- tables -------------------------------------------------------------------------------------------


def _causes(report: Report) -> str:
    if not report.causes:
        return ""
    rows = [
        [
            ended(cause.status),
            shown(cause.error or "–"),
            *("–" if code is None else str(code) for code in (cause.http_status, cause.code)),
            words(cause.message) or "–",
            f"{cause.batches:,}",
        ]
        for cause in report.causes[:_MOST_CAUSES]
    ]
    head = ("ended", "error", "HTTP", "code", "the vendor's words", "batches")
    rest = more(len(report.causes) - _MOST_CAUSES, "causes")
    return f"<h2>Not confirmed, by cause</h2>{table(head, rows, numbers=(5,))}{rest}"


def _users(report: Report) -> str:
    """Return whose numbers were not confirmed, and who was refused whole."""
    refused = {user.user_id: user.error for user in report.refused_users}
    rows = [
        [
            f"<code>{shown(user.user_id)}</code>"
            + (f" ({shown(refused[user.user_id])})" if user.user_id in refused else ""),
            *(f"{getattr(user, status):,}" for status in STATUSES[1:]),
        ]
        for user in report.users
    ]
    if not rows:
        return ""
    head = ("user", *(status.replace("_", " ") for status in STATUSES[1:]))
    listed = table(head, rows, numbers=(1, 2, 3))
    return f"<h2>Numbers not confirmed, by user</h2>{listed}{more(report.more_users, 'users')}"


def _sessions(sessions: Sequence[ReportSession], clock: Clock) -> str:
    rows = [
        [
            f'<span class="whole">{shown(session.mode)}{f" {session.shard}" if session.shard else ""}</span>',
            clock.both(session.start),
            clock.both(session.end),
            pill(session.status) + words(session.why or ""),
            *("–" if number is None else f"{number:,}" for number in (session.requests, session.retries)),
            "–" if session.rate_achieved is None else f"{session.rate_achieved:,.4g}",
        ]
        for session in sessions[-_MOST_SESSIONS:]
    ]
    head = ("session", "start", "end", "ended", "requests", "retries", "a second")
    rest = more(len(sessions) - _MOST_SESSIONS, "sessions before these")
    return f"<h2>Sessions</h2>{table(head, rows, numbers=(4, 5, 6))}{rest}"


# ---- what the run was ---------------------------------------------------------------------------------


def _facts(report: Report, clock: Clock) -> str:
    version = words(report.version or "–")
    rows = [
        ("origin", f"<code>{shown(report.base_url)}</code>"),
        ("operator", words(report.operator or "–")),
        ("reason", words(report.reason or "–")),
        ("started", clock.both(start_of(report))),
        ("ended", clock.both(end_of(report))),
        ("limits", pairs(report.limits)),
        ("safety", pairs(report.safety)),
        ("values read", values_read(report.phones) if report.phones.read is not None else "–"),
        ("run", f"<code>{shown(report.run_id)}</code>, {shown(report.mode)}, version {version}"),
        *facts_of_job(report, clock),
        ("folder" if report.fetched else "audit", f"<code>{shown(report.audit)}</code>"),
        ("plan", f"<code>{shown(report.plan or '–')}</code>"),
        ("plan, SHA-256", f"<code>{shown(report.plan_sha256)}</code>"),
        ("head of the chain", f"<code>{shown(report.head)}</code>"),
    ]
    items = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    return f'<h2>The run</h2><dl class="facts">{items}</dl>'
