"""A second table in one list: where another column's name stands for a phone, nobody knows what follows."""

from collections.abc import Iterable, Iterator

from runner.errors import Fault
from runner.lists.columns import Layout
from runner.lists.rows import Rows

__all__ = ["one_table"]


def one_table(rows: Iterable[Rows], layout: Layout) -> Iterator[Rows]:
    """Yield rows as they come; the first table's own header, repeated, is a row as any other.

    Raises:
        Fault: Another column's name stands in the phone column, with its line.
    """
    for stretch in rows:
        if not layout.other_names.isdisjoint(stretch.values):
            found = next(n for n, value in enumerate(stretch.values) if value in layout.other_names)
            raise Fault(
                f"{stretch.source}:{stretch.lines[found]}",
                f"the header {stretch.values[found][:40]!r} stands where a phone is due: a second table",
                hint="Save each table as a list of its own.",
            )
        yield stretch
