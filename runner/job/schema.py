"""The shape of a job file, as pydantic models, its JSON Schema, and a fault's words for a person.

Keeps the promise that a job file is strict: no unknown key, no guessed type, nothing out of bounds. Only the
shape stands here; what keys mean together is the matter of `read`, and what one value may be that of
`values`. pydantic is known in these two and nowhere else. A message never holds a value from the file.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    create_model,
)

from runner.job.document import Steps
from runner.job.messages import fault_words, unknown_key
from runner.job.values import (
    FAULTS_OF_ITEMS,
    Column,
    Count,
    Duration,
    Encoding,
    File,
    Files,
    Instant,
    Name,
    Percent,
    Phones,
    RateText,
    Timezone,
    UserId,
)
from runner.job.windows import RelativeWindow
from runner.lists.rows import HiddenRows
from runner.phones import PHONE_RULES, PhoneRule
from runner.settings import MAX_ATTEMPTS, MAX_CONCURRENCY, MAX_TIMEOUT_S, Safety

__all__ = [
    "ENTRY_KEYS",
    "EntryModel",
    "JobModel",
    "LimitsModel",
    "ShapeFault",
    "TableModel",
    "job_schema",
    "read_created_at",
    "shape_of_entry",
    "shape_of_job",
    "shape_of_table",
]


class _Strict(BaseModel):
    """Unknown keys and guessed types are faults. None means absent: what reads a file lets none say null."""

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


_RULE_KINDS: Final[dict[str, Any]] = {
    "count": Count,
    "share": Percent,
    "times": Annotated[float, Field(gt=1, allow_inf_nan=False)],
    "switch": bool,
    "file": File,
}
_RULES: Final[dict[str, Any]] = {
    rule.name: (_RULE_KINDS[rule.metadata["kind"]] | None, Field(None, description=rule.metadata["words"]))
    for rule in fields(Safety)
}
SafetyModel = create_model(
    "SafetyModel", __base__=_Strict, __doc__="Rules that refuse or stop a run.", **_RULES
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

# Keys that stand both in an entry and in a table.
Hidden = Annotated[
    HiddenRows,
    Field(description="What to do with rows that a filter hides; without it they refuse the list."),
]
Created = Annotated[CreatedAt, Field(description="Import window: [from, to], both included, or relative.")]
Encrypted = Annotated[bool, Field(description="True: the values are encrypted, and opaque here.")]


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
    phone: Phones | None = Field(default=None, description="Numbers, as text or whole numbers; any length.")
    phone_file: Files | None = Field(default=None, description="Lists, relative to this file; globs work.")
    phone_column: Column | None = Field(default=None, description="Header or number of the phone column.")
    encoding: Encoding | None = Field(default=None, description="Of phone_file, if not found.")
    hidden_rows: Hidden | None = None
    created_at: Created | None = None
    encryption: Encrypted | None = None
    delete_window: bool | None = Field(
        default=None, description="True: delete by created_at alone, without phones."
    )
    slice: Duration | None = Field(
        default=None, description="With delete_window: the width of one request's window."
    )
    max_rows: Count | None = Field(
        default=None, description="With delete_window: more rows than that are refused."
    )


class TableModel(_Strict):
    """Lists of many users."""

    file: Files = Field(description="Lists, relative to this file; globs work.")
    user_column: Column = Field(description="Header or number of the column with the user ids.")
    phone_column: Column | None = Field(default=None, description="Header or number of the phone column.")
    encoding: Encoding | None = Field(default=None, description="Of the files, if not found.")
    hidden_rows: Hidden | None = None
    created_at: Created | None = None
    encryption: Encrypted | None = None


class JobModel(_Strict):
    """A job of bulk-delete: which numbers go out of which users' customer pools."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["users"]}, {"required": ["tables"]}]}
    )
    name: Name | None = Field(default=None, description="Names the audit; default the file's.")
    limits: LimitsModel = LimitsModel()
    safety: SafetyModel = SafetyModel()  # type: ignore[valid-type]  # it is made of `Safety`
    phone_rule: PhoneRule = Field(default=PHONE_RULES[0], description="What a phone is.")
    timezone: Timezone = Field(default="Asia/Shanghai", description="Of relative windows.")
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
    """Return what a `created_at` says, or None where its shape is at fault (its entry's says so)."""
    try:
        read = _CREATED_AT.validate_python(value)
    except ValidationError:
        return None
    return read.said() if isinstance(read, RelativeModel) else (read[0], read[1])


@dataclass(frozen=True, slots=True)
class ShapeFault:
    """One fault of shape.

    Args:
        path: Where it is.
        words: What it is; none where only a number is known.
        at_key: Whether the key is meant, and not the value.
        more: How many there are beside it.
    """

    path: Steps
    words: str
    at_key: bool = False
    more: int = 0


def shape_of_job(data: dict[str, Any]) -> JobModel | list[ShapeFault]:
    """Return the job's model without its entries, or the faults outside of these.

    Entries are read one by one (`shape_of_entry`, `shape_of_table`): a file may have very many.
    """
    faults: list[ShapeFault] = []
    for key in _ENTRIES & set(data):
        try:
            _SOME.validate_python(data[key])
        except ValidationError as error:
            faults += _faults(error, (key,))
    model = _shape_of(JobModel, {key: value for key, value in data.items() if key not in _ENTRIES}, ())
    return [*model, *faults] if isinstance(model, list) else faults or model


def shape_of_entry(data: object, path: Steps) -> EntryModel | list[ShapeFault]:
    """Return the model of one entry of `users`, or its faults."""
    return _shape_of(EntryModel, data, path)


def shape_of_table(data: object, path: Steps) -> TableModel | list[ShapeFault]:
    """Return the model of one of `tables`, or its faults."""
    return _shape_of(TableModel, data, path)


_ENTRIES = {"users", "tables"}
_SOME: TypeAdapter[list[Any]] = TypeAdapter(Annotated[list[Any], Field(strict=True, min_length=1)])
_Model = TypeVar("_Model", JobModel, EntryModel, TableModel)


def _shape_of(kind: type[_Model], data: object, path: Steps) -> _Model | list[ShapeFault]:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        return list(_faults(error, path))


def _faults(error: ValidationError, before: Steps) -> Iterator[ShapeFault]:
    for detail in error.errors(include_url=False):
        if detail["input"] is None:
            continue  # every null was told of at its place
        path = (*before, *_without_tags(detail["loc"]))
        at_key = detail["type"] == "extra_forbidden"
        context = detail.get("ctx", {})
        if at_key:
            yield ShapeFault(path, unknown_key(str(path[-1]), _keys_around(path), _ALL_KEYS), at_key=True)
        elif detail["type"] == FAULTS_OF_ITEMS:
            yield from (ShapeFault((*path, index), words) for index, words in context["faults"])
            yield ShapeFault(path, "", more=context["more"])
        else:
            yield ShapeFault(path, fault_words(detail["type"], context, detail["input"], detail["msg"]))


def _without_tags(path: Steps) -> Steps:
    """Take out what tells the two kinds of a window apart: no file says that."""
    if "created_at" not in path:
        return path
    after = path.index("created_at") + 1
    return path[:after] + path[after + 1 :]


def _keys_around(path: Steps) -> tuple[str, ...]:
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
