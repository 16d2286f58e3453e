"""Limits and safety rules as they stand in a plan's header and an audit's `run` record, and back.

Field names and notation are the job file's own, so that a person can copy them from one to the other.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from runner.settings import Limits, LimitsGiven, Safety, parse_percent, parse_rate

__all__ = ["limits_from_json", "limits_to_json", "safety_from_json", "safety_to_json"]

_SHARES = ("max_invalid", "max_failed", "max_refused")
_LATER_RULES = {"max_refused": "10%"}
"""Rules that plans and audits did not have from the beginning, as they stand for one that lacks them."""


def limits_to_json(limits: Limits | LimitsGiven) -> dict[str, Any]:
    """Return the limits that are given, in the job file's notation (`deadline` in seconds)."""
    found = {
        "rate": None if limits.rate is None else str(limits.rate),
        "concurrency": limits.concurrency,
        "timeout": limits.timeout_s,
        "max_attempts": limits.max_attempts,
        "deadline": limits.deadline_s,
    }
    return {name: value for name, value in found.items() if value is not None}


def limits_from_json(found: Mapping[str, Any]) -> LimitsGiven:
    """Return what `limits_to_json` wrote; ValueError, TypeError or KeyError where it did not."""
    rate = found.get("rate")
    for name in ("concurrency", "max_attempts"):
        _check(found.get(name, 1), name, least=1)
    return LimitsGiven(
        rate=None if rate is None else parse_rate(rate),
        concurrency=found.get("concurrency"),
        timeout_s=found.get("timeout"),
        max_attempts=found.get("max_attempts"),
        deadline_s=found.get("deadline"),
    )


def safety_to_json(safety: Safety) -> dict[str, Any]:
    """Return the safety rules in the job file's notation."""
    found = {field.name: getattr(safety, field.name) for field in fields(safety)}
    return {**found, **{name: _percent(found[name]) for name in _SHARES}}


def safety_from_json(found: Mapping[str, Any]) -> Safety:
    """Return what `safety_to_json` wrote; ValueError, TypeError or KeyError where it did not.

    A rule that came later and is absent takes its default; a missing one of the first is an error. A rule
    of another type would only be noticed when it is asked, which may be after a deletion.
    """
    found = {**_LATER_RULES, **found}
    missing = {field.name for field in fields(Safety)} - set(found)
    if missing:
        raise KeyError(min(missing))
    shares = {name: parse_percent(found[name]) for name in _SHARES}
    safety = Safety(**{**found, **shares})
    if safety.max_phones is not None:
        _check(safety.max_phones, "max_phones", least=1)
    _check(safety.max_rows_per_phone, "max_rows_per_phone", least=1)
    if type(safety.stop_when_empty) is not bool:
        raise TypeError("stop_when_empty: expected true or false")
    if safety.protect_file is not None and not Path(safety.protect_file).is_absolute():
        raise ValueError("protect_file: expected an absolute path")
    return safety


def _check(value: object, name: str, *, least: int) -> None:
    if type(value) is not int or value < least:
        raise ValueError(f"{name}: expected a whole number from {least}")


def _percent(share: float) -> str:
    return f"{share * 100:.6f}".rstrip("0").rstrip(".") + "%"
