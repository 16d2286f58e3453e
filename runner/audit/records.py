"""The audit's records: one builder per type, their field names, and the JSON Schema of an audit line.

Keeps the shape that the contract promises to readers of an audit; the field order here is the order in the
file. Builders return plain dicts without `at` and `chain`: only the journal stamps those. Nothing here
reads, writes or counts.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from runner.model import Target

__all__ = [
    "AUDIT_VERSION",
    "COMMON_FIELDS",
    "ERROR_WORDS",
    "FIELDS",
    "PHONE_TOTALS",
    "STATUSES",
    "BatchStatus",
    "Mode",
    "RunStatus",
    "audit_schema",
    "batch_record",
    "open_record",
    "pace_record",
    "rejected_record",
    "run_record",
    "sending_record",
    "summary_record",
]

BatchStatus = Literal["deleted", "failed", "unknown", "not_sent"]
RunStatus = Literal["complete", "partial", "stopped"]
Mode = Literal["run", "resume", "rerun"]

AUDIT_VERSION: Final = 1
"""The `v` of every `run` record."""

STATUSES: Final[tuple[BatchStatus, ...]] = ("deleted", "failed", "unknown", "not_sent")
"""How a batch ends; also the order in which totals show them."""

PHONE_TOTALS: Final = ("read", "unique", "duplicate", "rejected", "protected", *STATUSES)
"""The keys of a summary's `phones`."""

ERROR_WORDS: Final = (
    "connection",
    "bad_reply",
    "timeout",
    "rate_limited",
    "server",
    "refused",
    "auth",
    "forbidden",
    "not_found",
    "redirect",
    "interrupted",
    "skipped",
    "protected",
)
"""Every word that may stand in a batch's `error`; null there means that nothing went wrong."""

COMMON_FIELDS: Final = ("type", "at", "chain")
"""Fields of every record: the first two, and the last."""

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "run": (
        "v",
        "run_id",
        "job",
        "plan_sha256",
        "version",
        "base_url",
        "limits",
        "safety",
        "mode",
        "reason",
        "operator",
        "planned",
    ),
    "sending": ("seq", "from", "to"),
    "open": ("seq", "attempts", "uncertain_attempts"),
    "batch": (
        "seq",
        "user_id",
        "created_at",
        "encryption",
        "delete_window",
        "phones",
        "phones_left",
        "phones_sha256",
        "status",
        "count",
        "attempts",
        "uncertain_attempts",
        "http_status",
        "code",
        "message",
        "error",
        "duration_ms",
        "phone",
    ),
    "pace": ("rate", "until", "why"),
    "rejected": ("source", "line", "reason", "value"),
    "summary": (
        "status",
        "why",
        "exit_code",
        "batches",
        "phones",
        "count",
        "uncertain_batches",
        "empty_batches",
        "requests",
        "retries",
        "plan_s",
        "duration_s",
        "rate_achieved",
        "max_in_window",
        "peak_in_flight",
        "proxy",
    ),
}
"""Record type → fields beside `COMMON_FIELDS`, in file order; a `sending` has `seq`, or `from` and `to`."""


def run_record(
    *,
    run_id: str,
    job: str,
    plan_sha256: str,
    version: str,
    base_url: str,
    limits: Mapping[str, Any],
    safety: Mapping[str, Any],
    mode: Mode,
    reason: str | None,
    operator: str | None,
    planned_batches: int,
    planned_phones: int,
) -> dict[str, Any]:
    """Return the first record of a session; `plan_sha256` is of the whole plan file."""
    return {
        "type": "run",
        "v": AUDIT_VERSION,
        "run_id": run_id,
        "job": job,
        "plan_sha256": plan_sha256,
        "version": version,
        "base_url": base_url,
        "limits": dict(limits),
        "safety": dict(safety),
        "mode": mode,
        "reason": reason,
        "operator": operator,
        "planned": {"batches": planned_batches, "phones": planned_phones},
    }


def sending_record(*, first: int, last: int) -> dict[str, Any]:
    """Return the intent to send the batches `first` to `last`, both included."""
    if first == last:
        return {"type": "sending", "seq": first}
    return {"type": "sending", "from": first, "to": last}


def open_record(*, seq: int, attempts: int, uncertain_attempts: int) -> dict[str, Any]:
    """Return the record of a batch left open by a clean stop; both numbers are of all sessions together."""
    return {"type": "open", "seq": seq, "attempts": attempts, "uncertain_attempts": uncertain_attempts}


def batch_record(
    *,
    seq: int,
    target: Target,
    phones: int,
    phones_left: int,
    phones_sha256: str,
    status: BatchStatus,
    count: int | None,
    attempts: int,
    uncertain_attempts: int,
    http_status: int | None,
    code: int | None,
    message: str | None,
    error: str | None,
    duration_ms: float | None,
    phone: Sequence[str],
) -> dict[str, Any]:
    """Return the one record of a batch's end.

    Args:
        seq: The batch's place in the plan.
        target: Whose pool, which window.
        phones: How many were asked.
        phones_left: How many of them were not confirmed.
        phones_sha256: Of all asked (`model.phones_sha256`).
        status: How it ended.
        count: Rows that the server confirmed; None where no attempt was confirmed.
        attempts: Requests that left, of all sessions together.
        uncertain_attempts: Those of them that may have been processed unseen.
        http_status: Of the last reply.
        code: The last reply's envelope code.
        message: The vendor's words, or the transport's.
        error: One of `ERROR_WORDS`, or None.
        duration_ms: From the first attempt of this session to the end, in milliseconds.
        phone: The numbers left, first; with `--audit-phones all` the confirmed ones follow.
    """
    return {
        "type": "batch",
        "seq": seq,
        "user_id": target.user_id,
        "created_at": None if target.created_at is None else list(target.created_at),
        "encryption": target.encryption,
        "delete_window": target.delete_window,
        "phones": phones,
        "phones_left": phones_left,
        "phones_sha256": phones_sha256,
        "status": status,
        "count": count,
        "attempts": attempts,
        "uncertain_attempts": uncertain_attempts,
        "http_status": http_status,
        "code": code,
        "message": message,
        "error": error,
        "duration_ms": duration_ms,
        "phone": list(phone),
    }


def pace_record(*, rate: str, until: str | None, why: str) -> dict[str, Any]:
    """Return the record of a changed rate (`12.5/s`) or of a pause of everybody until an ISO time."""
    return {"type": "pace", "rate": rate, "until": until, "why": why}


def rejected_record(*, source: str, line: int, reason: str, value: str) -> dict[str, Any]:
    """Return the record of an input value that is no phone; `value` comes masked."""
    return {"type": "rejected", "source": source, "line": line, "reason": reason, "value": value}


def summary_record(
    *,
    status: RunStatus,
    why: str | None,
    exit_code: int,
    batches: Mapping[str, int],
    phones: Mapping[str, int],
    count: int,
    uncertain_batches: int,
    empty_batches: int,
    requests: int,
    retries: int,
    plan_s: float,
    duration_s: float,
    rate_achieved: float,
    max_in_window: int,
    peak_in_flight: int,
    proxy: bool,
) -> dict[str, Any]:
    """Return the last record of a session.

    The totals (`batches` to `empty_batches`) are of the whole audit and come from `ledger.Fold.totals`; what
    follows is of this session only. `rate_achieved` is requests a second over `duration_s`.
    """
    return {
        "type": "summary",
        "status": status,
        "why": why,
        "exit_code": int(exit_code),
        "batches": {key: batches[key] for key in ("planned", *STATUSES)},
        "phones": {key: phones[key] for key in PHONE_TOTALS},
        "count": count,
        "uncertain_batches": uncertain_batches,
        "empty_batches": empty_batches,
        "requests": requests,
        "retries": retries,
        "plan_s": plan_s,
        "duration_s": duration_s,
        "rate_achieved": rate_achieved,
        "max_in_window": max_in_window,
        "peak_in_flight": peak_in_flight,
        "proxy": proxy,
    }


_COUNTER: Final = {"type": "integer", "minimum": 0}
_SEQ: Final = {"type": "integer", "minimum": 1}
_TEXT: Final = {"type": "string"}
_BOOL: Final = {"type": "boolean"}
_HEX: Final = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_INSTANT: Final = {"type": "string", "format": "date-time"}
_SECONDS: Final = {"type": "number", "minimum": 0}


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _counters(*names: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict.fromkeys(names, _COUNTER),
        "required": list(names),
        "additionalProperties": False,
    }


_WINDOW: Final = {"type": ["array", "null"], "items": _TEXT, "minItems": 2, "maxItems": 2}

_SHAPES: Final[Mapping[str, Mapping[str, Any]]] = {
    "run": {
        "v": {"const": AUDIT_VERSION},
        "plan_sha256": _HEX,
        "limits": {"type": "object"},
        "safety": {"type": "object"},
        "mode": {"enum": ["run", "resume", "rerun"]},
        "reason": _or_null(_TEXT),
        "operator": _or_null(_TEXT),
        "planned": _counters("batches", "phones"),
    },
    "sending": {"seq": _SEQ, "from": _SEQ, "to": _SEQ},
    "open": {"seq": _SEQ, "attempts": _COUNTER, "uncertain_attempts": _COUNTER},
    "batch": {
        "seq": _SEQ,
        "created_at": _WINDOW,
        "encryption": _BOOL,
        "delete_window": _BOOL,
        "phones": {**_COUNTER, "maximum": 100},
        "phones_left": {**_COUNTER, "maximum": 100},
        "phones_sha256": _HEX,
        "status": {"enum": list(STATUSES)},
        "count": _or_null(_COUNTER),
        "attempts": _COUNTER,
        "uncertain_attempts": _COUNTER,
        "http_status": _or_null({"type": "integer"}),
        "code": _or_null({"type": "integer"}),
        "message": _or_null(_TEXT),
        "error": {"enum": [*ERROR_WORDS, None]},
        "duration_ms": _or_null(_SECONDS),
        "phone": {"type": "array", "items": _TEXT, "maxItems": 100},
    },
    "pace": {"until": _or_null(_INSTANT)},
    "rejected": {"line": _COUNTER},
    "summary": {
        "status": {"enum": ["complete", "partial", "stopped"]},
        "why": _or_null(_TEXT),
        "exit_code": _COUNTER,
        "batches": _counters("planned", *STATUSES),
        "phones": _counters(*PHONE_TOTALS),
        "count": _COUNTER,
        "uncertain_batches": _COUNTER,
        "empty_batches": _COUNTER,
        "requests": _COUNTER,
        "retries": _COUNTER,
        "plan_s": _SECONDS,
        "duration_s": _SECONDS,
        "rate_achieved": _SECONDS,
        "max_in_window": _COUNTER,
        "peak_in_flight": _COUNTER,
        "proxy": _BOOL,
    },
}


def _record_schema(kind: str) -> dict[str, Any]:
    """Return the schema of one record type; fields without a shape of their own are text."""
    optional = set(FIELDS["sending"]) if kind == "sending" else set()
    schema: dict[str, Any] = {
        "title": kind,
        "type": "object",
        "properties": {
            "type": {"const": kind},
            "at": _INSTANT,
            **{name: _SHAPES[kind].get(name, _TEXT) for name in FIELDS[kind]},
            "chain": _HEX,
        },
        "required": ["type", "at", *(name for name in FIELDS[kind] if name not in optional), "chain"],
        "additionalProperties": False,
    }
    if kind == "sending":
        schema["oneOf"] = [{"required": ["seq"]}, {"required": ["from", "to"]}]
    return schema


def audit_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of one audit line."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "bulk-delete audit record",
        "description": "One line of an audit. `type` tells which of these it is.",
        "oneOf": [_record_schema(kind) for kind in FIELDS],
    }
