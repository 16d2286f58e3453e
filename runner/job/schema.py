"""The shape of a job file, as pydantic models, its JSON Schema, and a fault's words for a person.

Keeps the promise that a job file is strict: no unknown key, no guessed type, nothing out of bounds. Only the
shape stands here; what keys mean together is the matter of `rules`. pydantic is known here and nowhere
else. A message never holds a value from the file.
"""

import codecs
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from runner.job.messages import fault_words, kind_of, unknown_key
from runner.job.windows import RelativeWindow, parse_instant, zone
from runner.model import is_safe_user_id
from runner.phones import PHONE_RULES, PhoneRule
from runner.settings import (
    MAX_ATTEMPTS,
    MAX_CONCURRENCY,
    MAX_TIMEOUT_S,
    Rate,
    parse_duration,
    parse_percent,
    parse_rate,
)

__all__ = [
    "ENTRY_KEYS",
    "UNSAFE_USER_ID",
    "EntryModel",
    "JobModel",
    "LimitsModel",
    "SafetyModel",
    "ShapeFault",
    "TableModel",
    "check_phone",
    "file_name",
    "is_safe_name",
    "job_schema",
    "read_created_at",
    "shape_faults",
]

UNSAFE_USER_ID = "only 1-128 ASCII letters, digits and . _ ~ - may stand in it: it becomes part of a path"
_INSTANT_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$"
_DURATION_PATTERN = r"^[0-9]{1,9}[smhd]?$"


def _fault(words: str) -> PydanticCustomError:
    """Return a ValueError that pydantic takes for one of its own (a TypeError it would not)."""
    return PydanticCustomError("ours", "{words}", {"words": words})


def check_phone(value: object) -> str:
    """Return an inline phone as text: text as it is, a whole number as its digits.

    Raises:
        ValueError: It is anything else; a floating-point number never is a phone.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        raise _fault("a number with a fraction or an exponent is no phone: put it in quotes")
    if isinstance(value, bool) or not isinstance(value, int):
        raise _fault(f"expected a phone in quotes, not {kind_of(value)}")
    if value < 0:
        raise _fault("a negative number is no phone: put it in quotes")
    return str(value)


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


def _user_id(value: str) -> str:
    if not is_safe_user_id(value):
        raise ValueError(UNSAFE_USER_ID)
    return value


def is_safe_name(name: str) -> bool:
    """Tell whether a job's name can name a file."""
    return (
        0 < len(name.encode(errors="replace")) <= 120
        and name.isprintable()
        and name == name.strip()
        and name[0] not in ".-~"
        and not set(name) & set('/\\:*?"<>|')
    )


def _name(value: str) -> str:
    if not is_safe_name(value):
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


Phone = Annotated[
    str,
    PlainValidator(check_phone),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}]}),
]
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
UserId = Annotated[str, AfterValidator(_user_id), _pattern(r"^[A-Za-z0-9._~-]{1,128}$")]
File = Annotated[str, AfterValidator(_file), WithJsonSchema({"type": "string", "minLength": 1})]
Files = Annotated[
    list[File],
    BeforeValidator(_as_list),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
            ]
        }
    ),
]


class _Strict(BaseModel):
    """Unknown keys and guessed types are faults. None means absent: `text` lets no file say null."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class LimitsModel(_Strict):
    """How fast and how patiently requests are sent; flags and environment go over it."""

    rate: RateText | None = Field(
        default=None, description="Most requests in every second (N/s) or minute (N/m); default 20/s."
    )
    concurrency: int | None = Field(
        default=None, ge=1, le=MAX_CONCURRENCY, description="Requests in flight at most; default 16."
    )
    timeout: float | None = Field(
        default=None, gt=0, le=MAX_TIMEOUT_S, description="Seconds for one attempt; default 30."
    )
    max_attempts: int | None = Field(
        default=None, ge=1, le=MAX_ATTEMPTS, description="Attempts per batch; default 6."
    )


class SafetyModel(_Strict):
    """Rules that refuse or stop a run."""

    max_phones: int | None = Field(
        default=None, ge=1, description="A plan with more phones is refused; no default."
    )
    max_invalid: Percent | None = Field(
        default=None, description="More unreadable values than that: refused; default 1%."
    )
    max_failed: Percent | None = Field(
        default=None, description="The breaker's share of failed batches; default 5%."
    )
    max_refused: Percent | None = Field(
        default=None, description="More of the numbers sent refused for what they are: stops; default 10%."
    )
    max_rows_per_phone: int | None = Field(
        default=None, ge=1, description="A batch that deleted more rows per number stops the run; default 20."
    )
    stop_when_empty: bool | None = Field(
        default=None, description="Stop when the first 20 batches deleted nothing; default false: warn."
    )
    protect_file: File | None = Field(
        default=None, description="A list of numbers never to be deleted; relative to this file."
    )


class RelativeModel(_Strict):
    """A window computed once, when the plan is made."""

    start: Instant | None = Field(default=None, alias="from", description="Absolute start, included.")
    end: Instant | None = Field(default=None, alias="to", description="Absolute end, included.")
    older_than: Duration | None = Field(
        default=None, description="It ends this long before the plan is made."
    )
    last: Duration | None = Field(default=None, description="It starts this long before the plan is made.")

    def said(self) -> RelativeWindow:
        """Return it as `windows` takes it."""
        return RelativeWindow(self.start, self.end, self.older_than, self.last)


def _window_kind(value: object) -> str | None:
    return "pair" if isinstance(value, list) else "relative" if isinstance(value, dict) else None


Pair = Annotated[list[Instant], Field(min_length=2, max_length=2)]
CreatedAt = Annotated[
    Annotated[Pair, Tag("pair")] | Annotated[RelativeModel, Tag("relative")],
    Discriminator(_window_kind),
]
_CREATED_AT: TypeAdapter[list[str] | RelativeModel] = TypeAdapter(CreatedAt)


class EntryModel(_Strict):
    """What to delete of one user: numbers, or one window."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["phone"]},
                {"required": ["phone_file"]},
                {
                    "required": ["delete_window", "created_at", "max_rows"],
                    "properties": {"delete_window": {"const": True}},
                },
            ]
        }
    )
    user_id: UserId = Field(description="Whose pool.")
    phone: list[Phone] | None = Field(
        default=None, description="Numbers, as text or whole numbers; any length."
    )
    phone_file: Files | None = Field(default=None, description="Lists, relative to this file; globs work.")
    phone_column: Column | None = Field(default=None, description="Header or number of the phone column.")
    encoding: Annotated[str, AfterValidator(_encoding)] | None = Field(
        default=None, description="Of phone_file, if not found."
    )
    created_at: CreatedAt | None = Field(
        default=None, description="Import window: [from, to], both included, or relative."
    )
    encryption: bool | None = Field(
        default=None, description="True: the values are encrypted, and opaque here."
    )
    delete_window: bool | None = Field(
        default=None, description="True: delete by created_at alone, without phones."
    )
    slice: Duration | None = Field(
        default=None, description="With delete_window: the width of one request's window."
    )
    max_rows: int | None = Field(
        default=None, ge=1, description="With delete_window: more rows than that are refused."
    )


class TableModel(_Strict):
    """Lists of many users."""

    file: Files = Field(description="Lists, relative to this file; globs work.")
    user_column: Column = Field(description="Header or number of the column with the user ids.")
    phone_column: Column | None = Field(default=None, description="Header or number of the phone column.")
    encoding: Annotated[str, AfterValidator(_encoding)] | None = Field(
        default=None, description="Of the files, if not found."
    )
    created_at: CreatedAt | None = Field(
        default=None, description="Import window: [from, to], both included, or relative."
    )
    encryption: bool | None = Field(
        default=None, description="True: the values are encrypted, and opaque here."
    )


class JobModel(_Strict):
    """A job of bulk-delete: which numbers go out of which users' customer pools."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["users"]}, {"required": ["tables"]}]}
    )
    name: Annotated[str, AfterValidator(_name)] | None = Field(
        default=None, description="Names the audit; default the file's."
    )
    limits: LimitsModel = LimitsModel()
    safety: SafetyModel = SafetyModel()
    phone_rule: PhoneRule = Field(default=PHONE_RULES[0], description="What a phone is.")
    timezone: Annotated[str, AfterValidator(_timezone)] = Field(
        default="Asia/Shanghai", description="Of relative windows."
    )
    users: list[EntryModel] | None = Field(
        default=None, min_length=1, description="One entry per user and window."
    )
    tables: list[TableModel] | None = Field(default=None, min_length=1, description="Lists of many users.")


ENTRY_KEYS = tuple(EntryModel.model_fields)
_KEYS_BY_PARENT = {
    "limits": tuple(LimitsModel.model_fields),
    "safety": tuple(SafetyModel.model_fields),
    "created_at": ("from", "to", "older_than", "last"),
    "users": ENTRY_KEYS,
    "tables": tuple(TableModel.model_fields),
}
_ALL_KEYS = {*JobModel.model_fields, *(key for keys in _KEYS_BY_PARENT.values() for key in keys)}


def read_created_at(value: object) -> RelativeWindow | tuple[str, str] | None:
    """Return what a `created_at` says, or None where its shape is at fault (`shape_faults` says so)."""
    try:
        read = _CREATED_AT.validate_python(value)
    except ValidationError:
        return None
    return read.said() if isinstance(read, RelativeModel) else (read[0], read[1])


class ShapeFault:
    """One fault of shape: the path to it, words, and whether its key (not its value) is meant."""

    __slots__ = ("at_key", "path", "words")

    def __init__(self, path: tuple[str | int, ...], words: str, *, at_key: bool) -> None:
        self.path, self.words, self.at_key = path, words, at_key


def shape_faults(data: object) -> JobModel | list[ShapeFault]:
    """Return the job's model, or every fault of its shape."""
    try:
        return JobModel.model_validate(data)
    except ValidationError as error:
        return list(_faults(error))


def _faults(error: ValidationError) -> Iterator[ShapeFault]:
    for detail in error.errors(include_url=False):
        if detail["input"] is None:
            continue  # `text` has told of every null, at its place
        path = tuple(step for step in detail["loc"] if step not in {"pair", "relative"})
        at_key = detail["type"] == "extra_forbidden"
        if at_key:
            words = unknown_key(str(path[-1]), _keys_around(path), _ALL_KEYS)
        else:
            words = fault_words(detail["type"], detail.get("ctx", {}), detail["input"], detail["msg"])
        yield ShapeFault(path, words, at_key=at_key)


def _keys_around(path: tuple[str | int, ...]) -> tuple[str, ...]:
    names = [step for step in path[:-1] if isinstance(step, str)]
    return (
        _KEYS_BY_PARENT[names[-1]] if names and names[-1] in _KEYS_BY_PARENT else tuple(JobModel.model_fields)
    )


def job_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the job file."""
    schema = _without_null(JobModel.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "bulk-delete job", **schema}


def _without_null(schema: Any) -> Any:
    """Take out null (None stands for an absent key, and no file can say it) and pydantic's titles."""
    if isinstance(schema, list):
        return [_without_null(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: _without_null(value)
        for key, value in schema.items()
        if not (key == "default" and value is None) and not (key == "title" and isinstance(value, str))
    }
    choices = [choice for choice in kept.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) < len(kept.get("anyOf", ())):
        del kept["anyOf"]
        kept = {**(choices[0] if len(choices) == 1 else {"anyOf": choices}), **kept}
    return kept
