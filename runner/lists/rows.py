"""What a list is on its way in: where it stands, and its rows as they come out. Types only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["CellRows", "ColumnRead", "HiddenRows", "HowFound", "ListSpec", "Rows"]

HiddenRows = Literal["include", "skip"]
"""What a job says of rows that a filter hides."""

HowFound = Literal["asked", "header", "content", "only"]
"""How the column was found: the job names it, its header or its content tells, or it is the only one."""


@dataclass(frozen=True, slots=True)
class ListSpec:
    """Where a list stands and how to read it.

    Args:
        paths: Absolute paths or glob patterns, or `-` for standard input, in the order given.
        place: Where the job names this list (`jobs/a.yaml:12`), for errors.
        phone_column: Header name, or column number counted from 1; None: found.
        user_column: The same, for tables of many users; None: the list is one user's.
        encoding: Forced encoding; None: found.
        hidden_rows: What is done with rows that a filter hides; None: a list that has such rows is refused.
    """

    paths: tuple[str, ...]
    place: str = ""
    phone_column: str | int | None = None
    user_column: str | int | None = None
    encoding: str | None = None
    hidden_rows: HiddenRows | None = None


@dataclass(frozen=True, slots=True)
class ColumnRead:
    """Which column of a source was read for phones, and what else was looked at.

    Args:
        column: Number of the column that was read, counted from 1.
        header: Its header as it stands in the source; "" where there is none.
        how: How it was found.
        passed_over: Headers (or `column N` where there is none) of other columns that might hold phones.
    """

    column: int
    header: str
    how: HowFound
    passed_over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """Some consecutive rows of one source, column-wise, all sequences of one length.

    Args:
        source: What to call the source in a message: path, or `path!sheet`.
        lines: Line (or sheet row) of each value, counted from 1; a `range` where they are consecutive.
        values: The phone column as text; integers that JSON gave arrive as their digits.
        users: The user column, or None where the list is one user's.
        flaws: Index into `values` → reason, for cells that the format itself spoils (a float, a numeric cell
            with six or more trailing zeros); such a value is rejected for that reason whatever it looks like.
        user_flaws: Index into `users` → reason, for cells that say no user id exactly (a date, a float, an
            error, a number that the format does not hold exactly); one such row refuses the list.
        column: Which column was read; the same for all rows of a source, None where it has no columns.
        blank: Rows of this stretch whose phone cell is blank; they stand in none of the sequences.
        hidden: Rows of this stretch that a filter hides, whether they were taken or skipped.
    """

    source: str
    lines: Sequence[int]
    values: list[str]
    users: list[str] | None
    flaws: dict[int, str]
    user_flaws: dict[int, str] = field(default_factory=dict)
    column: ColumnRead | None = None
    blank: int = 0
    hidden: int = 0


@dataclass(frozen=True, slots=True)
class CellRows:
    """Some consecutive rows of one source with all their cells, titles and headers as well, column by column.

    Args:
        source: What to call the source in a message: path, or `path!sheet`.
        lines: Line (or sheet row) of each row, counted from 1.
        columns: The cells as text; "" where blank. All of one length; later rows may have more columns.
        flaws: For each column: index → reason, for cells that the format itself spoils.
        names: The name of each column, where the format has names apart from its rows (keys of JSON objects).
    """

    source: str
    lines: Sequence[int]
    columns: list[list[str]]
    flaws: list[dict[int, str]]
    names: tuple[str, ...] = ()
