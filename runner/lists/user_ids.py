"""What a spreadsheet leaves of a user id: told by its text, in any format. Pure.

Keeps "every flaw that spoils a phone spoils a user id" for ids that are text: scientific notation as programs
write it (`1.39E+17`), decimals, negatives, dates, booleans, empty marks (`NULL`, `NaN`, `-`) and errors of a
spreadsheet say no id. A word, a UUID, or digits around an `e` (`12e34` may be a hexadecimal id) say one.
"""

import re
from collections.abc import Iterable, Sequence

__all__ = ["UserIdCheck"]

_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_FLAWS = {
    "scientific": r"[+-]?[0-9]+(?:[.,][0-9]*)?[eE][+-][0-9]+|[+-]?[0-9]+[.,][0-9]*[eE][0-9]+",
    "float": r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+)",
    "negative": r"[-\u2212][0-9]+",
    "date": rf"""(?:19|20)[0-9]{{2}}([-./])[0-9]{{1,2}}\1[0-9]{{1,2}}(?:[ T].*)?|(?:19|20)[0-9]{{2}}年.*[月日]
        |[0-9]{{1,2}}([-./])[0-9]{{1,2}}\2(?:19|20)[0-9]{{2}}(?:[ T].*)?
        |[0-9]{{1,2}}-{_MONTH}(?:-[0-9]{{2,4}})?|{_MONTH}-[0-9]{{2}}""",
    "cell_error": r"\#[A-Z0-9/]+[!?]?",
    "not_text": r"(?i:true|false|null|nil|none|nan|undefined)|-+",
}
_FLAWED = {reason: re.compile(f"(?:{pattern})", re.VERBOSE) for reason, pattern in _FLAWS.items()}
_SUSPECT = re.compile(
    r"^[ \t]*(?:[0-9]{0,4}[-.,/+\u2212年#]|[0-9]+(?:[.,]|[eE][-+])|[A-Z][a-z]{2}-|[tfnu][a-z]+[ \t]*$).*",
    re.MULTILINE | re.IGNORECASE,
)
"""What the text of every flaw begins with, and few user ids do."""

_EXACT_DIGITS = 15
"""Digits of a number that a spreadsheet keeps; it makes zeros of those behind."""
_LOST_DIGITS = 6
"""So many zeros behind these digits are no chance."""
_MOST_KNOWN = 50_000
"""User ids that are kept to be known again."""


class UserIdCheck:
    """Looks at the user ids of one list, some thousands at a time; those that it knows already cost 20 ns."""

    def __init__(self) -> None:
        self._whole: set[str] = set()
        self._has_exact = False

    def flaws(self, users: Sequence[str]) -> dict[int, str]:
        """Return index → reason for the texts that say no user id."""
        if self._whole.issuperset(users):
            return {}
        new = set(users) - self._whole
        suspects = _SUSPECT.findall("\n".join(new))
        flawed = {user: reason for user in suspects if (reason := _flaw(user.strip()))}
        doubtful, lost = self._rounded(new)
        if lost >= _LOST_DIGITS:
            flawed |= dict.fromkeys(doubtful, "rounded")
        if len(self._whole) > _MOST_KNOWN:
            self._whole.clear()
        self._whole |= new.difference(flawed, doubtful)
        if not flawed:
            return {}
        return {index: flawed[user] for index, user in enumerate(users) if user in flawed}

    def _rounded(self, users: Iterable[str]) -> tuple[list[str], int]:
        """Return the numbers too long for a spreadsheet that end in zeros, and how many those are in all.

        A spreadsheet makes zeros of all digits behind the fifteenth. One id that ends so may be true; of
        several it is no chance, unless another one has its digits.
        """
        numbers = [(user, user.strip()) for user in users if len(user) > _EXACT_DIGITS]
        lost = [(user, text[_EXACT_DIGITS:]) for user, text in numbers if text.isdecimal()]
        self._has_exact = self._has_exact or any(digits.strip("0") for _, digits in lost)
        if self._has_exact:
            return [], 0
        return [user for user, _ in lost], sum(len(digits) for _, digits in lost)


def _flaw(user: str) -> str:
    return next((reason for reason, pattern in _FLAWED.items() if pattern.fullmatch(user)), "")
