"""The audit's records: each type declared once, to be written, read, folded and described by its schema.

Keeps the shape that the contract promises to readers of an audit: the order of the fields here is the order
in the file. `at` is stamped by the journal, and `chain`, the last field of every line, belongs to the line
and not to the record. Nothing here reads a file, writes one, or counts.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from runner.model import MAX_PHONES, Target
from runner.outcomes import ERROR_WORDS
from runner.settings import Rate, parse_rate

__all__ = [
    "ADDED_LATER",
    "AUDIT_VERSION",
    "BREAKER",
    "COMMON_FIELDS",
    "FIELDS",
    "GO_ON",
    "MALFORMED",
    "PAUSE",
    "SESSION_FIGURES",
    "STATUSES",
    "BatchEnd",
    "BatchRecord",
    "BatchStatus",
    "BatchTotals",
    "Mode",
    "OpenRecord",
    "PaceRecord",
    "PhoneTotals",
    "Planned",
    "Record",
    "RejectedRecord",
    "RunRecord",
    "RunStatus",
    "SendingRecord",
    "SummaryRecord",
    "TimedEnd",
    "as_json",
    "audit_schema",
    "decode_batch",
    "decode_narrow",
    "decode_record",
    "decode_timed",
    "encode_line",
    "stamp",
]

BatchStatus = Literal["deleted", "failed", "unknown", "not_sent"]
RunStatus = Literal["complete", "partial", "stopped"]
Mode = Literal["run", "resume", "rerun"]

AUDIT_VERSION: Final = 1
"""The `v` of every `run` record."""

STATUSES: Final[tuple[BatchStatus, ...]] = ("deleted", "failed", "unknown", "not_sent")
"""How a batch ends; also the order in which totals show them."""

BREAKER: Final = "breaker: "
"""How the reason of a pause begins that the server did not ask for."""

PAUSE: Final = "pause"
GO_ON: Final = "go-on"
"""Orders of an operator; every other one is a rate."""

_Counter = Annotated[int, Meta(ge=0)]
_Phones = Annotated[int, Meta(ge=0, le=MAX_PHONES)]
_Seconds = Annotated[float, Meta(ge=0)]
# What follows is said in the schema only: at reading, the chain and the fold tell more than a pattern.
_Seq = Annotated[int, Meta(extra_json_schema={"minimum": 1})]
_Hex = Annotated[str, Meta(extra_json_schema={"pattern": "^[0-9a-f]{64}$"})]
_Instant = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
_Version = Annotated[int, Meta(extra_json_schema={"const": AUDIT_VERSION})]
_ErrorWord = Annotated[str | None, Meta(extra_json_schema={"enum": [*ERROR_WORDS, None]})]
_Order = Annotated[
    str | None, Meta(extra_json_schema={"pattern": r"^(pause|go-on|unlimited|[0-9]+(\.[0-9]+)?/[sm])$"})
]
_Numbers = Annotated[tuple[str, ...], Meta(max_length=MAX_PHONES)]


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was asked to do."""

    batches: _Counter
    phones: _Counter


class BatchTotals(msgspec.Struct, frozen=True, kw_only=True):
    """A summary's batches: those planned, by how they ended."""

    planned: _Counter
    deleted: _Counter
    failed: _Counter
    unknown: _Counter
    not_sent: _Counter


class PhoneTotals(msgspec.Struct, frozen=True, kw_only=True):
    """A summary's phones: the values read, by what became of them; and the unique ones, by their end."""

    read: _Counter
    unique: _Counter
    duplicate: _Counter
    rejected: _Counter
    protected: _Counter
    deleted: _Counter
    failed: _Counter
    unknown: _Counter
    not_sent: _Counter


class _Tagged(msgspec.Struct, frozen=True, gc=False, tag_field="type"):
    """What tells its type by a tag; it holds nothing that could refer back to it."""


class _Stamped(_Tagged, frozen=True, kw_only=True):
    """What every record has beside its type; `at` is empty until it is stamped."""

    at: _Instant = ""


class RunRecord(_Stamped, tag="run", frozen=True, kw_only=True):
    """The first record of a session; `plan_sha256` is of the whole plan file."""

    v: _Version
    run_id: str
    job: str
    plan_sha256: _Hex
    version: str
    base_url: str
    limits: dict[str, Any]
    safety: dict[str, Any]
    mode: Mode
    reason: str | None
    operator: str | None
    planned: Planned


class SendingRecord(_Stamped, tag="sending", frozen=True, kw_only=True):
    """The intent to send batches: one by its `seq`, several from the first to the last, both included."""

    seq: _Seq | UnsetType = UNSET
    first: _Seq | UnsetType = msgspec.field(name="from", default=UNSET)
    last: _Seq | UnsetType = msgspec.field(name="to", default=UNSET)

    @classmethod
    def of(cls, first: int, last: int) -> "SendingRecord":
        """Return the intent to send the batches `first` to `last`, both included."""
        return cls(seq=first) if first == last else cls(first=first, last=last)

    def span(self) -> tuple[int, int]:
        """Return the first and the last batch; ValueError where it names them twice or not at all."""
        if self.seq is not UNSET and self.first is UNSET and self.last is UNSET:
            return self.seq, self.seq
        if self.seq is UNSET and self.first is not UNSET and self.last is not UNSET:
            return self.first, self.last
        raise ValueError("an intent has seq, or from and to")


class OpenRecord(_Stamped, tag="open", frozen=True, kw_only=True):
    """A batch left open by a clean stop; both numbers are of all sessions together."""

    seq: _Seq
    attempts: _Counter
    uncertain_attempts: _Counter


class BatchRecord(_Stamped, tag="batch", frozen=True, kw_only=True):
    """The one record of a batch's end.

    `phones` were asked, `phones_left` of them were not confirmed and stand first in `phone`; `attempts` left,
    in all sessions together, `uncertain_attempts` of them may have been processed unseen. `http_status`,
    `code` and `message` are of the last reply. `duration_ms` counts from this session's first attempt.
    """

    seq: _Seq
    user_id: str
    created_at: tuple[str, str] | None
    encryption: bool
    delete_window: bool
    phones: _Phones
    phones_left: _Phones
    phones_sha256: _Hex
    status: BatchStatus
    count: _Counter | None
    attempts: _Counter
    uncertain_attempts: _Counter
    http_status: int | None
    code: int | None
    message: str | None
    error: _ErrorWord
    duration_ms: float | None
    phone: _Numbers

    @property
    def target(self) -> Target:
        """Whose pool and which window; ValueError where no batch may have such a one."""
        return Target(
            self.user_id, self.created_at, encryption=self.encryption, delete_window=self.delete_window
        )


class BatchEnd(_Tagged, tag="batch", frozen=True):
    """A batch's end in numbers: the narrow view of its record that a fold takes of a million of them."""

    seq: int
    phones: _Phones
    phones_left: _Phones
    status: BatchStatus
    count: _Counter | None
    attempts: _Counter
    uncertain_attempts: _Counter
    duration_ms: float | None


class TimedEnd(BatchEnd, tag="batch", frozen=True, kw_only=True):
    """A batch's end in numbers, and when it was."""

    at: str


class PaceRecord(_Stamped, tag="pace", frozen=True, kw_only=True):
    """A changed rate (`12.5/s`), or a pause of everybody until a moment.

    `order` is what an operator wanted, if one did: `pause`, `go-on`, or the rate that is configured from then
    on; after a complaint of the server's, `rate` is less than that for a while. `operator` and `reason`: who
    gave the order, and why.
    """

    rate: str
    until: _Instant | None
    why: str
    order: _Order = None
    operator: str | None = None
    reason: str | None = None

    @property
    def ordered_rate(self) -> Rate | None:
        """The rate that an operator set, if that is what was ordered; ValueError where it is none."""
        return None if self.order in {None, PAUSE, GO_ON} else parse_rate(str(self.order))


class RejectedRecord(_Stamped, tag="rejected", frozen=True, kw_only=True):
    """An input value that is no phone; `value` is masked."""

    source: str
    line: _Counter
    reason: str
    value: str


class SummaryRecord(_Stamped, tag="summary", frozen=True, kw_only=True):
    """The last record of a session: totals of the whole audit, and from `requests` on figures of the session.

    `rate_achieved` is requests a second over `duration_s`.
    """

    status: RunStatus
    why: str | None
    exit_code: _Counter
    batches: BatchTotals
    phones: PhoneTotals
    count: _Counter
    uncertain_batches: _Counter
    empty_batches: _Counter
    requests: _Counter
    retries: _Counter
    plan_s: _Seconds
    duration_s: _Seconds
    rate_achieved: _Seconds
    max_in_window: _Counter
    peak_in_flight: _Counter = 0
    proxy: bool = False


_ButBatch = RunRecord | SendingRecord | OpenRecord | PaceRecord | RejectedRecord | SummaryRecord
Record = _ButBatch | BatchRecord
_TYPES: Final[tuple[type[_Stamped], ...]] = (
    RunRecord,
    SendingRecord,
    OpenRecord,
    BatchRecord,
    PaceRecord,
    RejectedRecord,
    SummaryRecord,
)

COMMON_FIELDS: Final = ("type", "at", "chain")
"""Fields of every record: the first two, and the last."""

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    str(record.__struct_config__.tag): record.__struct_encode_fields__[1:] for record in _TYPES
}
"""Record type → fields beside `COMMON_FIELDS`, in file order; a `sending` has `seq`, or `from` and `to`."""

SESSION_FIGURES: Final = FIELDS["summary"][FIELDS["summary"].index("requests") :]
"""What a summary says of its own session alone."""

ADDED_LATER: Final = (
    "killed after its last batch; resume added this summary, and the session's figures are lost"
)
"""The `why` of a summary whose session figures are 0 because nobody knows them."""

MALFORMED = (msgspec.MsgspecError, ValueError, RecursionError)
"""What reading raises for a line that is no audit record."""

decode_record: Callable[[bytes], Record] = msgspec.json.Decoder(Record).decode
"""Return the record of one line, or raise one of `MALFORMED`."""

decode_batch: Callable[[bytes], BatchRecord] = msgspec.json.Decoder(BatchRecord).decode
"""Return the record of a batch's line, or raise one of `MALFORMED`."""

decode_narrow: Callable[[bytes], _ButBatch | BatchEnd] = msgspec.json.Decoder(_ButBatch | BatchEnd).decode
"""Return the record of one line, a batch's in its narrow view, or raise one of `MALFORMED`."""

decode_timed: Callable[[bytes], _ButBatch | TimedEnd] = msgspec.json.Decoder(_ButBatch | TimedEnd).decode
"""Return the record of one line, a batch's in its narrow view with its time, or raise one of `MALFORMED`."""

encode_line: Callable[[Record], bytes] = msgspec.json.Encoder().encode
"""Return a record's line up to its chain, closed; UnicodeEncodeError where a text holds a lone surrogate."""


def stamp(record: Record, at: str) -> Record:
    """Return the record with its time."""
    return msgspec.structs.replace(record, at=at)


def as_json(record: Record, *, chain: str = "") -> dict[str, Any]:
    """Return a record as the values of its line, in order; lists are tuples.

    One that is not stamped has no `at`, and one that is not written yet is given no `chain`.
    """
    values: dict[str, Any] = msgspec.to_builtins(record)
    if not record.at:
        del values["at"]
    return {**values, "chain": chain} if chain else values


def audit_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of one audit line."""
    shapes, parts = msgspec.json.schema_components(_TYPES, ref_template="#/$defs/{name}")
    for shape in parts.values():
        shape["additionalProperties"] = False
        shape["required"] = list(shape["properties"])
    for record in _TYPES:
        shape = parts[record.__name__]
        shape["title"] = str(record.__struct_config__.tag)
        for field in shape["properties"].values():
            field.pop("default", None)
        shape["properties"]["chain"] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
        shape["required"].append("chain")
    intent = parts[SendingRecord.__name__]
    intent["required"] = [*COMMON_FIELDS]
    intent["oneOf"] = [{"required": ["seq"]}, {"required": ["from", "to"]}]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "bulk-delete audit record",
        "description": "One line of an audit. `type` tells which of these it is.",
        "oneOf": list(shapes),
        "$defs": parts,
    }
