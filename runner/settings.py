"""Settings of a run: rates, limits, safety rules, base URL and token, and which source of a value wins.

Parsers raise ValueError with a sentence that says what is accepted; the caller adds the place.
"""

import ipaddress
import math
import re
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from urllib.parse import urlsplit

__all__ = [
    "DEFAULT_BASE_URL",
    "Limits",
    "LimitsGiven",
    "Rate",
    "Safety",
    "Token",
    "parse_base_url",
    "parse_duration",
    "parse_percent",
    "parse_rate",
]

DEFAULT_BASE_URL = "https://ai.api.longlonglong.cn"

_RATE = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,6})?)/(s|m)")
_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d)?")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LAST_PRINTABLE = 0x7E


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
        return f"{self.count:g}/{'m' if self.period_s == _UNIT_S['m'] else 's'}"


def parse_rate(text: str) -> Rate:
    """Parse `20/s`, `90/m`, `0.5/s` or `unlimited`."""
    if text == "unlimited":
        return Rate(None)
    match = _RATE.fullmatch(text)
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"rate {text!r}: write N/s or N/m with N above 0, or unlimited")
    return Rate(float(match[1]), float(_UNIT_S[match[2]]))


def parse_duration(text: str) -> timedelta:
    """Parse `90`, `90s`, `30m`, `4h` or `2d`; longer than nothing."""
    match = _DURATION.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"duration {text!r}: write 90, 90s, 30m, 4h or 2d, above 0")
    try:
        return timedelta(seconds=int(match[1]) * _UNIT_S[match[2] or "s"])
    except OverflowError as error:
        raise ValueError(f"duration {text!r} is too long") from error


def parse_percent(text: str) -> float:
    """Parse `5%` into 0.05; at most 100%."""
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


@dataclass(frozen=True, slots=True)
class LimitsGiven:
    """Limits as one source gave them; None where it is silent."""

    rate: Rate | None = None
    concurrency: int | None = None
    timeout_s: float | None = None
    max_attempts: int | None = None
    deadline_s: float | None = None

    def over(self, base: Limits) -> Limits:
        """Return `base` with what is given here in its place (flag > job file > default)."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        return replace(base, **given)


@dataclass(frozen=True, slots=True)
class Safety:
    """The rules that refuse or stop a run; shares are between 0 and 1."""

    max_phones: int | None = None
    max_invalid: float = 0.01
    max_failed: float = 0.05
    max_rows_per_phone: int = 20
    stop_when_empty: bool = False
    protect_file: str | None = None
    """Absolute path once planned."""


def parse_base_url(text: str) -> str:
    """Return the base URL, normalised; `http` only to this machine, no user, query or fragment."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise ValueError(f"base URL: {error}") from error
    host = (parts.hostname or "").lower()
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("base URL: write https://HOST, or http://127.0.0.1:PORT to rehearse")
    if parts.username or parts.password or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("base URL: no user, password, query or fragment may stand in it")
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", parts.path) or "/." in parts.path:
        raise ValueError("base URL: its path may hold plain segments only")
    if not re.fullmatch(r"[a-z0-9.-]+|[0-9a-f:.]+", host):
        raise ValueError("base URL: write the host in ASCII letters, digits, dots and dashes")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError("base URL: plain http:// goes to this machine only; use https://")
    shown = f"[{host}]" if ":" in host else host
    default_port = {"http": 80, "https": 443}[parts.scheme]
    suffix = "" if port in {None, default_port} else f":{port}"
    return f"{parts.scheme}://{shown}{suffix}{parts.path.rstrip('/')}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Token:
    """The API token, shown by no repr, format, pickle or traceback; `reveal` is for the one header.

    Args:
        value: As read from the environment or a file; surrounding white space is taken off.

    Raises:
        ValueError: It is empty or holds anything but printable ASCII without spaces.
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        stripped = value.strip()
        if not stripped:
            raise ValueError("the token is empty")
        if not all("!" <= char <= chr(_LAST_PRINTABLE) for char in stripped):
            raise ValueError("the token holds a character that is not printable ASCII (BOM, space?)")
        self.__value = stripped

    def reveal(self) -> str:
        """Return the token itself."""
        return self.__value

    def __repr__(self) -> str:
        return "Token(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> str:
        raise TypeError("a token is not written anywhere")
