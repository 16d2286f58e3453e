"""Phone numbers as text: what a value in a list stands for, and how a number may be shown. Pure.

Keeps promise 1 at the entrance: a value becomes a phone only when there is one way to read it; everything
else is bad, with a reason out of `REASONS`. Never guesses a digit, and never shows a number in full.

What is taken off (`mobile_cn` and `number`), each counted under its own kind: surrounding and inner spaces,
zero-width and bidi marks, full-width forms (NFKC), a leading apostrophe or backtick, Excel's `="…"`, a
leading `tel:` or `p:`, dashes, dots and brackets; and for `mobile_cn` the prefixes +86, 0086 and, when 13
digits stand there, 86. `number` keeps every digit and loses one leading `+`. `opaque` loses surrounding white
space only.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from runner.text import printable

__all__ = [
    "KINDS",
    "PHONE_RULES",
    "REASONS",
    "BadPhone",
    "Normalised",
    "PhoneRule",
    "mask",
    "mask_echoes",
    "mask_text",
    "normalise",
    "normalise_many",
]

PhoneRule = Literal["mobile_cn", "number", "opaque"]
PHONE_RULES: tuple[PhoneRule, ...] = get_args(PhoneRule)

MAX_OPAQUE = 512
"""Characters in an opaque value at most."""
_MAX_RAW = 2048
"""A longer value is no phone under any rule, whatever could be taken off it."""

REASONS = {
    "empty": "there is nothing in it",
    "scientific": "scientific notation: its last digits are lost",
    "float": "a number with a decimal point",
    "rounded": "a number whose last digits are lost: its cell or its format does not hold so many",
    "several": "more than one number",
    "characters": "it holds something other than digits and separators",
    "digits": "superscript, circled or foreign digits",
    "country": "a country code other than 86",
    "landline": "a landline number",
    "not_mobile": "eleven digits that do not begin with 13 to 19",
    "length": "too few or too many digits",
    "control": "control, invisible or unprintable characters",
    "too_long": f"more than {MAX_OPAQUE} characters",
    "missing": "the row has no such column",
    "columns": "the row has more or fewer columns than its table: its cells may have shifted",
    "not_text": "neither text nor a whole number",
    "negative": "a number below zero",
    "cell_error": "an error of the spreadsheet, such as #N/A",
    "padded": "a number that its cell shows with zeros before it",
    "shown": "a number that its cell shows as something else, or not at all",
    "no_value": "a formula without a stored value",
    "date": "a date",
}
"""Every reason for which a value is bad, by its stable word; from `missing` on they come from the formats."""

KINDS = {
    "space": "spaces taken off",
    "invisible": "zero-width and bidi marks taken off",
    "width": "full-width forms made plain",
    "apostrophe": "a leading apostrophe or backtick taken off",
    "scheme": "a leading tel: or p: taken off",
    "formula": 'Excel\'s ="…" taken off',
    "dash": "dashes taken off",
    "dot": "dots taken off",
    "bracket": "brackets taken off",
    "prefix": "+86, 0086 or 86 taken off",
    "plus": "a leading + taken off",
}
"""Every kind of change that is reported, by its stable word."""


class BadPhone(ValueError):
    """A value that is no phone; `reason` is one of the words of `REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}: {REASONS[reason]}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Normalised:
    """Many values after `normalise`.

    Args:
        phones: The phone, or None where the value is bad.
        bad: Index → reason, ascending.
        changed: How many good values were changed.
        kinds: Kind of change → how many good values it touched (one value may count under several).
    """

    phones: list[str | None]
    bad: dict[int, str]
    changed: int
    kinds: dict[str, int]


# ---- cleaning -----------------------------------------------------------------------------------------

_MOBILE = re.compile(r"1[3-9][0-9]{9}")
_SEVERAL_MOBILES = re.compile(r"(?:1[3-9][0-9]{9}){2,}")
_LANDLINE = re.compile(r"(?:010|02[0-9])[0-9]{7,8}|0[3-9][0-9]{8,10}|[48]00[0-9]{7}")
_NUMBER = re.compile(r"[0-9]{5,20}")
_SCIENTIFIC = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]*)?[eE][+-]?[0-9]+")
_FLOAT = re.compile(r"-?[0-9]+\.[0-9]*|-?\.[0-9]+")
_NEGATIVE = re.compile(r"[-\N{MINUS SIGN}][0-9]+")
_MONTH, _DAY_OF_MONTH = "(?:0?[1-9]|1[0-2])", "(?:0?[1-9]|[12][0-9]|3[01])"
_DAY = re.compile(
    rf"(?:19|20)[0-9]{{2}}([-./]){_MONTH}\1{_DAY_OF_MONTH}"
    rf"|{_DAY_OF_MONTH}([-./]){_MONTH}\2(?:19|20)[0-9]{{2}}|{_MONTH}([-./]){_DAY_OF_MONTH}\3(?:19|20)[0-9]{{2}}"
)
_SCHEME = re.compile(r"(?:tel|p): *", re.IGNORECASE)
_FORMULA = re.compile(r'= *"([^"]*)"|=([0-9]+)')
_LONG_RUN = re.compile(r"[0-9]{7,}")
_DIGITS = re.compile(r"\+?[0-9]+")

_APOSTROPHES = "'`\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
_DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212"  # hyphens, figure, en and em dash, bar, minus
_DOTS = ".\N{MIDDLE DOT}\N{BULLET}"
_BRACKETS = "()[]{}\N{LEFT BLACK LENTICULAR BRACKET}\N{RIGHT BLACK LENTICULAR BRACKET}"
_SEPARATORS = {"dash": _DASHES, "dot": _DOTS, "bracket": _BRACKETS, "space": " "}
_TAKEN_OFF = str.maketrans(dict.fromkeys("".join(_SEPARATORS.values())))
_PLAIN_DECOMPOSITIONS = ("<wide>", "<narrow>", "<font>", "<noBreak>")


def _strip_marks(value: str, kinds: list[str]) -> str:
    """Take off what nobody can see: format characters (category Cf) such as zero-width and bidi marks."""
    seen = "".join([char for char in value if unicodedata.category(char) != "Cf"])
    if seen != value:
        kinds.append("invisible")
    return seen


def _widen(value: str, kinds: list[str]) -> str:
    """Apply NFKC, but let no footnote or circled number become a digit of a phone."""
    plain = unicodedata.normalize("NFKC", value)
    if plain == value:
        return value
    for char in value:
        decomposition = unicodedata.decomposition(char)
        if decomposition.startswith("<") and not decomposition.startswith(_PLAIN_DECOMPOSITIONS):
            folded = unicodedata.normalize("NFKC", char)
            if any("0" <= c <= "9" for c in folded):
                raise BadPhone("digits")
    changed = [char for char in value if unicodedata.normalize("NFKC", char) != char]
    kinds += {"space" if char.isspace() else "width" for char in changed}
    return plain


def _unwrap(value: str, kinds: list[str]) -> str:
    """Take off the ways in which people and programs keep a spreadsheet from taking text for a number."""
    formula = _FORMULA.fullmatch(value)
    if formula is not None:
        kinds.append("formula")
        value = (formula[1] or formula[2] or "").strip()
    if value[:1] and value[0] in _APOSTROPHES:
        kinds.append("apostrophe")
        value = value[1:].strip()
    scheme = _SCHEME.match(value)
    if scheme is not None:
        kinds.append("scheme")
        value = value[scheme.end() :]
    return value


def _refuse_numerals(value: str) -> None:
    """Refuse what a spreadsheet made of a number: its digits cannot be trusted any more."""
    bare = value.replace(" ", "")
    if _SCIENTIFIC.fullmatch(bare):
        raise BadPhone("scientific")
    if _FLOAT.fullmatch(bare):
        raise BadPhone("float")
    if _NEGATIVE.fullmatch(value):
        raise BadPhone("negative")
    if _DAY.fullmatch(value):
        raise BadPhone("date")


def _clean(value: str) -> tuple[str, list[str]]:
    """Return the digits of a value, perhaps after a `+`, and the kinds of what was taken off."""
    kinds: list[str] = []
    if len(value) > _MAX_RAW:
        raise BadPhone("length")
    text = value.strip()
    if text != value:
        kinds.append("space")
    if not text.isascii():
        text = _widen(_strip_marks(text, kinds), kinds).strip()
    text = _unwrap(text, kinds)
    if not text:
        raise BadPhone("empty")
    _refuse_numerals(text)
    if len(_LONG_RUN.findall(text)) > 1:
        raise BadPhone("several")
    digits = text.translate(_TAKEN_OFF)
    if digits != text:
        kinds += [kind for kind, chars in _SEPARATORS.items() if any(char in text for char in chars)]
    if not _DIGITS.fullmatch(digits):
        raise BadPhone(_why_not_digits(text, digits))
    return digits, kinds


def _why_not_digits(text: str, digits: str) -> str:
    if not digits:
        return "empty"
    if len(_LONG_RUN.findall(digits)) > 1:  # 139-0000-0000/138-0000-0000
        return "several"
    if any(unicodedata.category(char)[0] == "N" and not "0" <= char <= "9" for char in text):
        return "digits"
    return "characters"


# ---- rules --------------------------------------------------------------------------------------------

_USUAL = re.compile(r"(\+86[ -]?|0086[ -]?|86[ -]?)?(1[3-9][0-9])([ -]?)([0-9]{4})\3([0-9]{4})")


def _mobile_cn(value: str) -> tuple[str, list[str]]:
    usual = _USUAL.fullmatch(value)
    if usual is None:
        return _mobile_cn_at_length(value)
    kinds = (
        ["prefix"] if usual[1] else []
    )  # a short cut for whole lists written so; the long way says the same
    if "-" in value:
        kinds.append("dash")
    if " " in value:
        kinds.append("space")
    return usual[2] + usual[4] + usual[5], kinds


def _mobile_cn_at_length(value: str) -> tuple[str, list[str]]:
    digits, kinds = _clean(value)
    number = digits
    if digits.startswith("+"):
        if not digits.startswith("+86"):
            raise BadPhone("country" if len(digits) > 5 else "length")
        number = digits[3:]
    elif digits.startswith("0086"):
        number = digits[4:]
    elif len(digits) == 13 and digits.startswith("86"):
        number = digits[2:]
    if number is not digits:
        kinds.append("prefix")
    if _MOBILE.fullmatch(number):
        return number, kinds
    raise BadPhone(_why_not_mobile(number))


def _why_not_mobile(number: str) -> str:
    if _SEVERAL_MOBILES.fullmatch(number):
        return "several"
    if _LANDLINE.fullmatch(number):
        return "landline"
    return "not_mobile" if len(number) == 11 else "length"


def _number(value: str) -> tuple[str, list[str]]:
    digits, kinds = _clean(value)
    if digits.startswith("+"):
        digits = digits[1:]
        kinds.append("plus")
    if not _NUMBER.fullmatch(digits):
        raise BadPhone("length")
    return digits, kinds


def _opaque(value: str) -> tuple[str, list[str]]:
    text = value.strip(" \t\r\n\N{NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}")
    if not text:
        raise BadPhone("empty")
    if not text.isprintable():
        raise BadPhone("control")
    if len(text) > MAX_OPAQUE:
        raise BadPhone("too_long")
    return text, ["space"] if text != value else []


_RULES = {"mobile_cn": _mobile_cn, "number": _number, "opaque": _opaque}

_CLEAN_RUNS = {
    "mobile_cn": re.compile(r"(?:1[3-9][0-9]{9}\n)*+"),
    "number": re.compile(r"(?:[0-9]{5,20}+\n)*+"),
    "opaque": re.compile(r"(?:[!-~]{1,512}+\n)*+"),
}
"""As many values as stand there that `normalise` would return unchanged, each followed by a newline."""


def normalise(value: str, rule: PhoneRule) -> str:
    """Return the phone that a value stands for.

    Raises:
        BadPhone: It is none under this rule.
    """
    return _RULES[rule](value)[0]


def normalise_many(values: list[str], rule: PhoneRule) -> Normalised:
    """Return what `normalise` makes of every value; 40 ns a value where most are clean already."""
    phones: list[str | None] = list(values)
    bad: dict[int, str] = {}
    kinds: dict[str, int] = {}
    changed = 0
    for index in _unclean(values, rule):
        value = values[index]
        try:
            phone, touched = _RULES[rule](value)
        except BadPhone as error:
            phones[index] = None
            bad[index] = error.reason
            continue
        if phone != value:
            phones[index] = phone
            changed += 1
            for kind in set(touched):
                kinds[kind] = kinds.get(kind, 0) + 1
    return Normalised(phones, bad, changed, kinds)


def _unclean(values: list[str], rule: PhoneRule) -> list[int]:
    """Return the indices of the values that need a closer look, by one scan over all of them joined."""
    joined = "\n".join(values) + "\n"
    if joined.count("\n") != len(values):  # a value holds a newline (or there is none): no scan can tell them
        return list(range(len(values)))
    run = _CLEAN_RUNS[rule]
    unclean: list[int] = []
    index, position, end = 0, 0, len(joined)
    while True:
        match = run.match(joined, position)
        clean_until = match.end() if match else position
        index += joined.count("\n", position, clean_until)
        if clean_until == end:
            return unclean
        unclean.append(index)
        position = clean_until + len(values[index]) + 1
        index += 1


# ---- showing ------------------------------------------------------------------------------------------

_HIDDEN = "****"
_SHORTEST_ECHO = 4
_RUN = re.compile(r"[0-9](?:-{0,3}[0-9]){6,}")
_DATE = re.compile(
    r"(?<![0-9])(?<![0-9][^0-9])(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    r"(?:[ T](?:[01][0-9]|2[0-3])(?::[0-5][0-9]){1,2}(?![0-9])|(?![^:]{0,3}[0-9]))",
    re.DOTALL,
)
"""A date, with its time, that cannot be a part of a longer number."""
_BETWEEN = frozenset("".join(_SEPARATORS.values()) + "_\t+\ufffd")
"""U+FFFD is what `printable` leaves of a character without a shape: a vendor's words pass it first."""

_GAP = re.compile(r"[\s\u00ad\u200b-\u200f\u2060\ufeff\ufffd]")
"""White space, and what nobody sees or `printable` replaced."""


def _mask_plain(text: str) -> str:
    """Show at most 7 of 11 characters, 4 of 7, none of fewer."""
    if len(text) >= 11:
        return text[:3] + _HIDDEN + text[-4:]
    if len(text) >= 7:
        return text[:2] + _HIDDEN + text[-2:]
    return _HIDDEN


def mask(value: str) -> str:
    """Return a value so that it can be shown: `174****8658`; never the whole of it, nothing unprintable."""
    folded = unicodedata.normalize("NFKC", value[:_MAX_RAW])
    shadow = _shadow(folded).replace("-", "")
    if shadow.isascii() and shadow.isalnum():
        return _mask_plain(shadow)
    return _mask_plain(printable(folded.strip()))


def _shadow(text: str) -> str:
    """Return a text of the same length with plain digits for digits and `-` for what may stand between."""
    return "".join([_shadow_of(char) for char in text])


@lru_cache(maxsize=4096)
def _shadow_of(char: str) -> str:
    if "0" <= char <= "9":
        return char
    if char in _BETWEEN or unicodedata.category(char) in {"Cf", "Zs"}:
        return "-"
    number = unicodedata.digit(char, None)
    return char if number is None else str(number)


def mask_text(text: str) -> str:
    """Return a text with every run of 7 or more digits masked, separators and full-width digits included.

    A date (`2024-07-26 00:00:00`) stays as it is.
    """
    return _mask_runs(text, _mask_plain)


def mask_echoes(words: str, values: Sequence[str]) -> str:
    """Return a vendor's words with what they echo taken out: any long number, and any of these values.

    Words that differ in that only come out alike. An encrypted value looks like no number; it is found
    however white space breaks it.
    """
    whole = _GAP.sub("", words)
    solid = _GAP.sub("", "\0".join(values)).split("\0")
    echoed = {value for value in solid if len(value) >= _SHORTEST_ECHO and value in whole}
    for value in sorted(echoed, key=len, reverse=True):
        words = re.sub(f"{_GAP.pattern}*".join(map(re.escape, value)), _HIDDEN, words)
    return _mask_runs(words, lambda _run: _HIDDEN)


def _mask_runs(text: str, shown: Callable[[str], str]) -> str:
    shadow = _shadow(text)
    for date in _DATE.finditer(text):
        shadow = shadow[: date.start()] + "x" * (date.end() - date.start()) + shadow[date.end() :]
    out: list[str] = []
    done = 0
    for match in _RUN.finditer(shadow):
        out += [text[done : match.start()], shown(match[0].replace("-", ""))]
        done = match.end()
    return "".join(out) + text[done:]
