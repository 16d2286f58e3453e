"""Numbers that are never deleted, whatever a list says: the protect file, held so that it can be asked.

Keeps the promise of `protect_file` on every path that sends: a file that is missing or unreadable is refused,
so is a value in it whose digits are not sure, and a number matches in whatever form it stands, here or
there. It never protects less than the file says; that it protects a strange value by a collision of 63-bit
hashes is possible and harmless. Memory: 8 bytes a form, sorted in parts so that sorting takes no more.
"""

import hashlib
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import compress
from pathlib import Path
from typing import Final

from runner.errors import Fault, Faults
from runner.lists.read import read_rows
from runner.lists.rows import ListSpec, Rows
from runner.phones import REASONS, PhoneRule, mask, normalise_many

__all__ = ["ProtectList", "read_protect_file"]

_UNSURE: Final = frozenset(
    {"scientific", "float", "rounded", "several", "digits", "missing", "columns", "not_text"}
)
"""Reasons that mean: a number stands here, and nobody can say which."""

_MAX_FAULTS: Final = 10
_PARTS: Final = 256
_FILTER_BITS: Final = 22
_FILTER: Final = (1 << _FILTER_BITS) - 1
_HASHED: Final = 1 << 63
_MOBILE: Final = re.compile(r"1[3-9][0-9]{9}")
_LIKE_A_PHONE: Final = re.compile(r"[+(]?[0-9][0-9 ().-]{6,30}")


class ProtectList:
    """Protected numbers, to be asked for many phones at once.

    Args:
        rule: Under which the phones that will be asked for were normalised.

    `forms` is how many forms of numbers it holds; `notes` are sentences that a person should hear.
    """

    def __init__(self, rule: PhoneRule) -> None:
        self.rule: PhoneRule = rule
        self.notes: tuple[str, ...] = ()
        self.forms = 0
        self._parts = [array("Q") for _ in range(_PARTS)]
        self._filter = bytearray(1 << _FILTER_BITS)

    def add(self, forms: Iterable[str]) -> None:
        """Protect these forms, too; call `seal` before asking."""
        parts, marks = self._parts, self._filter
        for form in forms:
            key = _key(form)
            parts[key % _PARTS].append(key)
            marks[key & _FILTER] = 1

    def seal(self) -> None:
        """Put what was added in order."""
        self._parts = [array("Q", sorted(set(part))) for part in self._parts]
        self.forms = sum(map(len, self._parts))

    def matches(self, phones: Sequence[str]) -> frozenset[str]:
        """Return those of some normalised phones that are protected."""
        if not self.forms:
            return frozenset()
        keys = list(map(_key, phones))
        marks = self._filter
        likely = [marks[key & _FILTER] for key in keys]
        found = {
            phone
            for phone, key in zip(compress(phones, likely), compress(keys, likely), strict=True)
            if self._holds(key)
        }
        if self.rule != "mobile_cn":
            found |= self._matches_as_mobiles(phones)
        return frozenset(found)

    def _matches_as_mobiles(self, phones: Sequence[str]) -> set[str]:
        """Return the phones that are protected mobiles in another spelling (a prefix, a dash)."""
        spelled = [phone for phone in phones if _LIKE_A_PHONE.fullmatch(phone)]
        mobiles = normalise_many(spelled, "mobile_cn").phones if spelled else []
        return {
            phone
            for phone, mobile in zip(spelled, mobiles, strict=True)
            if mobile is not None and mobile != phone and self._holds(_key(mobile))
        }

    def _holds(self, key: int) -> bool:
        part = self._parts[key % _PARTS]
        place = bisect_left(part, key)
        return place < len(part) and part[place] == key


def _key(form: str) -> int:
    """Return a mobile's own digits as a number; of anything else a hash, which is none of those numbers."""
    if len(form) == 11 and _MOBILE.fullmatch(form):
        return int(form)
    return int.from_bytes(hashlib.blake2b(form.encode(), digest_size=8).digest()) | _HASHED


def read_protect_file(path: str | Path, rule: PhoneRule) -> ProtectList:
    """Read a protect file, in any format that a list may have; every path that sends reads it anew.

    Each value protects the phone that it is under `rule`, the mobile that it is, and itself as it stands.

    Raises:
        Refused: It is missing or unreadable, or a value in it has lost digits or is two (file and line).
    """
    protected = ProtectList(rule)
    faults: list[Fault] = []
    values = strange = 0
    for rows in read_rows(ListSpec(paths=(str(path),), place="protect_file", of_nobody=True), rule=rule):
        values += len(rows.values)
        strange += _protect(protected, rows, faults)
        if len(faults) >= _MAX_FAULTS:
            break
    if faults:
        raise Faults(tuple(faults[:_MAX_FAULTS]), hint="Write every protected number out, one a row.")
    protected.seal()
    notes: list[str] = []
    if not values:
        notes.append(f"protect file {path}: it is empty and protects nothing")
    if strange:
        notes.append(
            f"protect file {path}: {strange:,} of {values:,} values are no phones under the rule {rule}; "
            "they protect only what is spelled the same"
        )
    protected.notes = tuple(notes)
    return protected


def _protect(protected: ProtectList, rows: Rows, faults: list[Fault]) -> int:
    """Add the forms of some rows; returns how many values are no phones."""
    ruled = normalise_many(rows.values, protected.rule)
    mobiles = ruled if protected.rule == "mobile_cn" else normalise_many(rows.values, "mobile_cn")
    for index, reason in sorted((ruled.bad | rows.flaws).items()):
        if reason in _UNSURE:
            place = f"{rows.source}:{rows.lines[index]}"
            faults.append(Fault(place, f"{mask(rows.values[index])}: {REASONS[reason]}"))
    protected.add(phone for phone in ruled.phones if phone is not None)
    if mobiles is not ruled:
        protected.add(phone for phone in mobiles.phones if phone is not None)
    raw = [value.strip() for value in rows.values]
    protected.add(value for value, phone in zip(raw, ruled.phones, strict=True) if value and value != phone)
    return len(ruled.bad.keys() - rows.flaws.keys())
