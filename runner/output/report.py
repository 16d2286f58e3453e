"""What people and scripts are told of a folded audit: one report, and the same report as text.

Owns the report's words. Every number in it is the fold's; none is counted here. Phones never appear except
masked, and nothing that came from a server reaches a terminal with control characters in it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from runner.audit.fold import Fold
from runner.audit.manifest import is_shard
from runner.audit.records import STATUSES, PhoneTotals, SummaryRecord
from runner.audit.totals import Totals
from runner.invocation import command
from runner.options import AccessOptions
from runner.output.fetched_job import GOES_ON, by_need, fetched_job, goes_on_in_cluster, job_outcome
from runner.output.folded_run import FoldedRun
from runner.output.report_fields import (
    Cause,
    RefusedUser,
    Report,
    ReportBatches,
    ReportDurations,
    ReportPhones,
    ReportSession,
    ReportStatus,
    UnconfirmedUser,
)
from runner.phones import mask_text
from runner.plan.header import PlanTotals
from runner.text import many, printable, width

__all__ = ["STATE_WORDS", "align", "make_report", "remarks", "report_text", "span", "titled", "values_read"]

STATE_WORDS: Final = {
    "complete": "complete, every batch was confirmed",
    "partial": "finished, but some batches were not confirmed",
    "stopped": "stopped early",
    "running": "still running",
    "killed": "without an end, killed or cut",
    "open": "open, as it stood when it was fetched",
}
_MOST_USERS: Final = 10
_MOST_SHARDS: Final = 20


def make_report(
    run: FoldedRun,
    *,
    access: AccessOptions | None = None,
    running: bool = False,
    unrecorded: SummaryRecord | None = None,
) -> Report:
    """Return the report of a run.

    Args:
        run: All of its audits; without their plans phones of doubtful open batches are not told apart.
        access: Flags that the command to type next needs.
        running: A process holds the audit: it writes on.
        unrecorded: How its last session ended, where that could not be written.
    """
    totals, first, last_run = run.totals(), run.first_run, run.last_run
    status, why, exit_code = _outcome(run, running=running, unrecorded=unrecorded)
    fold = run.audits[0].fold  # what is not of one audit alone is shared by all
    return Report(
        job=run.name,
        run_id=run.run_id,
        audit=str(run.path),
        plan=None if run.manifest or run.audits[0].plan is None else str(run.audits[0].plan.path),
        base_url=run.base_url,
        next=None if running else _next_command(run, totals, access),
        status=status,
        why=why,
        exit_code=exit_code,
        mode="run" if first is None else first.mode,
        version=None if first is None else first.version,
        reason=None if first is None else _masked(first.reason),
        operator=None if first is None else _masked(first.operator),
        plan_sha256=(run.manifest or fold.first_run).plan_sha256,
        batches=ReportBatches(**totals.batches, open=totals.open_batches),
        phones=_phones(run, totals),
        phones_known=totals.phones_known,
        count=totals.count,
        attempts=totals.attempts,
        attempts_assumed=totals.attempts_assumed,
        uncertain_batches=totals.uncertain_batches,
        empty_batches=totals.empty_batches,
        refused_users=tuple(_refused_users(run)),
        limits={} if last_run is None else last_run.limits,
        safety={} if last_run is None else last_run.safety,
        causes=tuple(_causes(fold)),
        users=tuple(_users(fold)),
        more_users=max(0, len(fold.unconfirmed.users) - _MOST_USERS),
        duration_ms=_durations(fold),
        sessions=tuple(_sessions(run, running=running, unrecorded=unrecorded)),
        torn_bytes=0 if running else fold.torn_bytes,
        head=fold.chain if run.manifest is None else run.manifest.head,
        fetched=None if run.manifest is None else fetched_job(run, run.manifest),
    )


def _refused_users(run: FoldedRun) -> Iterable[RefusedUser]:
    users = {user: word for part in run.audits for user, word in part.fold.refused_users.items()}
    return (RefusedUser(*user) for user in sorted(users.items()))


def _outcome(
    run: FoldedRun, *, running: bool, unrecorded: SummaryRecord | None
) -> tuple[ReportStatus, str | None, int | None]:
    """Return how a run stands, why, and its exit code."""
    if run.manifest is not None:
        return job_outcome(run, run.manifest)
    last = run.audits[0].fold.sessions[-1]
    summary = unrecorded or last.summary
    if summary is None:
        return _endless(run, running=running), None, None
    return summary.status, _masked(summary.why), summary.exit_code


def _next_command(run: FoldedRun, totals: Totals, access: AccessOptions | None) -> str | None:
    """Return what to type next, or None when everything has its end, or is the cluster's to go on with."""
    if not run.ended:
        of_cluster = run.manifest is not None or is_shard(run.path)
        return None if of_cluster else command("resume", run.path, access=access)
    return None if totals.all_confirmed else command("rerun", run.path, access=access)


def _endless(run: FoldedRun, *, running: bool) -> ReportStatus:
    """Return the status of a last session without a summary."""
    if run.manifest is not None:
        return "open"
    return "running" if running else "killed"


def _phones(run: FoldedRun, totals: Totals) -> ReportPhones:
    """Return the phones; what was read beside those asked is known from the plans, or from a summary."""
    plans = [part.plan.header.totals for part in run.audits if part.plan is not None]
    summary = run.audits[0].fold.last_summary
    read: list[PlanTotals | PhoneTotals] = [*plans]
    if not read and summary is not None:
        read.append(summary.phones)
    told = {name: sum(getattr(one, name) for one in read) for name in _INPUT_PARTS if read}
    return ReportPhones(**told, **totals.phones)


_INPUT_PARTS: Final = ("read", "duplicate", "rejected", "protected")


def _masked(text: str | None) -> str | None:
    return None if text is None else mask_text(text)


def _causes(fold: Fold) -> Iterable[Cause]:
    for (status, error, http_status, code, words), batches in fold.unconfirmed.causes.most_common():
        message = mask_text(words)
        yield Cause(
            status=status, error=error, http_status=http_status, code=code, message=message, batches=batches
        )


def _durations(fold: Fold) -> ReportDurations:
    p50, p95, longest = map(fold.durations.percentile, (0.5, 0.95, 1.0))
    return ReportDurations(p50=p50, p95=p95, max=longest)


def _users(fold: Fold) -> Iterable[UnconfirmedUser]:
    for user_id, (failed, unknown, not_sent) in fold.unconfirmed.worst_users(_MOST_USERS):
        yield UnconfirmedUser(user_id=user_id, failed=failed, unknown=unknown, not_sent=not_sent)


def _sessions(run: FoldedRun, *, running: bool, unrecorded: SummaryRecord | None) -> Iterable[ReportSession]:
    for part, session in run.sessions():
        last = session is part.fold.sessions[-1]
        end = (unrecorded if last else None) or session.summary
        status: ReportStatus = _endless(run, running=running) if last else "killed"
        yield ReportSession(
            shard=part.shard,
            mode=session.run.mode,
            start=session.run.at,
            end=None if end is None else end.at,
            status=status if end is None else end.status,
            why=None if end is None else _masked(end.why),
            **replace(session, summary=end).figures,
        )


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


def titled(
    title: str, head: Sequence[object], rows: Sequence[Sequence[object]], kinds: str, more: str = ""
) -> list[str]:
    """Return a table with its title and, in words, how much `more` there is; nothing without rows."""
    table = align([head, *rows] if head else rows, kinds)
    return [title, *table, *([f"  and {more}"] if more else [])] if rows else []


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else printable(str(value))


def report_text(report: Report, *, first: str = "", goes_on: bool = True) -> str:
    """Return a report for people, without a final newline.

    Args:
        report: What it says.
        first: What is to be done before the command to type next can work.
        goes_on: False: there is nothing to type, for the vendor is gone.
    """
    parts = [_head(report), _totals(report), _notes(report), _causes_text(report), _users_text(report)]
    parts += [_timings(report), _shards_text(report) or _sessions_text(report)]
    parts += [_next(report, first) if goes_on else []]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _head(report: Report) -> list[str]:
    lines = [
        f"{printable(report.job)} – {STATE_WORDS[report.status]}",
        f"  {'folder' if report.fetched else 'audit':<7} {printable(report.audit)}",
        *_fetched_text(report),
        f"  origin  {printable(report.base_url)}",
        f"  run     {printable(report.run_id)} ({report.mode}, version {printable(report.version or '-')})",
    ]
    said = (("why", report.why), ("reason", report.reason), ("by", report.operator))
    return lines + [f"  {name:<7} {printable(words)}" for name, words in said if words]


def _fetched_text(report: Report) -> list[str]:
    """Return which job of a cluster it is, how many shards it has, and which of them are open."""
    job = report.fetched
    if job is None:
        return []
    left = [str(shard.shard) for shard in job.shards if shard.batches.open or shard.status == "open"]
    named = ", ".join(left[:_MOST_SHARDS]) + (", …" if len(left) > _MOST_SHARDS else "")
    shards = many(len(job.shards), "shard") + (f", {len(left):,} open: {named}" if left else ", none open")
    return [f"  job     {printable(job.id)}, fetched {_instant(job.at)}", f"  shards  {shards}"]


def _totals(report: Report) -> list[str]:
    rows: list[tuple[object, ...]] = [("", "batches", "phones")]
    for status in STATUSES:
        ended = (getattr(report.batches, status), getattr(report.phones, status))
        rows.append((status.replace("_", " "), *ended))
    return align([*rows, ("asked", report.batches.planned, report.phones.unique)], "<>>")


def remarks(report: Report) -> list[str]:
    """Return what the totals alone do not say, a sentence each without its capital and its full stop."""
    lines = []
    if report.uncertain_batches:
        under_way = ", those under way among them" if report.status == "running" else ""
        lines.append(
            f"batches with an attempt whose end nobody knows{under_way}: {report.uncertain_batches:,};"
            " more rows may have gone than were confirmed"
        )
    if report.empty_batches:
        lines.append(f"batches that deleted nothing: {report.empty_batches:,}")
    if report.batches.open:
        lines.append(f"batches still open: {report.batches.open:,}")
    if not report.phones_known:
        lines.append("without its plan: phones of open batches in doubt stand under not sent")
    if report.torn_bytes:
        lines.append(
            f"the audit's last line is torn ({many(report.torn_bytes, 'byte')}); resume cuts it back"
        )
    return lines


def values_read(phones: ReportPhones) -> str:
    """Return how many values were read and what they came to, where that is known."""
    parts = ", ".join(f"{getattr(phones, part):,} {part}" for part in ("unique", *_INPUT_PARTS[1:]))
    return f"{phones.read:,} ({parts})"


def _notes(report: Report) -> list[str]:
    phones = report.phones
    lines = [f"rows deleted, by the server's word: {report.count:,}"]
    lines += [f"values read: {values_read(phones)}"] if phones.read is not None else []
    if report.refused_users:
        lines.append(_refused(report.refused_users))
    return lines + remarks(report)


def _refused(users: Sequence[RefusedUser]) -> str:
    """Return the users whom the vendor refused, the first of them by name."""
    more = len(users) - _MOST_USERS
    named = ", ".join(f"{printable(user.user_id)} ({user.error})" for user in users[:_MOST_USERS])
    return f"users refused, the rest of theirs not sent: {named}" + (
        f" and {more:,} more" if more > 0 else ""
    )


def _causes_text(report: Report) -> list[str]:
    rows = [
        (cause.batches, cause.status, cause.error, _code(cause.http_status), _code(cause.code), cause.message)
        for cause in report.causes
    ]
    head = ("batches", "ended", "error", "HTTP", "code", "words")
    return titled("not confirmed, by cause", head, rows, "><<>><")


def _users_text(report: Report) -> list[str]:
    head = ("user", *(status.replace("_", " ") for status in STATUSES[1:]))
    rows = [(user.user_id, user.failed, user.unknown, user.not_sent) for user in report.users]
    more = many(report.more_users, "more user") if report.more_users else ""
    return titled("numbers not confirmed, by user", head, rows, "<>>>", more)


def _code(code: int | None) -> str | None:
    """Return a code without thousands separators."""
    return None if code is None else str(code)


def _timings(report: Report) -> list[str]:
    times = report.duration_ms
    if times.max is None:
        return []
    left = f"{report.attempts - report.attempts_assumed:,}"
    if report.attempts_assumed:
        left += f", and those of at most {many(report.attempts_assumed, 'batch')} {_announced(report)}"
    return [
        (f"time of a batch: median {times.p50:,} ms, 95 % within {times.p95:,} ms, longest {times.max:,} ms"),
        f"requests that left, all sessions: {left}",
    ]


def _announced(report: Report) -> str:
    if report.status != "running":
        return "announced before a kill"
    return "under way" if len(report.sessions) == 1 else "under way, or announced before a kill"


def _sessions_text(report: Report) -> list[str]:
    head = ("mode", "start", "sending", "ended", "requests", "retries", "a second")
    rows = [
        (
            session.mode,
            _instant(session.start),
            span(session.duration_s),
            session.status + (f": {session.why}" if session.why else ""),
            session.requests,
            session.retries,
            None if session.rate_achieved is None else f"{session.rate_achieved:.4g}",
        )
        for session in report.sessions
    ]
    return titled("sessions", head, rows, "<<><>>>")


def _shards_text(report: Report) -> list[str]:
    """Return a table of the shards, those first that need somebody."""
    if report.fetched is None:
        return []
    shards = by_need(report.fetched.shards)
    rows = [
        (
            shard.shard,
            shard.status + (f": {shard.why}" if shard.why else ""),
            shard.sessions,
            shard.batches.planned,
            *(getattr(shard.batches, status) for status in STATUSES),
            shard.batches.open,
        )
        for shard in shards[:_MOST_SHARDS]
    ]
    head = ("shard", "state", "sessions", "batches", *(s.replace("_", " ") for s in STATUSES), "open")
    more = len(shards) - _MOST_SHARDS
    return titled("shards", head, rows, "><>>>>>>>", many(more, "more shard") if more > 0 else "")


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


def _next(report: Report, first: str) -> list[str]:
    if goes_on_in_cluster(report) and report.next is None:
        return [f"to go on: {GOES_ON}"]
    if report.next is None:
        return [f"to do: {first}"] if first else []
    if first:
        return [f"to go on: {first}, then: {report.next}"]
    if report.batches.open or report.status == "killed":
        return [f"to go on: {report.next}"]
    return [f"to try what was not confirmed again: {report.next}"]
