"""Which numbers a cell of a protect file names, words around them or not. Pure.

For protecting, one number too many is safe and one too few is not: every number that stands clearly in a cell
is taken, and a cell with something in it that might be another number, and cannot be read, is unsure as a
whole. Never guesses a digit.
"""

import re
import unicodedata

from runner.phones import BadPhone, PhoneRule, normalise

__all__ = ["might_be_number", "mobiles_in", "protected_forms"]

_BETWEEN = r"[ .()-]{0,2}"
_MOBILE = re.compile(rf"(?<![0-9])(?:(?:\+|00)?86{_BETWEEN})?(1[3-9][0-9](?:{_BETWEEN}[0-9]){{8}})(?![0-9])")
"""A mobile among other words; longer runs of digits are none."""
_WHOLE_MOBILE = re.compile(r"1[3-9][0-9]{9}")
_GROUP = re.compile(rf"[0-9](?:{_BETWEEN}[0-9])*")
"""Digits that might be one number."""
_RUN = re.compile(r"[0-9]+")
_SHORTEST = 7
"""Digits in a number at least; a year, an extension or a house has fewer."""
_DATE = re.compile(
    r"(?<![0-9])(?:19|20)[0-9]{2}[-./]?(?:0?[1-9]|1[0-2])[-./]?(?:0?[1-9]|[12][0-9]|3[01])(?![0-9])"
    r"(?:[ T]?[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?)?"
)
_SCIENTIFIC = re.compile(r"[0-9](?:[.,][0-9]+)?[eE]\+?[0-9]{1,2}(?![0-9A-Za-z])")
_ENCRYPTED = re.compile(
    r"(?=[0-9]*[a-fA-F])(?:[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64})"
    r"|(?=.*[A-Za-z])(?!.*[0-9]{7})[A-Za-z0-9+/]{16,}={0,2}"
)
"""A hash or an encrypted value; a number and a name are shorter, or hold something else."""
_LOST = frozenset({"scientific", "float", "digits"})
"""Reasons that mean: a number stands here, and its digits cannot be trusted."""
_UNPLANNED = frozenset({"landline", "country"})
"""Reasons that mean: a number, and one that no list of mobiles can name."""
_MAYBE = re.compile(r"\d(?:[^\w\n]{0,6}\d){10}")
"""What every mobile matches, in whatever digits, and with whatever marks between."""
_NO_DIGIT = "\0"


class _Plain(dict[int, str]):
    """What each character is in plain text: full-width forms narrow, dashes one, marks nothing."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        category = unicodedata.category(char)
        if category[0] == "N" and not "0" <= char <= "9" and not "\uff10" <= char <= "\uff19":
            plain = _NO_DIGIT
        elif category in {"Cf", "Pd", "Zs"}:
            plain = {"Cf": "", "Pd": "-", "Zs": " "}[category]
        else:
            plain = unicodedata.normalize("NFKC", char)
        self[code] = plain
        return plain


_PLAIN = _Plain({9: " ", 0x2212: "-"})


def protected_forms(value: str, rule: PhoneRule, reason: str) -> tuple[set[str], bool]:
    """Return every form under which a cell protects that is no phone as it stands, and whether it names one.

    One that does not is a landline or a foreign number under `mobile_cn`, or an encrypted value: it protects
    what is spelled the same.

    Raises:
        BadPhone: Nobody can say which number it names, or whether it names one.
    """
    text = value.strip()
    if rule == "opaque" and (found := mobiles_in(text)):  # beside what no plan can hold, such as a tab
        return found, True
    if rule == "opaque" or reason in _LOST:
        raise BadPhone(reason)
    plain = text.translate(_PLAIN)
    if reason in _UNPLANNED:  # +138… may be a mobile with a sign too many
        digits = _digits(plain)
        return {text} | ({digits} if _WHOLE_MOBILE.fullmatch(digits) else set()), False
    if _NO_DIGIT in plain:
        raise BadPhone("digits")
    mobiles, rest = _take_mobiles(plain)
    if _ENCRYPTED.fullmatch(text):
        return {text} | mobiles, bool(mobiles)
    if _SCIENTIFIC.search(rest):
        raise BadPhone("scientific")
    others = _numbers_in(rest) if rule == "number" else _unplanned_in(rest, several=bool(mobiles))
    if not mobiles | others:
        raise BadPhone(reason)
    return {text} | mobiles | others, bool(mobiles) or rule == "number"


def mobiles_in(text: str) -> set[str]:
    """Return the mobiles that stand clearly in a text of any length; a line break ends a number."""
    return _take_mobiles(text.translate(_PLAIN))[0] if _MAYBE.search(text) else set()


def might_be_number(text: str) -> bool:
    """Tell whether a text holds so many digits, dates aside, that a number may be meant, whole or not."""
    plain = text.translate(_PLAIN)
    groups = _GROUP.findall(_DATE.sub("|", plain))
    return any(len(_digits(group)) >= _SHORTEST for group in groups) or bool(_SCIENTIFIC.search(plain))


def _take_mobiles(plain: str) -> tuple[set[str], str]:
    """Return the mobiles in a plain text, and what is left without them."""
    return {_digits(match[1]) for match in _MOBILE.finditer(plain)}, _MOBILE.sub("|", plain)


def _digits(text: str) -> str:
    return "".join(_RUN.findall(text))


def _unplanned_in(rest: str, *, several: bool) -> set[str]:
    """Return the landlines beside the mobiles; a date is no number, anything else is unsure."""
    found: set[str] = set()
    for match in _GROUP.finditer(_DATE.sub("|", rest)):
        if len(_digits(match[0])) < _SHORTEST:
            continue
        try:
            found.add(normalise(match[0], "mobile_cn"))
        except BadPhone as error:
            if error.reason not in _UNPLANNED:
                raise BadPhone("several" if several else error.reason) from error
            found.add(_digits(match[0]))
    return found


def _numbers_in(rest: str) -> set[str]:
    """Return the numbers in a text, each as it stands together and as its parts."""
    found: set[str] = set()
    for match in _GROUP.finditer(rest):
        for digits in (_digits(match[0]), *_RUN.findall(match[0])):
            if len(digits) > 20:
                raise BadPhone("length")
            if len(digits) >= 5:
                found.add(digits)
    return found
