"""Which column of a table holds the phones: by the job's word, by its header, or by what stands in it.

Keeps "columns are found by header, or by content when just one holds phones; two candidates are an error that
lists both". Never picks between two columns, and never takes a row for a header that holds a phone.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runner.errors import Fault
from runner.lists.rows import ListSpec, Rows
from runner.phones import BadPhone, PhoneRule, mask, normalise

__all__ = ["SAMPLE_ROWS", "TITLE_ROWS", "Layout", "find_layout", "names_columns", "rows_of"]

SAMPLE_ROWS = 1000
"""Rows looked at to find the columns, at most."""
TITLE_ROWS = 10
"""A header stands among the first rows; what is above it is a title."""
_ENOUGH = 0.5
"""Share of a column's filled cells that must be phones, for the column to hold phones."""

_KNOWN_NAMES = """
    phone phones phoneno phonenum phonenumber phonenumbers mobile mobiles mobileno mobilenum mobilenumber
    mobilephone mobilephonenumber tel telno telephone telephoneno telephonenumber cell cellphone
    cellphonenumber msisdn contactphone contactnumber customerphone
    手机 手机号 手机号码 手机电话 电话 电话号 电话号码 号码 联系电话 联系手机 联系号码 联系方式 联系人电话
    联系人手机 移动电话 客户电话 客户手机 客户手机号 客户手机号码 客户号码 用户手机 用户手机号 被叫 被叫号码
    手機 手機號 手機號碼 電話 電話號碼 號碼 聯絡電話
"""
_PHONE_NAMES = frozenset(_KNOWN_NAMES.split())
_USER_NAMES = frozenset({"userid", "user", "uid", "用户", "用户id", "用户编号", "账号", "账号id", "坐席id"})
_DATE = r"(?:19|20)[0-9]{2}[-./]?[0-9]{1,2}[-./]?[0-9]{1,2}"
_BARE_NUMBER = re.compile(rf"(?!{_DATE}$)[0-9+() .-]{{5,}}")
_NOT_IN_NAMES = dict.fromkeys(map(ord, " \t\r\n_-.*:#'\"()[]"))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things stand in a table; columns counted from 0.

    Args:
        width: Columns of a whole row.
        phone: The phone column.
        user: The user column, if one was asked for.
        skip: Leading rows that are title and header, no data.
        sure: Whether the phone column goes by its name or holds phones, and is not just the only one.
    """

    width: int
    phone: int
    user: int | None
    skip: int
    sure: bool = True


def fold_name(name: str) -> str:
    """Return a column's name as names are compared: NFKC, caseless, without spaces, marks and punctuation."""
    plain = unicodedata.normalize("NFKC", name).casefold().translate(_NOT_IN_NAMES)
    return "".join([char for char in plain if unicodedata.category(char) not in {"Cf", "Zs"}])


def _asked_names(spec: ListSpec) -> set[str]:
    return {fold_name(column) for column in (spec.phone_column, spec.user_column) if isinstance(column, str)}


def names_columns(row: Sequence[str], spec: ListSpec) -> bool:
    """Tell whether a row holds a column's name that the job gives or that everybody knows."""
    return not {fold_name(cell) for cell in row}.isdisjoint(_asked_names(spec) | _PHONE_NAMES | _USER_NAMES)


def find_layout(
    sample: Sequence[Sequence[str]], spec: ListSpec, rule: PhoneRule, fault: Callable[..., Fault]
) -> Layout:
    """Find the columns from the first rows of a table, none of them blank; there must be one at least.

    Args:
        sample: Up to `SAMPLE_ROWS` rows.
        spec: What the job says of the columns.
        rule: What counts as a phone.
        fault: Makes the fault that names the source.

    Raises:
        Fault: A column that was asked for is not there, or the phone column is in doubt.
    """
    return _Finder(sample, spec, rule, fault).layout()


class _Finder:
    def __init__(
        self, sample: Sequence[Sequence[str]], spec: ListSpec, rule: PhoneRule, fault: Callable[..., Fault]
    ) -> None:
        self.sample, self.spec, self.rule, self.fault = sample, spec, rule, fault
        self.header = self._find_header()
        rows = sample if self.header is None else sample[self.header :]
        widths = [len(row) for row in rows]
        usual = max(set(widths), key=lambda width: (widths.count(width), width))
        self.width = usual if self.header is None else widths[0]
        self.names = [name.strip() for name in rows[0]] if self.header is not None else []
        self.folded = [fold_name(name) for name in self.names]

    def layout(self) -> Layout:
        user = None if self.spec.user_column is None else self._asked(self.spec.user_column, "user")
        if self.spec.phone_column is not None:
            phone = self._asked(self.spec.phone_column, "phone")
        else:
            phone = self._by_name(user)
        if phone == user:
            raise self.fault(f"column {phone + 1} cannot be both phone and user column", hint=self._hint())
        skip = 0 if self.header is None else self.header + 1
        if self.header is None and self._is_unnamed_header(self.sample[0], phone):
            skip = 1
        sure = (
            isinstance(self.spec.phone_column, str) or self._goes_by_name(phone) or self._holds_phones(phone)
        )
        return Layout(self.width, phone, user, skip, sure)

    def _goes_by_name(self, column: int) -> bool:
        return column < len(self.folded) and self.folded[column] in _PHONE_NAMES

    # ---- header

    def _find_header(self) -> int | None:
        """Return the index of the header among the first rows, or None."""
        asked = _asked_names(self.spec)
        top = self._rows_without_numbers()
        folded = [{fold_name(cell) for cell in row} for row in top]
        for names in (asked, _PHONE_NAMES | _USER_NAMES):
            for index, cells in enumerate(folded):
                if cells & names:
                    return index
        return 0 if top and any(not name.isdigit() for name in asked) else None

    def _rows_without_numbers(self) -> Sequence[Sequence[str]]:
        """Return the rows at the top that hold no phone and nothing like one: titles, and a header."""
        most = 1 if self.rule == "opaque" else TITLE_ROWS
        for index, row in enumerate(self.sample[:most]):
            if any(_BARE_NUMBER.fullmatch(cell.strip()) or self._is_phone(cell) for cell in row):
                return self.sample[:index]
        return self.sample[:most]

    def _is_unnamed_header(self, row: Sequence[str], phone: int) -> bool:
        """Tell whether the first row is a header in unknown words: no digit where a phone is due."""
        if self.rule == "opaque" or len(self.sample) < 2 or phone >= len(row):
            return False
        cell = row[phone].strip()
        return bool(cell) and not any(unicodedata.category(char)[0] == "N" for char in cell)

    # ---- columns

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
        found = exact or [i for i, name in enumerate(self.folded) if name == fold_name(column)]
        if len(found) == 1:
            return found[0]
        if found:
            raise self.fault(
                f"the {what} column {column!r} stands there twice: {self._list(found)}", hint=self._hint(what)
            )
        if column.isascii() and column.isdigit() and len(column) < 5:  # a number, from where all is text
            return self._asked(int(column), what)
        raise self.fault(
            f"there is no {what} column {column!r}: there are {self._columns()}", hint=self._hint(what)
        )

    def _by_name(self, user: int | None) -> int:
        found = [i for i in range(self.width) if i != user and self._goes_by_name(i)]
        if len(found) > 1:
            raise self.fault(f"several columns may hold the phones: {self._list(found)}", hint=self._hint())
        return found[0] if found else self._by_content(user)

    def _by_content(self, user: int | None) -> int:
        others = [i for i in range(self.width) if i != user]
        if len(others) == 1:
            return others[0]
        found = [i for i in others if self._holds_phones(i)]
        if len(found) == 1:
            return found[0]
        if found:
            raise self.fault(f"several columns hold phones: {self._list(found)}", hint=self._hint())
        raise self.fault(f"no column holds phones: there are {self._columns()}", hint=self._hint())

    def _holds_phones(self, column: int) -> bool:
        rows = self.sample[1:] or self.sample
        filled = [row[column] for row in rows if column < len(row) and row[column].strip()]
        return bool(filled) and sum(map(self._is_phone, filled)) >= _ENOUGH * len(filled)

    def _is_phone(self, value: str) -> bool:
        if self.rule == "opaque":
            return False
        try:
            return bool(normalise(value, self.rule))
        except BadPhone:
            return False

    # ---- words

    def _hint(self, what: str = "phone") -> str:
        return f"Say which in a job file: {what}_column: NAME, or its number from 1."

    def _columns(self) -> str:
        return self._list(range(self.width))

    def _list(self, columns: Sequence[int]) -> str:
        shown = [f"{i + 1} {self._name(i)}".strip() for i in columns[:20]]
        return ", ".join(shown) + (", …" if len(columns) > len(shown) else "")

    def _name(self, column: int) -> str:
        if column < len(self.names):
            return repr(self.names[column][:40])
        cell = next((row[column] for row in self.sample if column < len(row) and row[column].strip()), "")
        return f"(such as {mask(cell)})" if cell else ""


def rows_of(
    source: str,
    layout: Layout,
    rows: Sequence[Sequence[str]],
    lines: Sequence[int],
    flaws: dict[tuple[int, int], str] | None = None,
) -> Rows:
    """Take the wanted columns out of some rows; blank rows are left out, rows of a wrong width are flawed.

    Args:
        source: What to call the source.
        layout: Which columns.
        rows: Cells as text.
        lines: The line of each row.
        flaws: (Index into `rows`, column) → reason, as the format found them.
    """
    phone, user, width = layout.phone, layout.user, layout.width
    out = Rows(source, [], [], None if user is None else [], {})
    kept: list[int] = []
    for index, row in enumerate(rows):
        if (phone >= len(row) or not row[phone].strip()) and not any(map(str.strip, row)):
            continue
        flaw = flaws.get((index, phone)) if flaws else None
        if len(row) != width:
            flaw = flaw or _flaw_of_width(row, layout)
        if flaw is not None:
            out.flaws[len(kept)] = flaw
        kept.append(lines[index])
        out.values.append(row[phone] if phone < len(row) else "")
        if user is not None and out.users is not None:
            out.users.append(row[user] if user < len(row) else "")
    return Rows(source, kept, out.values, out.users, out.flaws)


def _flaw_of_width(row: Sequence[str], layout: Layout) -> str | None:
    """Return what a row of a wrong width suffers from, if it does: empty cells at its end may be absent."""
    if any(map(str.strip, row[layout.width :])):
        return "columns"
    return "missing" if len(row) <= max(layout.phone, layout.user or 0) else None
