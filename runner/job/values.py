"""What one value of a job may be: a phone, a user id, a rate, a file's name … each checked by itself.

Keeps the promise that nothing is guessed: what a value does not say exactly is a fault, and a fault's words
never hold the value. Parsers of whole models stand in `schema`.
"""

import codecs
import math
from collections.abc import Iterator
from itertools import islice
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError, PydanticKnownError

from runner.job.document import DateText
from runner.job.messages import kind_of
from runner.job.windows import parse_instant, zone
from runner.model import is_safe_user_id
from runner.settings import Rate, parse_duration, parse_percent, parse_rate

__all__ = [
    "FAULTS_OF_ITEMS",
    "UNSAFE_USER_ID",
    "Column",
    "Count",
    "Duration",
    "Encoding",
    "File",
    "Files",
    "Instant",
    "Name",
    "Percent",
    "Phones",
    "RateText",
    "Timezone",
    "UserId",
    "check_phone",
    "check_user_id",
    "file_name",
]

UNSAFE_USER_ID = "only 1-128 ASCII letters, digits and . _ ~ - may stand in it: it becomes part of a path"
MAX_FILES = 10_000
"""Files named in one place; more of them are a glob."""
FAULTS_OF_ITEMS = "faults_of_items"
"""The type of an error that holds faults of a list's items: `faults` (index, words), and how many `more`."""
_MAX_ITEM_FAULTS = 200

_LARGEST_EXACT = 2**53
_INSTANT_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$"
_DURATION_PATTERN = r"^[0-9]{1,9}[smhd]?$"


def _fault(words: str) -> PydanticCustomError:
    """Return a ValueError that pydantic takes for one of its own (a TypeError it would not)."""
    return PydanticCustomError("ours", "{words}", {"words": words})


def check_phone(value: object) -> str:
    """Return an inline phone as text: text as it is, a whole number as its digits.

    Raises:
        ValueError: It is anything else; a date or a number with a fraction never is a phone.
    """
    return _text_of(value, "phone")


def check_user_id(value: object) -> str:
    """Return a user id as text: safe text as it is, a whole number as its digits.

    Raises:
        ValueError: It is anything else, or cannot stand in a path.
    """
    user_id = _text_of(value, "user id")
    if not is_safe_user_id(user_id):
        raise _fault(UNSAFE_USER_ID)
    return user_id


def _text_of(value: object, what: str) -> str:
    """Return the text of a value that says exactly one thing."""
    if isinstance(value, str) and not isinstance(value, DateText):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise _fault(f"no {what}: not a number, or one without end")
    if isinstance(value, float):
        raise _fault(f"a number with a fraction or an exponent is no {what}: put it in quotes")
    if isinstance(value, bool) or not isinstance(value, int):
        raise _fault(f"expected a {what} in quotes, not {kind_of(value)}")
    if value < 0:
        raise _fault(f"a negative number is no {what}: put it in quotes")
    if value > _LARGEST_EXACT:
        raise _fault("a whole number above 2^53 may have been rounded on its way: put it in quotes")
    return str(value)


def _phones(value: object) -> list[str]:
    """Check a whole list at once: it may be long, and all that is wrong with it has to be bounded."""
    if not isinstance(value, list):
        raise PydanticKnownError("list_type")
    try:
        return [phone if type(phone) is str else check_phone(phone) for phone in value]
    except ValueError:
        faults = _faults_of_phones(value)
        found = {"faults": tuple(islice(faults, _MAX_ITEM_FAULTS)), "more": sum(1 for _ in faults)}
        raise PydanticCustomError(FAULTS_OF_ITEMS, "faults", found) from None


def _faults_of_phones(phones: list[object]) -> Iterator[tuple[int, str]]:
    for index, phone in enumerate(phones):
        try:
            if phone is not None:  # every null was told of at its place
                check_phone(phone)
        except ValueError as error:
            yield index, str(error)


def _column(value: object) -> str | int:
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise _fault("write the column's header, or its number counted from 1")


def _rate(value: object) -> Rate:
    if not isinstance(value, str):
        raise _fault("write N/s or N/m with N above 0, or unlimited")
    return parse_rate(value)


def _percent(value: object) -> float:
    if not isinstance(value, str):
        raise _fault("write a percentage from 0% to 100%, such as 5%")
    return parse_percent(value)


def _duration(value: object) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        raise _fault("write a duration such as 30m, 4h or 30d")
    parse_duration(text)
    return text


def _instant(value: str) -> str:
    parse_instant(value)
    return value


def _is_safe_name(name: str) -> bool:
    """Tell whether a job's name can name a file."""
    return (
        0 < len(name.encode(errors="replace")) <= 120
        and name.isprintable()
        and name == name.strip()
        and name[0] not in ".-~"
        and not set(name) & set('/\\:*?"<>|')
    )


def _name(value: str) -> str:
    if not _is_safe_name(value):
        raise ValueError(
            'it names files: at most 120 bytes, without slashes or any of :*?"<>|, no dot or dash first'
        )
    return value


def _encoding(value: str) -> str:
    try:
        codecs.lookup(value)
        "".encode(value)
    except (LookupError, ValueError):
        raise ValueError("no such text encoding: write one such as utf-8 or gb18030") from None
    return value


def _timezone(value: str) -> str:
    zone(value)
    return value


def file_name(value: str) -> str:
    """Return a file's name as a job may say it, or an empty text."""
    return "" if not value.strip() or "\0" in value or value == "-" else value


def _file(value: str) -> str:
    if not value.strip() or "\0" in value:
        raise ValueError("a file name is missing")
    if value == "-":
        raise ValueError("standard input is a JOB on the command line, not a file of a job")
    return value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _pattern(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern})


_EXACT_NUMBER = {"type": "integer", "minimum": 0, "maximum": _LARGEST_EXACT}
Phones = Annotated[
    list[str],
    PlainValidator(_phones),
    WithJsonSchema({"type": "array", "items": {"anyOf": [{"type": "string"}, _EXACT_NUMBER]}}),
]
UserId = Annotated[
    str,
    PlainValidator(check_user_id),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"^[A-Za-z0-9._~-]{1,128}$"}, _EXACT_NUMBER]}),
]
Count = Annotated[int, Field(ge=1, le=10**12)]
Column = Annotated[
    str | int,
    PlainValidator(_column),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, {"type": "integer", "minimum": 1}]}),
]
RateText = Annotated[Rate, PlainValidator(_rate), _pattern(r"^([0-9]{1,7}(\.[0-9]{1,6})?/[sm]|unlimited)$")]
Percent = Annotated[float, PlainValidator(_percent), _pattern(r"^[0-9]{1,3}(\.[0-9]{1,6})?%$")]
Duration = Annotated[
    str,
    PlainValidator(_duration),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": _DURATION_PATTERN}, {"type": "integer", "minimum": 1}]}
    ),
]
Instant = Annotated[str, AfterValidator(_instant), _pattern(_INSTANT_PATTERN)]
File = Annotated[str, AfterValidator(_file), WithJsonSchema({"type": "string", "minLength": 1})]
Files = Annotated[
    list[File],
    BeforeValidator(_as_list),
    Field(min_length=1, max_length=MAX_FILES),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
            ]
        }
    ),
]
Name = Annotated[str, AfterValidator(_name)]
Encoding = Annotated[str, AfterValidator(_encoding)]
Timezone = Annotated[str, AfterValidator(_timezone)]
