"""Where a list turns into another one: a second table, or a heading that says whose the next numbers are.

Keeps "a list that was given for one user names none itself" where no column and no key does it. Whose the
numbers below such a line are, nobody knows.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from runner.errors import Fault
from runner.lists.columns import Layout
from runner.lists.decode import Source
from runner.lists.headers import fold_name, names_one_user
from runner.lists.rows import Rows
from runner.phones import mask_text
from runner.text import printable

__all__ = ["one_list", "refuse_heading_row"]

_MAX_HEADING = 80
_HEADING = re.compile(r"\s*(?!(?i:tel|p):\s*\Z)(?:[^\W\d][^:：]*[:：]|\[.*[^\W\d].*\]|【.*[^\W\d].*】)\s*")
"""How people set a heading apart; the notation of a number that is missing is none. A mere remark (`# …`) is
one only where it names a user."""
_MARKS = (":", "]", "#", " ")
"""One of them stands in every heading that is ASCII; none in digits, and none in what is encrypted."""


def one_list(source: Source, rows: Iterable[Rows], layout: Layout) -> Iterator[Rows]:
    """Yield rows of a source as they come; the first table's own header, repeated, is a row as any other.

    Raises:
        Fault: Another column's name stands in the phone column, or a heading in a list of one column; with
            its line. Or the table has a column `encryption`: all its rows would be read alike.
    """
    if "encryption" in map(fold_name, layout.other_names):
        raise source.fault(
            "this list says itself which of its values are encrypted, in the column 'encryption'",
            hint="Make two lists of it, one under `encryption: true`, both without that column.",
        )
    for stretch in rows:
        part = stretch.source.removeprefix(source.name)
        if not layout.other_names.isdisjoint(stretch.values):
            found = next(n for n, value in enumerate(stretch.values) if value in layout.other_names)
            raise source.fault(
                f"the header {stretch.values[found][:40]!r} stands where a phone is due: a second table",
                line=stretch.lines[found],
                hint="Save each table as a list of its own.",
                part=part,
            )
        heading = _find_heading(stretch.values) if layout.width == 1 and layout.user is None else None
        if heading is not None:
            raise _heading_fault(source, stretch.lines[heading], stretch.values[heading], part)
        yield stretch


def refuse_heading_row(source: Source, line: int, row: Sequence[str], layout: Layout) -> None:
    """Refuse a row without a phone that is a heading set apart and names a user (`用户B:,,`)."""
    text = " ".join(row).strip()
    if layout.user is None and _is_set_apart(text) and names_one_user(text):
        raise _heading_fault(source, line, text)


def _heading_fault(source: Source, line: int, text: str, part: str = "") -> Fault:
    shown = mask_text(printable(text.strip()[:40]))
    return source.fault(
        f"the heading {shown!r} stands among the numbers: are those below it another user's?",
        line=line,
        hint="Save the numbers of each user as a list of their own, or make a table with a user column.",
        part=part,
    )


def _find_heading(values: Sequence[str]) -> int | None:
    joined = "\n".join(values)
    if joined.isascii() and (not any(mark in joined for mark in _MARKS) or joined.lower() == joined.upper()):
        return None  # a heading has a letter
    return next((index for index, value in enumerate(values) if _is_heading(value)), None)


def _is_heading(value: str) -> bool:
    return _is_set_apart(value) or (len(value) <= _MAX_HEADING and names_one_user(value))


def _is_set_apart(text: str) -> bool:
    return len(text) <= _MAX_HEADING and _HEADING.fullmatch(text) is not None
