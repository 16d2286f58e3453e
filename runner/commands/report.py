"""`report`: totals, failures by cause and timings of audits."""

from collections.abc import Sequence
from pathlib import Path

from runner.audit.fold import fold_audit
from runner.commands.evidence import phones_beside
from runner.commands.shown import Shown
from runner.errors import Exit
from runner.files import write_private
from runner.output.report import make_report, report_text
from runner.output.report_html import report_html

__all__ = ["report"]


def report(audits: Sequence[Path], *, html: Path | None = None) -> Shown:
    """Report on audits, and write them as one page to `html`."""
    reports = []
    for audit in audits:
        phones_of = phones_beside(audit)
        fold = fold_audit(audit, verify_chain=True, phones_of=phones_of)
        reports.append(make_report(audit, fold, phones_of=phones_of))
    if html is not None:
        write_private(html, report_html(reports).encode())
    result = reports[0] if len(reports) == 1 else {"reports": reports}
    return Shown(Exit.OK, result, lambda: "\n\n".join(map(report_text, reports)))
