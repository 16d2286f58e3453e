"""Settings of a run: rates, limits and safety rules, what was given of them, and how they are written down.

Keeps the promise that a person can copy them from one place to the other: in a job file, in a plan's header
and in an audit's `run` record they have the same names and the same notation. A flag goes over the job file,
that over the default.

Parsers raise ValueError with a sentence that says what is accepted; the caller adds the place.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

__all__ = [
    "MAX_ATTEMPTS",
    "MAX_CONCURRENCY",
    "MAX_TIMEOUT_S",
    "Limits",
    "LimitsGiven",
    "Rate",
    "Safety",
    "duration_words",
    "limits_from_json",
    "limits_to_json",
    "parse_duration",
    "parse_percent",
    "parse_rate",
    "safety_from_json",
    "safety_to_json",
]


MAX_CONCURRENCY = 1024
MAX_ATTEMPTS = 100
MAX_TIMEOUT_S = 3600.0

_RATE = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,6})?)/(s|m)")
_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d)?")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `ceil(count)` departures in every sliding window of `period_s` seconds; None: unlimited."""

    count: float | None
    period_s: float = 1.0

    @property
    def whole(self) -> int | None:
        """The configured rate rounded up to a whole request (promise 3); None when unlimited."""
        return None if self.count is None else math.ceil(self.count)

    @property
    def per_second(self) -> float:
        """Requests a second; infinity when unlimited."""
        return math.inf if self.count is None else self.count / self.period_s

    def __str__(self) -> str:
        if self.count is None:
            return "unlimited"
        return f"{_plain(self.count)}/{'m' if self.period_s == _UNIT_S['m'] else 's'}"


def parse_rate(text: str) -> Rate:
    """Parse `20/s`, `90/m`, `0.5/s` or `unlimited`; raises ValueError for anything else."""
    if text == "unlimited":
        return Rate(None)
    match = _RATE.fullmatch(text)
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"rate {text!r}: write N/s or N/m with N above 0, or unlimited")
    return Rate(float(match[1]), float(_UNIT_S[match[2]]))


def parse_duration(text: str) -> timedelta:
    """Parse `90`, `90s`, `30m`, `4h` or `2d`; longer than nothing, or ValueError is raised."""
    match = _DURATION.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"duration {text!r}: write 90, 90s, 30m, 4h or 2d, above 0")
    try:
        return timedelta(seconds=int(match[1]) * _UNIT_S[match[2] or "s"])
    except OverflowError as error:
        raise ValueError(f"duration {text!r} is too long") from error


def duration_words(seconds: float) -> str:
    """Return whole seconds as `parse_duration` takes them: `26h`, `90s`; `1d` only of whole days."""
    unit = next(unit for unit in ("d", "h", "m", "s") if seconds % _UNIT_S[unit] == 0 or unit == "s")
    return f"{seconds / _UNIT_S[unit]:.0f}{unit}"


def parse_percent(text: str) -> float:
    """Parse `5%` into 0.05; raises ValueError above 100% and for anything else."""
    match = _PERCENT.fullmatch(text)
    if match is None or float(match[1]) > 100:
        raise ValueError(f"share {text!r}: write a percentage from 0% to 100%, such as 5%")
    return float(match[1]) / 100


@dataclass(frozen=True, slots=True)
class Limits:
    """How fast and how patiently requests are sent."""

    rate: Rate = Rate(20.0)
    concurrency: int = 16
    timeout_s: float = 30.0
    """Of one attempt, from the moment its headers leave."""
    max_attempts: int = 6
    """Of one batch in one session."""
    deadline_s: float | None = None
    """Of one session, from its start; only given on the command line."""

    def __post_init__(self) -> None:
        _check_limits(self)


@dataclass(frozen=True, slots=True)
class LimitsGiven:
    """Limits as one source gave them; None where it is silent."""

    rate: Rate | None = None
    concurrency: int | None = None
    timeout_s: float | None = None
    max_attempts: int | None = None
    deadline_s: float | None = None

    def __post_init__(self) -> None:
        _check_limits(self)

    def over(self, base: Limits) -> Limits:
        """Return `base` with what is given here in its place (flag > job file > default)."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        return replace(base, **given)


_LIMITS = tuple(limit.name for limit in fields(LimitsGiven))
"""In a job, a plan and an audit they stand without their unit."""


def _check_limits(limits: Limits | LimitsGiven) -> None:
    """Raise ValueError where a limit is out of bounds (`inf` and `nan` are)."""
    bounds = (
        ("concurrency", limits.concurrency, 1, MAX_CONCURRENCY),
        ("max attempts", limits.max_attempts, 1, MAX_ATTEMPTS),
        ("timeout", limits.timeout_s, 0, MAX_TIMEOUT_S),
    )
    for name, value, least, most in bounds:
        if value is not None and not (least <= value <= most and value > 0):
            raise ValueError(f"{name} {value:g}: it is above 0 and at most {most:g}")
    if limits.deadline_s is not None and not 0 < limits.deadline_s < math.inf:
        raise ValueError("deadline: it is above 0")


def _rule(default: Any, kind: str, words: str, *, later: bool = False) -> Any:
    """Return a safety rule as a field: of which kind its value is, and its words in a job's schema.

    `later`: plans and audits did not have it from the beginning; for one that lacks it, it is as by default.
    """
    return field(default=default, metadata={"kind": kind, "words": words, "later": later})


@dataclass(frozen=True, slots=True)
class Safety:
    """The rules that refuse or stop a run, each declared here alone; shares are between 0 and 1.

    `protect_file` is absolute once planned.
    """

    max_phones: int | None = _rule(None, "count", "A plan with more phones is refused; no default.")
    max_invalid: float = _rule(0.01, "share", "More unreadable values than that: refused; default 1%.")
    max_failed: float = _rule(0.05, "share", "The breaker's share of failed batches; default 5%.")
    max_refused: float = _rule(
        0.1, "share", "More of the numbers sent refused for what they are: stops; default 10%.", later=True
    )
    max_growth: float | None = _rule(
        None,
        "times",
        "A plan of more than that many times the median of the last ten runs asks; no default.",
        later=True,
    )
    max_rows_per_phone: int = _rule(
        20, "count", "A batch that deleted more rows per number stops the run; default 20."
    )
    stop_when_empty: bool = _rule(
        False, "switch", "Stop when the first 20 batches deleted nothing; default false: warn."
    )
    protect_file: str | None = _rule(
        None, "file", "A list of numbers never to be deleted; relative to this file."
    )


def limits_to_json(limits: Limits | LimitsGiven) -> dict[str, Any]:
    """Return the limits that are given, in the job file's notation (`deadline` in seconds)."""
    found = {name.removesuffix("_s"): getattr(limits, name) for name in _LIMITS}
    given = {name: value for name, value in found.items() if value is not None}
    return {**given, "rate": str(limits.rate)} if limits.rate is not None else given


def limits_from_json(found: Mapping[str, Any]) -> LimitsGiven:
    """Return what `limits_to_json` wrote; ValueError, TypeError or KeyError where it did not."""
    rate = found.get("rate")
    for name in ("concurrency", "max_attempts"):
        _check(found.get(name, 1), name, least=1)
    given: dict[str, Any] = {name: found.get(name.removesuffix("_s")) for name in _LIMITS}
    given["rate"] = None if rate is None else parse_rate(rate)
    return LimitsGiven(**given)


def safety_to_json(safety: Safety) -> dict[str, Any]:
    """Return the safety rules in the job file's notation."""
    found = {rule.name: getattr(safety, rule.name) for rule in fields(safety)}
    shares = [rule.name for rule in fields(safety) if rule.metadata["kind"] == "share"]
    return {**found, **{name: f"{_plain(100 * found[name])}%" for name in shares}}


def safety_from_json(found: Mapping[str, Any]) -> Safety:
    """Return what `safety_to_json` wrote; ValueError, TypeError or KeyError where it did not.

    A rule of another type would only be noticed when it is asked, which may be after a deletion.
    """
    rules = {rule.name: rule for rule in fields(Safety)}
    lacking = [name for name, rule in rules.items() if name not in found and not rule.metadata["later"]]
    if lacking or not found.keys() <= rules.keys():
        raise KeyError(min(lacking, default="a rule that is not known"))
    return Safety(**{name: _safe(rules[name], value) for name, value in found.items()})


def _safe(rule: "Field[Any]", value: Any) -> Any:
    """Return the value of a rule, checked as a job's is."""
    kind, name = rule.metadata["kind"], rule.name
    if value is None and rule.default is None:
        return None
    if kind == "share":
        return parse_percent(value)
    if kind == "count":
        _check(value, name, least=1)
    elif kind == "times" and not (type(value) in {int, float} and 1 < value < math.inf):
        raise ValueError(f"{name}: expected a number above 1")
    elif kind == "switch" and type(value) is not bool:
        raise TypeError(f"{name}: expected true or false")
    elif kind == "file" and not Path(value).is_absolute():
        raise ValueError(f"{name}: expected an absolute path")
    return value


def _check(value: object, name: str, *, least: int) -> None:
    if type(value) is not int or value < least:
        raise ValueError(f"{name}: expected a whole number from {least}")


def _plain(number: float) -> str:
    """Return a number in plain digits: never 1e+06, which no file could say again."""
    return f"{number:.6f}".rstrip("0").rstrip(".")
