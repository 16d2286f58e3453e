"""What people and scripts are told of a folded audit: one dict, and the same dict as text.

Owns the report's words. Every number in it is the fold's; none is counted here. Phones never appear except
masked, and nothing that came from a server reaches a terminal with control characters in it.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from runner.audit.fold import Fold, PhonesOf, Session, Totals
from runner.audit.records import STATUSES, as_json
from runner.phones import mask_text
from runner.text import printable, width

__all__ = ["align", "make_report", "report_text", "span"]

_INPUT_PARTS = ("unique", "duplicate", "rejected", "protected")
_SHARES = {"p50": 0.5, "p95": 0.95, "max": 1.0}
_STATE_WORDS = {
    "complete": "complete, every batch was confirmed",
    "partial": "finished, but some batches were not confirmed",
    "stopped": "stopped early",
    "unfinished": "without an end (killed, or still running)",
}


def make_report(audit: Path, fold: Fold, *, phones_of: PhonesOf | None = None) -> dict[str, Any]:
    """Return the report of an audit as one JSON-ready dict (`report --json`).

    Args:
        audit: Its path, for the commands to type next.
        fold: Of the whole audit.
        phones_of: The plan's phones by `seq`; without it, phones of doubtful open batches are not told apart.
    """
    totals = fold.totals(phones_of)
    run, end, last = fold.first_run, fold.sessions[-1].summary, fold.last_summary
    asked_of = {} if last is None else as_json(last)["phones"]
    return {
        "audit": str(audit),
        "status": "unfinished" if end is None else end.status,
        "why": None if end is None else _masked(end.why),
        "exit_code": None if end is None else end.exit_code,
        "run_id": run.run_id,
        "job": run.job,
        "mode": run.mode,
        "base_url": run.base_url,
        "version": run.version,
        "reason": _masked(run.reason),
        "operator": _masked(run.operator),
        "plan_sha256": run.plan_sha256,
        "batches": {**totals.batches, "open": totals.open_batches},
        "phones": {
            **{key: asked_of[key] for key in ("read", *_INPUT_PARTS) if key in asked_of},
            **totals.phones,
        },
        "phones_known": totals.phones_known,
        "count": totals.count,
        "attempts": totals.attempts,
        "uncertain_batches": totals.uncertain_batches,
        "empty_batches": totals.empty_batches,
        "causes": _causes(fold),
        "duration_ms": {
            name: fold.durations.percentile(share)
            for name, share in (("p50", 0.5), ("p95", 0.95), ("max", 1.0))
        },
        "sessions": [_session(session) for session in fold.sessions],
        "torn_bytes": fold.torn_bytes,
        "head": fold.chain,
        "next": _next_command(audit, totals),
    }


def _masked(text: str | None) -> str | None:
    return None if text is None else mask_text(text)


def _causes(fold: Fold) -> list[dict[str, Any]]:
    names = ("status", "error", "http_status", "code", "message")
    return [
        {**dict(zip(names, cause, strict=True)), "message": mask_text(cause[-1]), "batches": batches}
        for cause, batches in fold.causes.most_common()
    ]


def _session(session: Session) -> dict[str, Any]:
    end = session.summary
    return {
        "mode": session.run.mode,
        "start": session.run.at,
        "end": None if end is None else end.at,
        "status": "unfinished" if end is None else end.status,
        "why": None if end is None else _masked(end.why),
        **session.figures,
    }


def _next_command(audit: Path, totals: Totals) -> str | None:
    """Return what to type next, or None when everything was confirmed."""
    if totals.open_batches:
        return f"bulk-delete resume {shlex.quote(str(audit))}"
    return None if totals.all_confirmed else f"bulk-delete rerun {shlex.quote(str(audit))}"


def align(rows: Iterable[Sequence[object]], kinds: str, *, indent: str = "  ") -> list[str]:
    """Return rows as lines with their columns aligned; `kinds` has `<` or `>` for each column."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(width(row[column]) for row in cells) for column in range(len(kinds))] if cells else []
    lines = []
    for row in cells:
        padded = [
            " " * (full - width(cell)) + cell if kind == ">" else cell + " " * (full - width(cell))
            for cell, full, kind in zip(row, widths, kinds, strict=True)
        ]
        lines.append((indent + "  ".join(padded)).rstrip())
    return lines


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else printable(str(value))


def report_text(report: Mapping[str, Any]) -> str:
    """Return a report for people, without a final newline."""
    parts = [_head(report), _totals(report), _notes(report), _causes_text(report), _timings(report)]
    parts += [_sessions_text(report), _next(report)]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _head(report: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{printable(report['job'])} – {_STATE_WORDS[report['status']]}",
        f"  audit   {printable(report['audit'])}",
        f"  origin  {printable(report['base_url'])}",
        f"  run     {printable(report['run_id'])} ({report['mode']}, version {printable(report['version'])})",
    ]
    said = (("why", "why"), ("reason", "reason"), ("by", "operator"))
    return lines + [f"  {name:<7} {printable(report[key])}" for name, key in said if report[key]]


def _totals(report: Mapping[str, Any]) -> list[str]:
    batches, phones = report["batches"], report["phones"]
    rows: list[tuple[object, ...]] = [("", "batches", "phones")]
    rows += [(status.replace("_", " "), batches[status], phones[status]) for status in STATUSES]
    return align([*rows, ("asked", batches["planned"], phones["unique"])], "<>>")


def _notes(report: Mapping[str, Any]) -> list[str]:
    """Return what the totals alone do not say."""
    phones = report["phones"]
    lines = [f"rows deleted, by the server's word: {report['count']:,}"]
    if "read" in phones:
        parts = ", ".join(f"{phones[part]:,} {part}" for part in _INPUT_PARTS)
        lines.append(f"values read: {phones['read']:,} ({parts})")
    if report["uncertain_batches"]:
        lines.append(
            f"batches with an attempt whose end nobody knows: {report['uncertain_batches']:,};"
            " more rows may have gone than were confirmed"
        )
    if report["empty_batches"]:
        lines.append(f"batches that deleted nothing: {report['empty_batches']:,}")
    if report["batches"]["open"]:
        lines.append(f"batches still open: {report['batches']['open']:,}")
    if not report["phones_known"]:
        lines.append("without its plan: phones of open batches in doubt stand under not sent")
    if report["torn_bytes"]:
        lines.append(f"the last line is torn ({report['torn_bytes']} bytes); resume cuts it back")
    return lines


def _causes_text(report: Mapping[str, Any]) -> list[str]:
    if not report["causes"]:
        return []
    keys = ("batches", "status", "error", "http_status", "code", "message")
    rows = [[*(cause[key] for key in keys[:3]), *_plain(cause)] for cause in report["causes"]]
    return [
        "not confirmed, by cause",
        *align([("batches", "ended", "error", "HTTP", "code", "words"), *rows], "><<>><"),
    ]


def _plain(cause: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return codes without thousands separators, and the words."""
    codes = ["-" if cause[key] is None else str(cause[key]) for key in ("http_status", "code")]
    return codes[0], codes[1], cause["message"] or "-"


def _timings(report: Mapping[str, Any]) -> list[str]:
    times = report["duration_ms"]
    if times["max"] is None:
        return []
    return [
        (
            f"time of a batch: median {times['p50']:,} ms, 95 % within {times['p95']:,} ms,"
            f" longest {times['max']:,} ms"
        ),
        f"requests that left, all sessions: {report['attempts']:,}",
    ]


def _sessions_text(report: Mapping[str, Any]) -> list[str]:
    head = ("mode", "start", "sending", "ended", "requests", "retries", "a second")
    rows = [
        (
            session["mode"],
            _instant(session["start"]),
            span(session.get("duration_s")),
            session["status"] + (f": {session['why']}" if session["why"] else ""),
            session.get("requests"),
            session.get("retries"),
            "-" if "rate_achieved" not in session else f"{session['rate_achieved']:.4g}",
        )
        for session in report["sessions"]
    ]
    return ["sessions", *align([head, *rows], "<<><>>>")]


def _instant(text: str) -> str:
    try:
        return datetime.fromisoformat(text).isoformat(sep=" ", timespec="seconds")
    except ValueError:
        return text


def span(seconds: float | None) -> str:
    """Return a duration as people say it: `41.2 s`, `12 min 3 s`, `3 h 20 min`."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def _next(report: Mapping[str, Any]) -> list[str]:
    if report["next"] is None:
        return []
    if report["batches"]["open"]:
        return [f"to go on: {report['next']}"]
    return [f"to try what was not confirmed again: {report['next']}"]
