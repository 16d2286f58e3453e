"""`report`: totals, failures by cause and timings of runs; as a page, and as a list of what is left."""

import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from runner.access import reaching
from runner.audit.fold import take_lines
from runner.audit.reader import read_unconfirmed
from runner.audit.records import BatchRecord
from runner.audit.timeline import Timelines
from runner.commands.command_call import CommandResult
from runner.commands.evidence import find_run, fold_run
from runner.errors import RunNames, speaking_of
from runner.files import new_private, refuse_existing, write_private
from runner.locks import holder_of
from runner.options import AccessOptions
from runner.output.console import Console
from runner.output.failed_csv import FailedRow, failed_rows, write_failed
from runner.output.fetched_job import GOES_ON, goes_on_in_cluster
from runner.output.folded_run import FoldedAudit, FoldedRun
from runner.output.report import make_report, report_text
from runner.output.report_fields import Report
from runner.output.report_html import PageRun, report_html
from runner.output.results import ReportResult
from runner.process import utc_now
from runner.text import encodable, many

__all__ = ["report"]


def report(
    audits: Sequence[Path],
    screen: Console,
    env: Mapping[str, str],
    *,
    html: Path | None = None,
    failed: Path | None = None,
) -> CommandResult[ReportResult]:
    """Report on runs, one item each; `env` says which base URL a command to type reaches by itself.

    Raises:
        Refused: An audit cannot be read, or `html` or `failed` exists or cannot be written.
        AuditDamaged: An audit or its plan is not what was written.
    """
    refuse_existing(html, failed)
    reports: list[Report] = []
    rows: list[Iterator[FailedRow]] = []
    pages: list[PageRun] = []
    for path in audits:
        running = holder_of(path) is not None
        with speaking_of(RunNames(audit=str(path))):
            named = find_run(path)
            timelines = None if html is None else Timelines(named.start())
            run = fold_run(named, feed=take_lines if timelines is None else timelines.feed)
        access = reaching(run.base_url, AccessOptions(), env)
        reports.append(make_report(run, access=access, running=running))
        if timelines is not None:
            durations = run.audits[0].fold.durations
            pages.append(PageRun(reports[-1], timelines.course(), durations.counts()))
        if failed is not None:
            _warn_of_gaps(run, screen)
            rows.extend(map(_rows, run.audits))
    if html is not None:
        write_private(html, encodable(report_html(pages, made=utc_now().isoformat())).encode())
    said = None if failed is None else _write_csv(failed, chain.from_iterable(rows))
    text = "\n\n".join([*map(report_text, reports), *([said] if said else [])])
    hint = GOES_ON if any(map(goes_on_in_cluster, reports)) else None
    return CommandResult(ReportResult(message=said, hint=hint, items=tuple(reports)), lambda: text)


def _rows(part: FoldedAudit) -> Iterator[FailedRow]:
    return failed_rows(_ended(part), part.fold, part.plan)


def _ended(part: FoldedAudit) -> Iterator[BatchRecord]:
    """Yield what ended otherwise than `deleted`; a shard that never began has no audit."""
    return read_unconfirmed(part.audit) if part.fold.sessions else iter(())


def _warn_of_gaps(run: FoldedRun, screen: Console) -> None:
    """Say which of what is not confirmed cannot stand in a list of numbers."""
    if any(part.plan is None and part.fold.ended < part.fold.planned_batches for part in run.audits):
        screen.warn(f"{run.path}: the numbers of its open batches stand in its plan, which is not beside it")
    if any(map(_has_open_windows, run.audits)):
        screen.warn(f"{run.path}: windows that are not confirmed have no numbers to list; `rerun` takes them")


def _has_open_windows(part: FoldedAudit) -> bool:
    still_open = () if part.plan is None else part.plan.header.windows
    return any(not part.fold.is_ended(window.seq) for window in still_open) or any(
        record.delete_window for record in _ended(part)
    )


def _write_csv(path: Path, rows: Iterator[FailedRow]) -> str:
    """Write the list, private like an audit, and return in words how long it is."""
    with new_private(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        written = write_failed(text, rows)
        text.detach()  # written out; the file is closed by whoever opened it
    return f"written to {path}: {many(written, 'number')} not confirmed"
