"""Workbooks (.xlsx): the one sheet with phones, its cells as text, and what a person does not see of it.

Keeps "a cell counts only where it says exactly one thing" and "rows that a filter hides are said": a flawed
cell is passed on as such, a hidden row is read only where the job says so, a hidden column only where the job
names it, a hidden sheet never. Never chooses between two sheets.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from runner.errors import Fault
from runner.lists.columns import SAMPLE_ROWS, Layout, find_layout
from runner.lists.decode import Source
from runner.lists.hints import hint_of_key
from runner.lists.one_list import one_list
from runner.lists.rows import CellRows, ListSpec, Rows
from runner.lists.workbook_process import Sheet, SheetRows, WorkbookReader, open_workbook
from runner.phones import PhoneRule, normalise_many

__all__ = ["read_workbook", "read_workbook_cells"]

_IN_PHONES, _IN_USERS = {"zeros": "rounded", "labelled": ""}, {"zeros": "", "labelled": "shown"}
"""What is a flaw of one column only: a phone with six zeros at its end has lost digits, a user id may end so;
a phone may be shown with words around it, a user id is another one then."""


def read_workbook(source: Source, spec: ListSpec, rule: PhoneRule) -> Iterator[Rows]:
    """Yield the rows of the sheet that holds phones; `source` of the rows is `path!sheet`.

    Raises:
        Fault: No workbook, damaged, too large for the bounds, no sheet with phones or several of them, a
            hidden column that nobody asked for, or hidden rows of which the job does not say what they are.
    """
    with open_workbook(source) as reader:
        found = _find_sheet(source, reader, spec, rule)
        if found is not None:
            yield from one_list(source, _read_sheet(source, reader, spec, found), found.layout)


def read_workbook_cells(source: Source) -> Iterator[CellRows]:
    """Yield all cells of all sheets, hidden or not; `source` of the rows is `path!sheet`.

    Raises:
        Fault: No workbook, damaged, or too large for the bounds.
    """
    with open_workbook(source) as reader:
        for sheet in list(reader.sheets(1)):
            name = f"{source.name}!{sheet.name}"
            for rows in reader.rows(sheet, None, 0):
                flaws = [_flaws(column, range(len(rows.lines)), _IN_PHONES) for column in rows.flaws]
                yield CellRows(name, rows.lines, rows.texts, flaws)


# ---- the sheet ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Found:
    sheet: Sheet
    layout: Layout

    @property
    def last_header_row(self) -> int:
        """The number of the last row that is no data; 0 where all are."""
        return self.sheet.lines[self.layout.skip - 1] if self.layout.skip else 0


def _find_sheet(source: Source, reader: WorkbookReader, spec: ListSpec, rule: PhoneRule) -> _Found | None:
    """Return the one sheet that has the columns; None if all are empty.

    Where none has them, the fault is the first sheet's.
    """
    found: list[_Found] = []
    faults: list[Fault] = []
    doubtful: list[str] = []
    hidden: list[str] = []
    for sheet in reader.sheets(SAMPLE_ROWS):
        if not sheet.rows:
            continue
        if sheet.is_hidden:
            hidden.append(sheet.name)
            continue
        fault = _fault_of(source, sheet.name)
        try:
            found.append(
                _Found(sheet, find_layout(sheet.rows, spec, rule, fault, hidden=sheet.hidden_columns))
            )
        except Fault as error:
            faults.append(error)
            if spec.phone_column is None and _has_phones(sheet, rule):
                doubtful.append(sheet.name)
    if len(found) > 1:  # a sheet of notes has just one column, too
        found = [one for one in found if one.layout.sure] or found
    names = [one.sheet.name for one in found]
    if len(names + doubtful) > 1:
        raise source.fault(
            f"several sheets hold phones: {' and '.join(map(repr, names + doubtful))}",
            hint="Save the one that is meant on its own.",
        )
    if faults and not found:
        raise faults[0]
    if hidden and not found:
        raise source.fault(
            f"only hidden sheets hold anything: {', '.join(map(repr, hidden[:10]))}",
            hint="Show the sheet that is meant, and save.",
        )
    return found[0] if found else None


def _has_phones(sheet: Sheet, rule: PhoneRule) -> bool:
    """Tell whether a column of a sheet that cannot be read holds phones all the same."""
    if rule == "opaque":
        return False
    for place, column in enumerate(zip(*sheet.rows, strict=True)):
        filled = [text for text in column if text.strip()]
        if place not in sheet.hidden_columns and len(normalise_many(filled, rule).bad) * 2 < len(filled):
            return True
    return False


def _fault_of(source: Source, sheet: str) -> Callable[..., Fault]:
    def fault(message: str, *, hint: str = "") -> Fault:
        return source.fault(f"sheet {sheet!r}: {message}", hint=hint)

    return fault


# ---- its rows -----------------------------------------------------------------------------------------


def _read_sheet(source: Source, reader: WorkbookReader, spec: ListSpec, found: _Found) -> Iterator[Rows]:
    sheet, layout = found.sheet, found.layout
    fault = _fault_of(source, sheet.name)
    if spec.phone_column is None and layout.phone in sheet.hidden_columns:
        raise fault(
            f"column {layout.phone + 1} {layout.read.header!r}, which holds the phones, is hidden",
            hint=hint_of_key(spec, f"phone_column: {layout.phone + 1}", "if that column is meant"),
        )
    columns = [layout.phone] if layout.user is None else [layout.phone, layout.user]
    hidden = 0
    for stretch in reader.rows(sheet, columns, found.last_header_row):
        rows = _rows_of(f"{source.name}!{sheet.name}", stretch, layout, skip=spec.hidden_rows == "skip")
        hidden += rows.hidden
        if spec.hidden_rows is not None or not hidden:
            yield rows
    if hidden and spec.hidden_rows is None:
        raise fault(
            f"{hidden:,} rows with a value in the phone column are hidden, by a filter or by hand",
            hint=hint_of_key(spec, "hidden_rows: skip", "or include"),
        )


def _rows_of(name: str, stretch: SheetRows, layout: Layout, *, skip: bool) -> Rows:
    """Return the rows that have a phone cell; of the hidden ones among them just the number, if told so."""
    texts = stretch.texts[0]
    unseen = frozenset(stretch.hidden)
    filled = [index for index, text in enumerate(texts) if text and not text.isspace()]
    hidden = len(unseen.intersection(filled))
    blank = len(texts) - len(filled)
    if skip and unseen:
        blank -= len(unseen.difference(filled))
        filled = [index for index in filled if index not in unseen]
    has_users = len(stretch.texts) > 1
    return Rows(
        name,
        [stretch.lines[index] for index in filled],
        [texts[index] for index in filled],
        [stretch.texts[1][index] for index in filled] if has_users else None,
        _flaws(stretch.flaws[0], filled, _IN_PHONES),
        _flaws(stretch.flaws[1], filled, _IN_USERS) if has_users else {},
        column=layout.read,
        blank=blank,
        hidden=hidden,
    )


def _flaws(flaws: dict[int, str], filled: Sequence[int], words: dict[str, str]) -> dict[int, str]:
    """Return the flaws of the rows that are left, by their new places and in the words of one column."""
    if not flaws:
        return {}
    found = {place: flaws[index] for place, index in enumerate(filled) if index in flaws}
    return {place: word for place, flaw in found.items() if (word := words.get(flaw, flaw))}
