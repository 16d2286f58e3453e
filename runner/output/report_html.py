"""Reports as one self-contained HTML page: no script, no link, no request to anywhere.

Everything that is filled in is escaped first. It shows what `report.make_report` says and nothing else, so
no phone is in it except masked.
"""

from collections.abc import Iterable, Sequence
from html import escape
from string import Template

from runner.audit.records import STATUSES
from runner.output.report import report_text
from runner.output.results import Cause, Report, ReportPhones, ReportSession
from runner.text import printable

__all__ = ["report_html"]

_COLOURS = {"deleted": "#2f7d4f", "failed": "#c0392b", "unknown": "#d08a1d", "not_sent": "#8a8f98"}

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, "Noto Sans CJK SC", "Microsoft YaHei", sans-serif; color: #1d2126;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: 0; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid #e3e5e8; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
code, pre { font-family: ui-monospace, monospace; font-size: 13px; overflow-wrap: anywhere; }
pre { background: #f5f6f7; padding: .8rem; overflow-x: auto; }
.swatch { display: inline-block; width: .7rem; height: .7rem; margin-right: .4rem; }
.next { background: #fff6e0; padding: .5rem .8rem; }
@media print { body { margin: 0; } }
</style>
</head>
<body>
$sections
</body>
</html>
""")

_SECTION = Template("""<section>
<h1>$job</h1>
<p><code>$audit</code><br>$status</p>
$bar
$totals
<p>$count rows deleted, by the server's word. $doubt</p>
$causes
$sessions
$next
<details><summary>as text</summary><pre>$text</pre></details>
</section>""")

_TOTAL = Template(
    '<tr><td><span class="swatch" style="background:$colour"></span>$status</td>'
    '<td class="n">$batches</td><td class="n">$phones</td></tr>'
)
_ASKED = Template('<tr><th>asked</th><th class="n">$batches</th><th class="n">$phones</th></tr>')

_SAYS = {
    "complete": "Complete: every batch was confirmed.",
    "partial": "Finished: some batches were not confirmed.",
    "stopped": "Stopped early.",
    "running": "Still running.",
    "killed": "Without an end: killed, or cut.",
}


def report_html(reports: Sequence[Report]) -> str:
    """Return one page for these reports, in the order given."""
    title = "bulk-delete: " + ", ".join(report.job for report in reports)
    return _PAGE.substitute(title=escape(printable(title)), sections="\n".join(map(_section, reports)))


def _section(report: Report) -> str:
    doubt = ""
    if report.uncertain_batches:
        doubt = f"In {report.uncertain_batches:,} batches an attempt's end is not known: more may have gone."
    status = _SAYS[report.status] + (f" {report.why}." if report.why else "")
    return _SECTION.substitute(
        job=escape(printable(report.job)),
        audit=escape(printable(report.audit)),
        status=escape(printable(status)),
        bar=_bar(report.phones),
        totals=_totals(report),
        count=escape(f"{report.count:,}"),
        doubt=escape(doubt),
        causes=_causes(report.causes),
        sessions=_sessions(report.sessions),
        next=_next(report.next),
        text=escape(report_text(report)),
    )


def _next(command: str | None) -> str:
    return "" if command is None else f'<p class="next">Next: <code>{escape(printable(command))}</code></p>'


def _bar(phones: ReportPhones) -> str:
    """Return the phones by status as one bar; its numbers stand in the table below it."""
    shares = {status: int(getattr(phones, status)) for status in STATUSES}
    total = sum(shares.values()) or 1
    parts, at = [], 0.0
    for status, number in shares.items():
        share = 100 * number / total
        if share:
            parts.append(
                f'<rect x="{at:.3f}" width="{share:.3f}" height="4" fill="{_COLOURS[status]}">'
                f"<title>{status}: {number:,}</title></rect>"
            )
        at += share
    return (
        '<svg viewBox="0 0 100 4" width="100%" height="24" preserveAspectRatio="none" role="img"'
        f' aria-label="phones by status">{"".join(parts)}</svg>'
    )


def _totals(report: Report) -> str:
    rows = [
        _TOTAL.substitute(
            colour=_COLOURS[status],
            status=status.replace("_", " "),
            batches=f"{getattr(report.batches, status):,}",
            phones=f"{getattr(report.phones, status):,}",
        )
        for status in STATUSES
    ]
    asked = (report.batches.planned, report.phones.unique)
    rows.append(_ASKED.substitute(batches=f"{asked[0]:,}", phones=f"{asked[1]:,}"))
    return _table(("", "batches", "phones"), rows, numbers={1, 2})


def _causes(causes: Sequence[Cause]) -> str:
    keys = ("batches", "status", "error", "http_status", "code", "message")
    head = ("batches", "ended", "error", "HTTP", "code", "words")
    rows = [_row((getattr(cause, key) for key in keys), numbers={0}) for cause in causes]
    return _table(head, rows, numbers={0}) if rows else ""


def _sessions(sessions: Sequence[ReportSession]) -> str:
    keys = ("mode", "start", "end", "status", "why", "requests", "retries", "rate_achieved")
    head = ("session", "start", "end", "ended", "why", "requests", "retries", "a second")
    numbers = {5, 6, 7}
    rows = [_row((getattr(session, key) for key in keys), numbers) for session in sessions]
    return _table(head, rows, numbers)


def _row(cells: Iterable[object], numbers: set[int]) -> str:
    return "<tr>" + "".join(_cell("td", i, cell, numbers) for i, cell in enumerate(cells)) + "</tr>"


def _cell(tag: str, column: int, value: object, numbers: set[int]) -> str:
    shown = "–" if value is None else str(value)
    attribute = ' class="n"' if column in numbers else ""
    return f"<{tag}{attribute}>{escape(printable(shown))}</{tag}>"


def _table(head: Sequence[str], rows: Sequence[str], numbers: set[int]) -> str:
    top = "".join(_cell("th", i, name, numbers) for i, name in enumerate(head))
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
