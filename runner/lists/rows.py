"""What a list is on its way in: where it stands, and its rows as they come out. Types only."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ListSpec", "Rows"]


@dataclass(frozen=True, slots=True)
class ListSpec:
    """Where a list stands and how to read it.

    Args:
        paths: Absolute paths or glob patterns, or `-` for standard input, in the order given.
        place: Where the job names this list (`jobs/a.yaml:12`), for errors.
        phone_column: Header name, or column number counted from 1; None: found.
        user_column: The same, for tables of many users; None: the list is one user's.
        encoding: Forced encoding; None: found.
    """

    paths: tuple[str, ...]
    place: str = ""
    phone_column: str | int | None = None
    user_column: str | int | None = None
    encoding: str | None = None


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
    """

    source: str
    lines: Sequence[int]
    values: list[str]
    users: list[str] | None
    flaws: dict[int, str]
