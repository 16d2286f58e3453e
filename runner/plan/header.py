"""What a plan says of itself: how it was made, its totals, what was rejected, and under which rules.

Keeps the promise that a plan alone is enough: whoever has it can show what would be done and enforce every
limit and safety rule again. These declarations write the header and read it: a field that is unknown or of
another type is an error, so is a missing one, but for those that came later (`at`, `blank` and what is known
of columns). It holds no token and no base URL, and phones only masked.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from runner.lists.rows import ColumnRead
from runner.model import Target
from runner.phones import PhoneRule
from runner.settings import (
    LimitsGiven,
    Safety,
    limits_from_json,
    limits_to_json,
    safety_from_json,
    safety_to_json,
)

__all__ = [
    "MAX_HEADER_BYTES",
    "Made",
    "PlanHeader",
    "PlanSource",
    "PlanTotals",
    "PlanWindow",
    "Reject",
]

_VERSION: Final = 1
MAX_HEADER_BYTES: Final = 64 * 1024 * 1024
"""Of the first line; windows are most of it where there are many."""

_Natural = Annotated[int, msgspec.Meta(ge=0)]
_FromOne = Annotated[int, msgspec.Meta(ge=1)]
_Time = Annotated[
    str,
    msgspec.Meta(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$", max_length=19),
]


class PlanTotals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was read and what came of it: `read = unique + duplicate + rejected + protected`, in phones.

    Args:
        read: Values in all lists, rejected ones included; blank cells are none.
        unique: Phones that are asked: what the batches hold together.
        duplicate: Values that stand for a phone that the same target has already.
        rejected: Values that are no phone.
        protected: Distinct phones of a target taken out because the protect file names them.
        batches: Requests, windows included.
        users: Users with at least one batch.
        windows: Batches that delete by window alone.
        blank: Cells without a value, which stand beside the equation.
    """

    read: _Natural = 0
    unique: _Natural = 0
    duplicate: _Natural = 0
    rejected: _Natural = 0
    protected: _Natural = 0
    batches: _Natural = 0
    users: _Natural = 0
    windows: _Natural = 0
    blank: _Natural = 0

    def __post_init__(self) -> None:
        if self.read != self.unique + self.duplicate + self.rejected + self.protected:
            raise ValueError("the totals do not add up")


class PlanSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one file, one sheet or one entry of a job file gave.

    Args:
        source: Path, `path!sheet`, or the place of an entry.
        rows: Values, those rejected included.
        rejected: Values that are no phone.
        normalised: Good values that were changed to be one.
        blank: Rows whose cell is blank.
        hidden: Rows that a filter hides.
        column: Which column was read, and how it was found; None where there are no columns.
    """

    source: str
    rows: _Natural
    rejected: _Natural
    normalised: _Natural
    blank: _Natural = 0
    hidden: _Natural = 0
    column: ColumnRead | None = None


class Reject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value that is no phone: where it stands (`line` is a row in a sheet), why, and what it looks like.

    Args:
        source: Path, `path!sheet`, or the place of an entry.
        line: Counted from 1.
        reason: A word of `phones.REASONS`.
        value: Masked.
    """

    source: str
    line: _Natural
    reason: str
    value: str

    def to_json(self) -> bytes:
        """Return it as one line, as `plan --rejects` has it."""
        return msgspec.json.encode(self) + b"\n"

    def __str__(self) -> str:
        return f"{self.source}:{self.line} {self.value} ({self.reason})"


class PlanWindow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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

    seq: _FromOne
    user_id: str
    created_at: tuple[_Time, _Time]
    encryption: bool
    max_rows: _FromOne
    place: str
    entry: _FromOne

    def __post_init__(self) -> None:
        _ = self.target  # a user id that cannot stand in a path has none

    @property
    def target(self) -> Target:
        """Return the target of its batch."""
        return Target(self.user_id, self.created_at, self.encryption, delete_window=True)


class Made(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which version of the program made a plan, and on which UTC date (`YYYY-MM-DD`)."""

    version: str
    on: str

    def __post_init__(self) -> None:
        if date.fromisoformat(self.on).isoformat() != self.on:
            raise ValueError("the date is not written as YYYY-MM-DD")


class PlanHeader(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="plan"
):
    """The first line of a plan, but for `digest`, which is the file's last word on it.

    Args:
        v: Of the format.
        name: The job's; names the audit.
        made: By what, and on which day.
        limits_said: As the job gave them, in its notation; `limits` has them read.
        safety_said: The same, with `protect_file` absolute; `safety` has them read.
        phone_rule: What a phone is; the protect file is read under it again.
        timezone: Of relative windows.
        sources: The first sources in the order in which they were read.
        more_sources: How many more there were.
        totals: In phones and batches.
        changed: Good values that were changed to be a phone.
        normalised: Kind of change (`phones.KINDS`) → values that it touched.
        rejects: Reason → values.
        first_rejects: The first ten.
        windows: Every window, in `seq` order within an entry.
        notes: What a person should hear before confirming.
        at: When it was made, with offset, to the second. Last, for the same input gives the same bytes up to
            here all day; None in plans of the first edition.
    """

    v: Literal[1] = _VERSION
    name: str
    made: Made
    limits_said: dict[str, Any] = msgspec.field(name="limits")
    safety_said: dict[str, Any] = msgspec.field(name="safety")
    phone_rule: PhoneRule
    timezone: str
    sources: tuple[PlanSource, ...]
    more_sources: _Natural
    totals: PlanTotals
    changed: _Natural
    normalised: dict[str, _Natural]
    rejects: dict[str, _Natural]
    first_rejects: tuple[Reject, ...]
    windows: tuple[PlanWindow, ...]
    notes: tuple[str, ...]
    at: str | None = None

    def __post_init__(self) -> None:
        # It names the audit, and must not lead it elsewhere.
        name = self.name
        if not name or name[0] in ".-~" or not name.isprintable() or set(name) & set("/\\"):
            raise ValueError("the name cannot name a file")
        _check_written(self.limits_said, limits_from_json, limits_to_json)
        _check_written(self.safety_said, safety_from_json, safety_to_json)
        if self.made_at.date().isoformat() != self.made.on:
            raise ValueError("at: it is not on the day on which the plan was made")

    @property
    def limits(self) -> LimitsGiven:
        """Return the limits as the job gave them."""
        return limits_from_json(self.limits_said)

    @property
    def safety(self) -> Safety:
        """Return the safety rules."""
        return safety_from_json(self.safety_said)

    @property
    def made_at(self) -> datetime:
        """Return when the plan was made: where it names the day alone, when that began.

        Raises:
            ValueError: What stands there is no time.
        """
        if self.at is None:
            return datetime.combine(date.fromisoformat(self.made.on), time(), UTC)
        at = datetime.fromisoformat(self.at)
        if at.utcoffset() is None:
            raise ValueError("at: it has no offset")
        return at.astimezone(UTC)

    def to_json(self) -> bytes:
        """Return the header as one JSON object, without `digest` and without a newline."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, line: bytes) -> "PlanHeader":
        """Return the header that a first line stands for, `digest` taken off.

        Raises:
            ValueError: A field is missing, unknown or of another type, with its name; or another version.
        """
        try:
            return _decode_header(line)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ValueError(_other_version(line) or str(error)) from error


class _Version(msgspec.Struct):
    v: object = None


# Made at import: msgspec learns a type when it is first used, and two threads at that crash the process.
_decode_header: Final = msgspec.json.Decoder(PlanHeader).decode
_decode_version: Final = msgspec.json.Decoder(_Version).decode


def _other_version(line: bytes) -> str:
    """Return the words for a header of another version, none for one of this."""
    with suppress(msgspec.MsgspecError, ValueError, RecursionError):
        found = _decode_version(line).v
        if type(found) is int and found != _VERSION:
            return f"version {found} of the plan; this program reads version {_VERSION}"
    return ""


_Terms = TypeVar("_Terms", LimitsGiven, Safety)


def _check_written(
    said: Mapping[str, Any],
    read: Callable[[Mapping[str, Any]], _Terms],
    write: Callable[[_Terms], dict[str, Any]],
) -> None:
    """Raise ValueError where limits or safety rules are unreadable, or are not as they are written."""
    try:
        written = write(read(said))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"limits or safety: a field is missing or of another type: {error}") from error
    if any(name not in written or written[name] != value for name, value in said.items()):
        raise ValueError("limits or safety are not as they are written")
