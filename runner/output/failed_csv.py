"""Every number that was not confirmed, as CSV: for a spreadsheet, or for the next job's `tables:`.

Written as it is read, in bounded memory. It names numbers in full, as the audit does, so that whoever opens
the file makes it private. With a BOM, for Excel reads the vendor's Chinese words as something else without;
words that a spreadsheet would take for a formula get an apostrophe before them.
"""

import csv
from collections.abc import Iterable, Iterator
from typing import Final, TextIO

from runner.audit.fold import Fold
from runner.audit.records import BatchRecord
from runner.phones import mask_echoes
from runner.plan.file import PlanFile
from runner.text import encodable, printable

__all__ = ["FailedRow", "failed_rows", "write_failed"]

_COLUMNS: Final = ("user_id", "phone", "status", "error", "http_status", "code", "message")
"""The first two are named as a table of a job names them."""

_BOM: Final = "\ufeff"
_FORMULA: Final = ("=", "+", "-", "@")

FailedRow = tuple[str, str, str, str | None, int | None, int | None, str]


def write_failed(file: TextIO, rows: Iterable[FailedRow]) -> int:
    """Write a header and these rows to a file opened with `newline=""`; returns how many numbers."""
    file.write(_BOM)
    writer = csv.writer(file)
    writer.writerow(_COLUMNS)
    written = 0
    for row in rows:
        writer.writerow(row)
        written += 1
    return written


def failed_rows(ended: Iterable[BatchRecord], fold: Fold, plan: PlanFile | None) -> Iterator[FailedRow]:
    """Yield the numbers not confirmed, in audit order; those of open batches last, if there is their plan.

    Raises:
        AuditDamaged: The plan is not what it was.
    """
    for record in ended:
        left = record.phone[: record.phones_left]
        codes = (record.error, record.http_status, record.code, _words(record.message or "", left))
        yield from ((record.user_id, phone, record.status, *codes) for phone in left)
    for batch in () if plan is None else plan.batches(lambda seq: not fold.is_ended(seq)):
        status = "unknown" if fold.prior(batch.seq).uncertain else "not_sent"
        yield from ((batch.target.user_id, phone, status, None, None, None, "") for phone in batch.phones)


def _words(message: str, phones: tuple[str, ...]) -> str:
    words = encodable(printable(mask_echoes(message, phones)))
    return f"'{words}" if words.lstrip().startswith(_FORMULA) else words
