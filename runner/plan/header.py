"""What a plan says of itself: how it was made, its totals, what was rejected, and under which rules.

Keeps the promise that a plan alone is enough: whoever has it can show what would be done and enforce every
limit and safety rule again. Strict both ways: a field that is missing, unknown or of another type is a
ValueError. It holds no token and no base URL, and phones only masked.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any, Final, TypeVar

import orjson

from runner.model import Target, Window, is_safe_user_id
from runner.phones import PHONE_RULES, PhoneRule
from runner.settings import LimitsGiven, Safety
from runner.terms import limits_from_json, limits_to_json, safety_from_json, safety_to_json

__all__ = [
    "MAX_HEADER_BYTES",
    "PLAN_VERSION",
    "PlanHeader",
    "PlanSource",
    "PlanTotals",
    "PlanWindow",
    "Reject",
]

PLAN_VERSION: Final = 1
"""The `v` of every plan."""

MAX_HEADER_BYTES: Final = 64 * 1024 * 1024
"""Of the first line; windows are most of it where there are many."""

_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")


@dataclass(frozen=True, slots=True)
class PlanTotals:
    """What was read and what came of it: `read = unique + duplicate + rejected + protected`, in phones.

    Args:
        read: Values in all lists, rejected ones included; blank rows are none.
        unique: Phones that are asked: what the batches hold together.
        duplicate: Values that stand for a phone that the same target has already.
        rejected: Values that are no phone.
        protected: Distinct phones of a target taken out because the protect file names them.
        batches: Requests, windows included.
        users: Users with at least one batch.
        windows: Batches that delete by window alone.
    """

    read: int = 0
    unique: int = 0
    duplicate: int = 0
    rejected: int = 0
    protected: int = 0
    batches: int = 0
    users: int = 0
    windows: int = 0

    def __post_init__(self) -> None:
        if any(type(getattr(self, f.name)) is not int or getattr(self, f.name) < 0 for f in fields(self)):
            raise ValueError("totals are whole numbers")
        if self.read != self.unique + self.duplicate + self.rejected + self.protected:
            raise ValueError("the totals do not add up")


@dataclass(frozen=True, slots=True)
class PlanSource:
    """What one file (or one entry of a job file) gave: rows, and how many of them were no phone."""

    source: str
    rows: int
    rejected: int = 0
    normalised: int = 0


@dataclass(frozen=True, slots=True)
class Reject:
    """A value that is no phone: where it stands (`line` is a row in a sheet), why, and what it looks like.

    Args:
        source: Path, `path!sheet`, or the place of an entry.
        line: Counted from 1.
        reason: A word of `phones.REASONS`.
        value: Masked.
    """

    source: str
    line: int
    reason: str
    value: str


@dataclass(frozen=True, slots=True)
class PlanWindow:
    """One slice of an entry that deletes by window alone.

    Args:
        seq: Its batch; two entries that name the same window share one.
        user_id: Whose pool.
        created_at: The exact strings that are sent.
        encryption: As the entry says.
        max_rows: Of the whole entry, over all its slices.
        place: Where the entry stands.
        entry: Which entry, counted from 1 over those with windows; slices of one entry have the same.
    """

    seq: int
    user_id: str
    created_at: Window
    encryption: bool
    max_rows: int
    place: str
    entry: int

    @property
    def target(self) -> Target:
        """Return the target of its batch."""
        return Target(self.user_id, self.created_at, self.encryption, delete_window=True)


@dataclass(frozen=True, slots=True)
class PlanHeader:
    """The first line of a plan.

    Args:
        name: The job's; names the audit.
        version: Of the program that made it.
        made_on: The UTC date, `YYYY-MM-DD`, and no time: the same input gives the same bytes all day.
        limits: As the job gave them.
        safety: With `protect_file` absolute.
        phone_rule: What a phone is; the protect file is read under it again.
        timezone: Of relative windows.
        totals: In phones and batches.
        sources: The first 200 sources in the order in which they were read.
        more_sources: How many more there were.
        changed: Good values that were changed to be a phone.
        normalised: Kind of change (`phones.KINDS`) → values that it touched.
        rejects: Reason → values.
        first_rejects: The first ten.
        windows: Every window, in `seq` order within an entry.
        notes: What a person should hear before confirming.
    """

    name: str
    version: str
    made_on: str
    limits: LimitsGiven
    safety: Safety
    phone_rule: PhoneRule
    timezone: str
    totals: PlanTotals
    sources: tuple[PlanSource, ...] = ()
    more_sources: int = 0
    changed: int = 0
    normalised: Mapping[str, int] | None = None
    rejects: Mapping[str, int] | None = None
    first_rejects: tuple[Reject, ...] = ()
    windows: tuple[PlanWindow, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """Return the header as one JSON object, without `digest` and without a newline."""
        return orjson.dumps(
            {
                "type": "plan",
                "v": PLAN_VERSION,
                "name": self.name,
                "made": {"version": self.version, "on": self.made_on},
                "limits": limits_to_json(self.limits),
                "safety": safety_to_json(self.safety),
                "phone_rule": self.phone_rule,
                "timezone": self.timezone,
                "sources": [asdict(source) for source in self.sources],
                "more_sources": self.more_sources,
                "totals": asdict(self.totals),
                "changed": self.changed,
                "normalised": dict(self.normalised or {}),
                "rejects": dict(self.rejects or {}),
                "first_rejects": [asdict(reject) for reject in self.first_rejects],
                "windows": [asdict(window) for window in self.windows],
                "notes": self.notes,
            }
        )

    @classmethod
    def from_json(cls, data: object) -> "PlanHeader":
        """Return the header that a parsed first line stands for (`digest` may be there).

        Raises:
            ValueError: A field is missing, unknown or of another type, with its name.
        """
        try:
            found = _object(data, "header")
            found.pop("digest", None)
            _check_kind(found.pop("type"), found.pop("v"))
            made = _object(found.pop("made"), "made")
            header = cls(
                version=_text(made.pop("version")),
                made_on=date.fromisoformat(_text(made.pop("on"))).isoformat(),
                **_header_fields(found),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a field is missing or of another type: {error}") from error
        if found or made:
            raise ValueError(f"unknown field {sorted([*found, *made])[0]!r}")
        return header


def _check_kind(kind: object, version: object) -> None:
    if kind != "plan":
        raise ValueError("this is no plan")
    if version != PLAN_VERSION or type(version) is not int:
        raise ValueError(f"version {version!r} of the plan; this program reads version {PLAN_VERSION}")


def _header_fields(found: dict[str, Any]) -> dict[str, Any]:
    """Take the fields out of a parsed header, each checked."""
    rule = _text(found.pop("phone_rule"))
    if rule not in PHONE_RULES:
        raise ValueError(f"phone_rule {rule!r}")
    return {
        "name": _name(found.pop("name")),
        "limits": _terms(found.pop("limits"), limits_from_json, limits_to_json),
        "safety": _terms(found.pop("safety"), safety_from_json, safety_to_json),
        "phone_rule": rule,
        "timezone": _text(found.pop("timezone")),
        "totals": PlanTotals(**_object(found.pop("totals"), "totals")),
        "sources": tuple(_record(PlanSource, item) for item in _list(found.pop("sources"))),
        "more_sources": _whole(found.pop("more_sources")),
        "changed": _whole(found.pop("changed")),
        "normalised": _counts(found.pop("normalised")),
        "rejects": _counts(found.pop("rejects")),
        "first_rejects": tuple(_record(Reject, item) for item in _list(found.pop("first_rejects"))),
        "windows": tuple(_window(item) for item in _list(found.pop("windows"))),
        "notes": tuple(_text(note) for note in _list(found.pop("notes"))),
    }


def _object(data: object, name: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise TypeError(f"{name}: expected an object")
    return dict(data)


def _list(data: object) -> list[Any]:
    if not isinstance(data, list):
        raise TypeError("expected a list")
    return data


def _text(data: object) -> str:
    if not isinstance(data, str):
        raise TypeError("expected text")
    return data


def _name(data: object) -> str:
    """Return a name that can stand in a file name: it names the audit, and must not lead it elsewhere."""
    name = _text(data)
    if not name or name[0] in ".-~" or not name.isprintable() or set(name) & set("/\\"):
        raise ValueError("the name cannot name a file")
    return name


def _whole(data: object) -> int:
    if type(data) is not int or data < 0:
        raise TypeError("expected a whole number")
    return data


def _counts(data: object) -> dict[str, int]:
    return {key: _whole(value) for key, value in _object(data, "counts").items()}


_Row = TypeVar("_Row", PlanSource, Reject)


def _record(kind: type[_Row], data: object) -> _Row:
    """Return a row of text and whole numbers, each field of its own type."""
    found = _object(data, kind.__name__)
    row = kind(**found)
    for field in fields(row):
        (_text if field.type is str else _whole)(getattr(row, field.name))
    return row


def _window(data: object) -> PlanWindow:
    found = _object(data, "windows")
    first, last = (_text(end) for end in _list(found.pop("created_at")))
    window = PlanWindow(created_at=(first, last), **found)
    _flag(window.encryption)
    if not is_safe_user_id(_text(window.user_id)):
        raise ValueError("windows: user_id cannot stand in a path")
    if not (_whole(window.seq) and _whole(window.max_rows) and _whole(window.entry)):
        raise TypeError("windows: seq, max_rows and entry count from 1")
    _text(window.place)
    if not (_TIME.fullmatch(first) and _TIME.fullmatch(last)):
        raise ValueError("windows: created_at is no pair of times")
    return window


def _flag(data: object) -> bool:
    if type(data) is not bool:
        raise TypeError("expected true or false")
    return data


_Terms = TypeVar("_Terms", LimitsGiven, Safety)


def _terms(
    data: object, read: Callable[[Mapping[str, Any]], _Terms], write: Callable[[_Terms], dict[str, Any]]
) -> _Terms:
    """Return limits or safety rules; what stands there and would not be written just so is refused."""
    found = _object(data, "limits and safety")
    terms = read(found)
    written = write(terms)
    if {**written, **found} != written:
        raise ValueError("limits or safety are not as they are written")
    return terms
