"""The protect file as it is read: whole, or not at all.

Keeps "the protect file is read whole or refused: all its sheets and phone columns, each line": every row
names a number, every filled cell of a column that holds phones names one, and a mobile in any other column is
protected, too. What cannot be read is a refusal with its line, never a note. Memory holds the numbers alone.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from runner.errors import Fault, Faults
from runner.lists.columns import SAMPLE_ROWS, find_header
from runner.lists.headers import looks_like_phone
from runner.lists.read import read_cells
from runner.lists.rows import CellRows, ListSpec
from runner.phones import REASONS, BadPhone, PhoneRule, mask, normalise_many
from runner.plan.protect import ProtectList
from runner.plan.protect_numbers import might_be_number, mobiles_in, protected_forms

__all__ = ["read_protect_file"]

_PLACE: Final = "protect_file"
_MOST_SHOWN: Final = 20
_HINT: Final = (
    "Write every protected number out, one a row, and take out what is none; a header is phone or 手机号."
)


def read_protect_file(path: str | Path, rule: PhoneRule) -> ProtectList:
    """Read a protect file, in any format that a list may have; every path that sends reads it anew.

    Each value protects the phone that it is under `rule`, each mobile that stands in it, and itself as it
    stands.

    Raises:
        Refused: It is missing or unreadable, or a row of it does not say for sure which number it names: the
            first twenty of them with file and line, and how many there are.
    """
    protected = ProtectList(rule)
    sources: list[_SourceRead] = []
    for rows in read_cells(ListSpec(paths=(str(path),), place=_PLACE)):
        if not sources or sources[-1].name != rows.source:
            sources.append(_SourceRead(rows, protected))
        sources[-1].take(rows)
    named = [source for source in sources if source.named or source.is_unsure]
    _raise_faults(named or sources)
    protected.seal()
    protected.notes = tuple(_notes(path, rule, sources))
    return protected


def _raise_faults(sources: Sequence["_SourceRead"]) -> None:
    faults = [fault for source in sources for fault in source.faults][:_MOST_SHOWN]
    more = sum(source.unread for source in sources) - len(faults)
    if more:
        faults.append(Fault("", f"and {more:,} more such lines"))
    if faults:
        raise Faults(tuple(faults), hint=_HINT)


def _notes(path: str | Path, rule: PhoneRule, sources: Sequence["_SourceRead"]) -> Iterator[str]:
    named, strange = sum(source.named for source in sources), sum(source.strange for source in sources)
    if not named:
        yield f"protect file {path}: it is empty and protects nothing"
    if strange:
        yield (
            f"protect file {path}: {strange:,} of {named:,} values are no phones under the rule {rule}; "
            "they protect only what is spelled the same"
        )
    for source in sources:
        if source.unread:  # a sheet of words beside one of numbers
            yield f"protect file {source.name}: no number stands there"


class _SourceRead:
    """One file, or one sheet of a workbook, while it is read.

    Args:
        first: Its first rows, which tell its columns.
        protected: Where the numbers go.

    `named` is how many values name a number, `strange` how many of them no phone of the rule; `unread` is how
    many rows name none for sure, the first of them in `faults`; `is_unsure` tells whether one of those holds
    something that might be a number.
    """

    def __init__(self, first: CellRows, protected: ProtectList) -> None:
        self.name = first.source
        self.named = self.strange = self.unread = 0
        self.is_unsure = False
        self.faults: list[Fault] = []
        self._protected = protected
        self._titles, self._strict = _look(first, protected.rule)

    def take(self, rows: CellRows) -> None:
        """Protect what some rows name."""
        named: set[int] = set()
        wrong: dict[int, tuple[str, str]] = {}
        for place, column in enumerate(rows.columns):
            filled = [index for index, text in enumerate(column) if text and not text.isspace()]
            if self._strict is None or (rows.names[place] if rows.names else place) in self._strict:
                flaws = rows.flaws[place]
                wrong |= {index: (column[index], flaw) for index, flaw in flaws.items()}
                self._take_numbers(column, [i for i in filled if i not in flaws], named, wrong)
                self.is_unsure = self.is_unsure or bool(flaws)
            else:
                self._protected.add(mobiles_in("\n".join([column[index] for index in filled])))
        for index in range(len(rows.lines)):
            if index in wrong and not self._is_title(rows, index):
                self._refuse(rows, index, wrong[index][0], REASONS[wrong[index][1]])
            elif index not in named:
                self._take_rest(rows, index)
        self._titles = 0

    def _take_numbers(
        self, column: list[str], filled: list[int], named: set[int], wrong: dict[int, tuple[str, str]]
    ) -> None:
        """Protect the cells of a column that holds phones; those that name none for sure are wrong."""
        values = [column[index] for index in filled]
        ruled = normalise_many(values, self._protected.rule)
        bad = ruled.bad
        self._protected.add(phone for phone in ruled.phones if phone is not None)
        raw = [value.strip() for value in values]
        self._protected.add(value for value, phone in zip(raw, ruled.phones, strict=True) if value != phone)
        if self._protected.rule != "mobile_cn":
            self._protected.add(mobiles_in("\n".join(values)))
        self.named += len(values)
        named.update(filled if not bad else (index for i, index in enumerate(filled) if i not in bad))
        for place, reason in bad.items():
            try:
                forms, is_phone = protected_forms(values[place], self._protected.rule, reason)
            except BadPhone as error:
                wrong[filled[place]] = (values[place], error.reason)
                self.named -= 1
                continue
            self._protected.add(forms)
            self.strange += not is_phone
            named.add(filled[place])

    def _take_rest(self, rows: CellRows, index: int) -> None:
        """Judge a row of which no phone column names a number: another column may name one."""
        cells = [column[index] for column in rows.columns if column[index].strip()]
        if any(map(mobiles_in, cells)):
            self.named += 1
        elif cells and not self._is_title(rows, index):
            self._refuse(rows, index, cells[0], "no number stands there")

    def _is_title(self, rows: CellRows, index: int) -> bool:
        """Tell whether a row stands in or above the header and has nothing like a number in it."""
        return index < self._titles and not any(might_be_number(column[index]) for column in rows.columns)

    def _refuse(self, rows: CellRows, index: int, value: str, words: str) -> None:
        self.unread += 1
        self.is_unsure = self.is_unsure or might_be_number(value)
        if len(self.faults) < _MOST_SHOWN:
            place = f"{_PLACE}: {rows.source}:{rows.lines[index]}"
            self.faults.append(Fault(place, f"{mask(value)}: {words}"))


def _look(first: CellRows, rule: PhoneRule) -> tuple[int, frozenset[int | str] | None]:
    """Return how many of the first rows are titles, and the places or names of the columns that hold phones.

    None means all columns: where none goes by its name and none is full of numbers, each must name them.
    """
    rows = enumerate(zip(*first.columns, strict=True))
    filled = list(islice(((index, row) for index, row in rows if any(map(str.strip, row))), SAMPLE_ROWS))
    if not filled:
        return 0, None
    if first.names:
        skip, names = 0, list(first.names)
    else:
        skip, names = find_header([row for _, row in filled], rule)
    names += [""] * (len(first.columns) - len(names))
    body = [row for _, row in filled[skip:]]
    found = [
        place
        for place, name in enumerate(names)
        if looks_like_phone(name) or _holds_numbers([row[place] for row in body], rule)
    ]
    keys: list[int | str] = [names[place] for place in found] if first.names else [*found]
    return (filled[skip - 1][0] + 1 if skip else 0), frozenset(keys) or None


def _holds_numbers(cells: Sequence[str], rule: PhoneRule) -> bool:
    """Tell whether half of the filled cells of a column or more name a number, words around it or not."""
    filled = [cell for cell in cells if cell.strip()]
    if rule == "opaque" or not filled:
        return False
    bad = normalise_many(filled, rule).bad
    return 2 * sum(1 for index in bad if not mobiles_in(filled[index])) <= len(filled)
