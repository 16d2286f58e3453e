"""What a spreadsheet leaves of a user id: told by its text, in any format. Pure.

Keeps "every flaw that spoils a phone spoils a user id" for ids that are text: scientific notation as programs
write it (`1.39E+17`), decimals, negatives, dates, booleans, empty marks (`NULL`, `NaN`) and errors of a
spreadsheet say no id. A word, a UUID, or digits around an `e` (`12e34` may be a hexadecimal id) say one.
"""

import re
from collections.abc import Iterable, Sequence

__all__ = ["flaws_of_user_ids"]

_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_FLAWS = {
    "scientific": r"[+-]?[0-9]+(?:[.,][0-9]*)?[eE][+-][0-9]+|[+-]?[0-9]+[.,][0-9]*[eE][0-9]+",
    "float": r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+)",
    "negative": r"[-\u2212][0-9]+",
    "date": rf"""(?:19|20)[0-9]{{2}}([-./])[0-9]{{1,2}}\1[0-9]{{1,2}}(?:[ T].*)?|(?:19|20)[0-9]{{2}}年.*[月日]
        |[0-9]{{1,2}}([-./])[0-9]{{1,2}}\2(?:19|20)[0-9]{{2}}(?:[ T].*)?
        |[0-9]{{1,2}}-{_MONTH}(?:-[0-9]{{2,4}})?|{_MONTH}-[0-9]{{2}}""",
    "cell_error": r"\#[A-Z0-9/]+[!?]?",
    "not_text": r"(?i:true|false|null|nil|none|nan|undefined)",
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


def flaws_of_user_ids(users: Sequence[str]) -> dict[int, str]:
    """Return index → reason for the texts that say no user id; 50 ns a row where few users repeat often."""
    distinct = set(users)
    suspects = _SUSPECT.findall("\n".join(distinct))
    flawed = {user: reason for user in suspects if (reason := _flaw(user.strip()))}
    flawed |= dict.fromkeys(_rounded(distinct), "rounded")
    if not flawed:
        return {}
    return {index: flawed[user] for index, user in enumerate(users) if user in flawed}


def _flaw(user: str) -> str:
    return next((reason for reason, pattern in _FLAWED.items() if pattern.fullmatch(user)), "")


def _rounded(users: Iterable[str]) -> list[str]:
    """Return the numbers too long for a spreadsheet, if all of them end in zeros, which it makes of the rest.

    One that ends so may be true; of several it is no chance.
    """
    numbers = [
        (user, user.strip()) for user in users if len(user) > _EXACT_DIGITS and user.strip().isdecimal()
    ]
    lost = [digits[_EXACT_DIGITS:] for _, digits in numbers]
    if sum(map(len, lost)) < _LOST_DIGITS or "".join(lost).strip("0"):
        return []
    return [user for user, _ in numbers]
