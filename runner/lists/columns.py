"""Which column of a table holds the phones: by the job's word, by its header, or by what stands in it.

Keeps "columns are found by header, or by content when just one holds phones; two candidates are an error that
lists both" and "a header that says something else is a doubt". Never picks between two columns, never takes a
row for a header that holds a phone, and never reads under a header that has another width than its rows.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import partial

from runner.errors import Fault
from runner.lists.headers import (
    fold_name,
    looks_like_phone,
    names_one_user,
    names_phone,
    names_user,
    other_word,
)
from runner.lists.hints import hint_of_key, hint_of_table
from runner.lists.rows import ColumnRead, HowFound, ListSpec
from runner.phones import BadPhone, PhoneRule, mask, mask_text, normalise
from runner.text import printable

__all__ = ["SAMPLE_ROWS", "TITLE_ROWS", "Layout", "find_header", "find_layout", "names_columns"]

SAMPLE_ROWS = 1000
"""Rows looked at to find the columns, at most."""
TITLE_ROWS = 10
"""A header stands among the first rows; what is above it is a title."""
_ENOUGH = 0.5
"""Share of a column's filled cells that must be phones, for the column to hold phones."""
_SOME = 0.1
"""The same share, for a column that is not read to be told of."""
_NEARLY_ALL = 0.8
"""Share of rows of one width that says how wide a row is, where it is not what the header says."""
_SHOWN_NAME = 40

_DATE = r"(?:19|20)[0-9]{2}[-./]?[0-9]{1,2}[-./]?[0-9]{1,2}"
_BARE_NUMBER = re.compile(rf"(?!{_DATE}$)[0-9+() .-]{{5,}}")
_ENOUGH_DIGITS = re.compile(r"(?:\D*\d){5}")
_WORDS = re.compile(r"[\w .()（）-]{1,30}")
_PLAIN_NAME = re.compile(r"[^\W\d]\w*")
_REMARK = ("#", "//")
_LONG_NUMBER = re.compile(r"[0-9]{5}")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things stand in a table; columns counted from 0.

    Args:
        width: Columns of a whole row.
        phone: The phone column.
        user: The user column, if one was asked for.
        skip: Leading rows that are title and header, no data.
        read: The phone column as it is shown, and how it was found.
        sure: Whether the phone column goes by its name or holds phones, and is not just the only one.
        other_names: What the header calls the other columns.
    """

    width: int
    phone: int
    user: int | None
    skip: int
    read: ColumnRead
    sure: bool = True
    other_names: frozenset[str] = frozenset()


def _asked_names(spec: ListSpec) -> set[str]:
    return {fold_name(column) for column in (spec.phone_column, spec.user_column) if isinstance(column, str)}


def names_columns(row: Sequence[str], spec: ListSpec) -> bool:
    """Tell whether a row holds a column's name that the job gives or that everybody knows."""
    asked = _asked_names(spec)
    return any(names_phone(cell) or names_user(cell) or fold_name(cell) in asked for cell in row)


def find_layout(
    sample: Sequence[Sequence[str]],
    spec: ListSpec,
    rule: PhoneRule,
    fault: Callable[..., Fault],
    *,
    hidden: Set[int] = frozenset(),
) -> Layout:
    """Find the columns from the first rows of a table, none of them blank; there must be one at least.

    Args:
        sample: Up to `SAMPLE_ROWS` rows.
        spec: What the job says of the columns.
        rule: What counts as a phone.
        fault: Makes the fault that names the source.
        hidden: Columns, from 0, that nobody sees: not taken unless the job or their header names them.

    Raises:
        Fault: A column that was asked for is not there, the phone column is in doubt, the header and the rows
            have different widths, or a list of one user names users itself.
    """
    return _Finder(sample, spec, rule, fault).layout(hidden)


def find_header(sample: Sequence[Sequence[str]], rule: PhoneRule) -> tuple[int, list[str]]:
    """Return how many of some rows are titles and a header, and the names in it; a header is known by a name.

    Args:
        sample: Up to `SAMPLE_ROWS` rows, none of them blank; one at least.
        rule: What counts as a phone.
    """
    finder = _Finder(sample, ListSpec(paths=()), rule, partial(Fault, ""))
    return (0 if finder.header is None else finder.header + 1), finder.names


class _Finder:
    def __init__(
        self, sample: Sequence[Sequence[str]], spec: ListSpec, rule: PhoneRule, fault: Callable[..., Fault]
    ) -> None:
        self.sample, self.spec, self.rule, self.fault = sample, spec, rule, fault
        self._shares: dict[int, float] = {}
        self.quiet = self._rows_without_numbers()
        self.header = self._named_header()
        self.names = [] if self.header is None else [name.strip() for name in sample[self.header]]
        self.body = sample if self.header is None else sample[self.header + 1 :]
        self.width = self._usual_width()

    def layout(self, hidden: Set[int]) -> Layout:
        self._refuse_other_users()
        if self.header is not None:
            self._refuse_shift(self.sample[self.header])
        user = None if self.spec.user_column is None else self._asked(self.spec.user_column, "user")
        phone, how = self._phone(user, hidden)
        if phone == user:
            raise self.fault(f"column {phone + 1} cannot be both phone and user column", hint=self._hint())
        if self.header is None:
            self.header = self._unnamed_header(phone)
            self.names = [] if self.header is None else [name.strip() for name in self.sample[self.header]]
        self._refuse_title_of_user()
        if how in {"content", "only"}:
            self._refuse_doubt(phone)
        elif how == "header":
            self._refuse_second_header(phone)
        passed = [i for i in range(self.width) if i not in (phone, user) and self._might_hold_phones(i)]
        read = ColumnRead(phone + 1, self._header_of(phone), how, tuple(map(self._title_of, passed)))
        skip = 0 if self.header is None else self.header + 1
        sure = how == "header" or isinstance(self.spec.phone_column, str) or self._holds_phones(phone)
        others = frozenset(self.names) - {self._name_of(phone), ""}
        return Layout(self.width, phone, user, skip, read, sure, others)

    # ---- header

    def _named_header(self) -> int | None:
        """Return the index of the header among the first rows, if names tell it: the job's, or known ones."""
        asked = _asked_names(self.spec)
        top = self.sample[:TITLE_ROWS]
        for rows in (self.quiet, top):
            for index, row in enumerate(rows):
                if not asked.isdisjoint(map(fold_name, row)):
                    return index
        for index, row in enumerate(top[:1] if self.rule == "opaque" else top):
            if any(map(self._is_phone, row)):
                break
            if any(names_phone(cell) or names_user(cell) for cell in row):
                return index
        return 0 if self.quiet and any(not name.isdigit() for name in asked) else None

    def _rows_without_numbers(self) -> Sequence[Sequence[str]]:
        """Return the rows at the top that hold no phone and nothing like one: titles, and a header."""
        most = 1 if self.rule == "opaque" else TITLE_ROWS
        for index, row in enumerate(self.sample[:most]):
            if any(_BARE_NUMBER.fullmatch(cell.strip()) or self._is_phone(cell) for cell in row):
                return self.sample[:index]
        return self.sample[:most]

    def _unnamed_header(self, phone: int) -> int | None:
        """Return the index of a header in words of its own, if there is one; what stands above is a title."""
        if len(self.sample) < 2:
            return None
        for cells in (min(2, self.width), 1):
            for index, row in enumerate(self.quiet):
                filled = sum(1 for cell in row if cell.strip())
                if filled >= cells and phone < len(row) and self._is_heading(row[phone].strip()):
                    if filled > 1:
                        self._refuse_shift(row)
                    return index
        return None

    def _is_heading(self, cell: str) -> bool:
        """Tell whether a cell above the phones is a word: no digit and no remark, or a name we know."""
        if not cell or _LONG_NUMBER.search(cell):
            return False
        plain = not any(unicodedata.category(char)[0] == "N" for char in cell) and not cell.startswith(
            _REMARK
        )
        if self.rule == "opaque" and not (plain and _WORDS.fullmatch(cell)):  # a value may be anything
            return False
        if self.rule == "opaque":
            return looks_like_phone(cell) or bool(other_word(cell))
        return plain or looks_like_phone(cell) or bool(other_word(cell))

    # ---- what is refused

    def _usual_width(self) -> int:
        """Return the width of a whole row: the header's, unless nearly all rows have another."""
        widths = [len(row) for row in self.body] or [len(self.names)]
        usual = max(set(widths), key=lambda width: (widths.count(width), width))
        if self.header is not None and widths.count(usual) < _NEARLY_ALL * len(widths):
            return len(self.names)
        return usual

    def _refuse_shift(self, header: Sequence[str]) -> None:
        """Refuse a header that most rows do not fit, unless the job gives the columns by number."""
        by_place = self._is_place(self.spec.phone_column) and (
            self.spec.user_column is None or self._is_place(self.spec.user_column)
        )
        if len(header) != self.width and not by_place:
            raise self.fault(
                f"the header has {len(header)} columns, nearly all rows have {self.width}: "
                "cells may have shifted",
                hint="Give every column a name; or, once you have looked: " + self._hint(name="3"),
            )

    def _refuse_other_users(self) -> None:
        found = [i for i, name in enumerate(self.names) if names_user(name)]
        if self.spec.user_column is None and found:
            raise self.fault(
                f"this list names users itself: {self._list(found)}; it was given for one user",
                hint=hint_of_table(self.spec, self._key_of(found[0])),
            )

    def _refuse_title_of_user(self) -> None:
        """Refuse a list of one user below a line that says whose its numbers are."""
        above = [] if self.header is None else self.sample[: self.header + 1]
        lines = [" ".join(filter(None, map(str.strip, row))) for row in above]
        found = next(filter(names_one_user, lines), None) if self.spec.user_column is None else None
        if found is not None:
            raise self.fault(
                f"this list names its user itself: {_shown(found)!r} stands above the numbers",
                hint="If that is the user whose numbers these are, take the line out.",
            )

    def _refuse_doubt(self, phone: int) -> None:
        """Refuse a column whose header says something else, in whichever of the first rows that stands."""
        above = [self._name_of(phone)]
        for row in self.sample[: 1 if self.rule == "opaque" else TITLE_ROWS]:
            cell = row[phone].strip() if phone < len(row) else ""
            above += [cell] if self._is_heading(cell) else []
        self._refuse_other_word(phone, above)

    def _refuse_second_header(self, phone: int) -> None:
        """Refuse a column with a second header below the one that was found, if that says something else."""
        row = self.body[0] if self.body and self.rule != "opaque" else []
        if phone < len(row) and not any(char.isdigit() for cell in row for char in cell):
            self._refuse_other_word(phone, [row[phone]])

    def _refuse_other_word(self, phone: int, headers: Sequence[str]) -> None:
        word = next(filter(None, map(other_word, headers)), "")
        if word:
            raise self.fault(
                f"column {self._list([phone])} may hold no phones: its header says {word!r}",
                hint=self._hint(name=self._key_of(phone)),
            )

    # ---- columns

    def _phone(self, user: int | None, hidden: Set[int]) -> tuple[int, HowFound]:
        """Return the phone column, and how it was found."""
        if self.spec.phone_column is not None:
            return self._asked(self.spec.phone_column, "phone"), "asked"
        others = [i for i in range(self.width) if i != user]
        named = [i for i in others if names_phone(self._name_of(i))]
        if len(named) > 1:
            named = [i for i in named if not self._holds_landlines(i)] or named
        if named:
            named += [i for i in others if i not in named and self._is_rival(i)]
            return self._only_one(named, "several columns may hold the phones"), "header"
        others = [i for i in others if i not in hidden]
        if len(others) == 1:
            return others[0], "only"
        holding = [i for i in others if self._holds_phones(i)]
        return self._only_one(holding, "several columns hold phones"), "content"

    def _only_one(self, found: Sequence[int], several: str) -> int:
        if len(found) == 1:
            return found[0]
        if found:
            raise self.fault(f"{several}: {self._list(sorted(found))}", hint=self._hint())
        raise self.fault(f"no column holds phones: there are {self._columns()}", hint=self._hint())

    def _asked(self, column: str | int, what: str) -> int:
        if isinstance(column, str):
            return self._named(column, what)
        if not 1 <= column <= self.width:
            raise self.fault(
                f"there is no {what} column {column}: there are {self._columns()}", hint=self._hint(what)
            )
        return column - 1

    def _named(self, column: str, what: str) -> int:
        exact = [i for i, name in enumerate(self.names) if name == column]
        found = exact or [i for i, name in enumerate(self.names) if fold_name(name) == fold_name(column)]
        if len(found) == 1:
            return found[0]
        if found:
            raise self.fault(
                f"the {what} column {column!r} stands there twice: {self._list(found)}", hint=self._hint(what)
            )
        if self._is_place(column):
            return self._asked(int(column), what)
        raise self.fault(
            f"there is no {what} column {_shown(column)!r}: there are {self._columns()}",
            hint=self._hint(what),
        )

    def _is_place(self, column: str | int | None) -> bool:
        """Tell whether the job gives a column's number; it is text where all is text."""
        if not isinstance(column, str):
            return column is not None
        named = fold_name(column) in map(fold_name, self.names)
        return not named and column.isascii() and column.isdigit() and len(column) < 5

    # ---- content

    def _holds_phones(self, column: int) -> bool:
        return self._share_of_phones(column) >= _ENOUGH

    def _is_rival(self, column: int) -> bool:
        """Tell whether a column whose name speaks of phones holds them, as far as anybody can see."""
        if self.rule == "opaque":
            return looks_like_phone(self._name_of(column)) and bool(self._filled(column))
        return self._holds_phones(column) and looks_like_phone(self._name_over(column))

    def _holds_landlines(self, column: int) -> bool:
        """Tell whether every cell of a column is a landline: 电话 beside 手机 often is one."""
        filled = self._filled(column) if self.rule == "mobile_cn" else []
        return bool(filled) and all(_is_landline(value) for value in filled)

    def _might_hold_phones(self, column: int) -> bool:
        """Tell whether a person should know that a column was passed over."""
        share = self._share_of_phones(column)
        like = looks_like_phone(self._name_of(column))
        return share >= _SOME or (like and share > 0) or self._is_rival(column)

    def _share_of_phones(self, column: int) -> float:
        share = self._shares.get(column)
        if share is None:
            filled = self._filled(column)
            share = sum(map(self._is_phone, filled)) / len(filled) if filled else 0.0
            self._shares[column] = share
        return share

    def _filled(self, column: int) -> list[str]:
        rows = self.body if self.header is not None else self.sample[1:] or self.sample
        return [row[column] for row in rows if column < len(row) and row[column].strip()]

    def _is_phone(self, value: str) -> bool:
        if self.rule == "opaque" or not _ENOUGH_DIGITS.match(value):
            return False
        try:
            return bool(normalise(value, self.rule))
        except BadPhone:
            return False

    # ---- words

    def _hint(self, what: str = "phone", name: str = "NAME") -> str:
        return hint_of_key(self.spec, f"{what}_column: {name}", "the column's name, or its number from 1")

    def _columns(self) -> str:
        return self._list(range(self.width))

    def _list(self, columns: Sequence[int]) -> str:
        shown = [f"{i + 1} {self._described(i)}".strip() for i in columns[:20]]
        return ", ".join(shown) + (", …" if len(columns) > len(shown) else "")

    def _described(self, column: int) -> str:
        if name := self._name_of(column):
            return repr(_shown(name))
        cells = [row[column].strip() for row in self.sample if column < len(row) and row[column].strip()]
        if not self.names and cells and self._is_heading(cells[0]) and self._holds_phones(column):
            return repr(_shown(cells[0]))
        return f"(such as {mask(cells[0])})" if cells else ""

    def _name_of(self, column: int) -> str:
        return self.names[column] if column < len(self.names) else ""

    def _name_over(self, column: int) -> str:
        """Return a column's name; of a blank one the next to its left: it may stand over several."""
        return next(filter(None, reversed(self.names[: column + 1])), "")

    def _key_of(self, column: int) -> str:
        """Return what a job calls a column: its name where that needs no quotes, else its number."""
        name = self._name_of(column)
        return name if _PLAIN_NAME.fullmatch(name) else str(column + 1)

    def _header_of(self, column: int) -> str:
        return _shown(self._name_of(column))

    def _title_of(self, column: int) -> str:
        return self._header_of(column) or f"column {column + 1}"


def _is_landline(value: str) -> bool:
    try:
        normalise(value, "mobile_cn")
    except BadPhone as error:
        return error.reason == "landline"
    return False


def _shown(name: str) -> str:
    """Return a header as it may be shown: bounded, and numbers masked."""
    return mask_text(printable(name[:_SHOWN_NAME]))
