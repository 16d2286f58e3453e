"""The wanted columns out of rows of cells: what is blank, what is flawed, and what has another width.

Never takes a row whose cells might have shifted for a good one.
"""

from collections.abc import Sequence

from runner.lists.columns import Layout
from runner.lists.decode import Source
from runner.lists.one_list import refuse_heading_row
from runner.lists.rows import Rows

__all__ = ["rows_of"]


def rows_of(
    source: Source,
    layout: Layout,
    rows: Sequence[Sequence[str]],
    lines: Sequence[int],
) -> Rows:
    """Take the wanted columns out of some rows.

    Rows with nothing in them are left out, those without a phone are counted as blank, and those of another
    width than the table's are flawed: nobody knows which of their cells have shifted.

    Raises:
        Fault: A row without a phone is a heading that names a user.
    """
    phone, user, width = layout.phone, layout.user, layout.width
    if set(map(len, rows)) == {width}:
        values = [row[phone] for row in rows]
        if all(map(str.strip, values)):
            users = None if user is None else [row[user] for row in rows]
            return Rows(source.name, lines, values, users, {}, column=layout.read)
    return _rows_one_by_one(source, layout, rows, lines)


def _rows_one_by_one(
    source: Source,
    layout: Layout,
    rows: Sequence[Sequence[str]],
    lines: Sequence[int],
) -> Rows:
    phone, user, width = layout.phone, layout.user, layout.width
    kept: list[int] = []
    values: list[str] = []
    users: list[str] = []
    bad: dict[int, str] = {}
    blank = 0
    for index, row in enumerate(rows):
        cell = row[phone] if phone < len(row) else ""
        if not cell.strip():
            if not any(map(str.strip, row)):
                continue
            refuse_heading_row(source, lines[index], row, layout)
            if len(row) == width:
                blank += 1
                continue
        if len(row) != width:
            bad[len(kept)] = "columns"
        if user is not None:
            users.append(row[user] if user < len(row) else "")
        kept.append(lines[index])
        values.append(cell)
    return Rows(
        source.name,
        kept,
        values,
        None if user is None else users,
        bad,
        column=layout.read,
        blank=blank,
    )
