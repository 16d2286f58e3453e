"""`report`: totals, failures by cause and timings of audits; as a page, and as a list of what is left."""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from runner.access import reaching
from runner.audit.fold import Fold, fold_audit, take_lines
from runner.audit.reader import read_unconfirmed
from runner.audit.timeline import Timeline
from runner.commands.command_call import CommandResult
from runner.commands.evidence import find_plan
from runner.errors import Refused, RunNames, speaking_of
from runner.files import create_private, refuse_existing, write_private
from runner.locks import holder_of
from runner.options import AccessOptions
from runner.output.console import Console
from runner.output.failed_csv import FailedRow, failed_rows, write_failed
from runner.output.report import make_report, report_text
from runner.output.report_html import PageRun, report_html
from runner.output.results import ReportResult
from runner.plan.file import PlanFile
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
    """Report on audits.

    Args:
        audits: Each with its plan beside it, or alone.
        screen: Where warnings go.
        env: Says which base URL a command to type would reach by itself.
        html: Write one page there.
        failed: Write every number that is not confirmed there, as CSV.

    Raises:
        Refused: An audit cannot be read, or `html` or `failed` exists or cannot be written.
        AuditDamaged: An audit or its plan is not what was written.
    """
    refuse_existing(html, failed)
    reports, rows, pages = [], [], []
    for audit in audits:
        running = holder_of(audit) is not None
        with speaking_of(RunNames(audit=str(audit))):
            plan = find_plan(audit)
            timeline = Timeline()
            fold = fold_audit(
                audit,
                verify_chain=True,
                phones_of=None if plan is None else plan.phones_of,
                feed=take_lines if html is None else timeline.feed,
            )
        access = reaching(fold.last_run.base_url, AccessOptions(), env)
        reports.append(make_report(audit, fold, plan=plan, access=access, running=running))
        if html is not None:
            pages.append(PageRun(reports[-1], timeline.course(), fold.durations.counts()))
        if failed is not None:
            _warn_of_gaps(audit, fold, plan, screen)
            rows.append(failed_rows(read_unconfirmed(audit), fold, plan))
    if html is not None:
        write_private(html, encodable(report_html(pages, made=utc_now().isoformat())).encode())
    said = None if failed is None else _write_csv(failed, chain.from_iterable(rows))
    text = "\n\n".join([*map(report_text, reports), *([said] if said else [])])
    return CommandResult(ReportResult(message=said, items=tuple(reports)), lambda: text)


def _warn_of_gaps(audit: Path, fold: Fold, plan: PlanFile | None, screen: Console) -> None:
    """Say which of what is not confirmed cannot stand in a list of numbers."""
    if plan is None and fold.ended < fold.planned_batches:
        screen.warn(f"{audit}: the numbers of its open batches stand in its plan, which is not beside it")
    still_open = () if plan is None else plan.header.windows
    if any(not fold.is_ended(window.seq) for window in still_open) or any(
        record.delete_window for record in read_unconfirmed(audit)
    ):
        screen.warn(f"{audit}: windows that are not confirmed have no numbers to list; `rerun` takes them")


def _write_csv(path: Path, rows: Iterator[FailedRow]) -> str:
    """Write the list, private like an audit, and return in words how long it is."""
    try:
        descriptor = create_private(path)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                written = write_failed(file, rows)
        except BaseException:
            path.unlink()
            raise
    except OSError as error:
        raise Refused(f"{path}: cannot be written: {error.strerror}", hint="name another file") from error
    return f"written to {path}: {many(written, 'number')} not confirmed"
