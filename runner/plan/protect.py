"""Numbers that are never deleted, whatever a list says, held so that they can be asked for.

Keeps the promise of `protect_file` on every path that sends: a number matches in whatever form it stands, in
that file (`protect_file` reads it) or in a list. It never protects less than was added; that it protects a
strange value by a collision of 63-bit hashes is possible and harmless. Memory: 8 bytes a form, sorted in
parts so that sorting takes no more.
"""

import hashlib
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Final

from runner.phones import PhoneRule, normalise_many

__all__ = ["ProtectList"]

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
        self._filter = bytearray()  # 4 MiB, of which a run that protects nothing has no need

    def add(self, forms: Iterable[str]) -> None:
        """Protect these forms, too; call `seal` before asking."""
        self._filter = self._filter or bytearray(1 << _FILTER_BITS)
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
